"""What `biolm tag` is given, as documents: words on the command line, texts, papers, corpora, annotated files."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biolm.errors import InputError
from biolm.mentions import Document, Part

if TYPE_CHECKING:
    from biolm.records import Article

TEXTS = (".txt", ".text", ".md", "")
PAPERS = (".xml", ".nxml", ".tar", ".tgz", ".zip", ".meca")
_LONGEST_NAME = 255


def documents_of(
    arguments: Sequence[str], *, lines: bool, form: str | None, split: str | None
) -> Iterator[Document]:
    """The documents of all arguments, one at a time. One that is no path is a text; "-" is standard input.

    `lines`: each line of a text file is a document. Raises InputError for what cannot be read.
    """
    for number, argument in enumerate(arguments, 1):
        path = _path(argument)
        if argument == "-":
            yield from _texts(sys.stdin.read(), "stdin", lines=lines)
        elif path is None:
            if looks_like_path(argument):
                raise InputError(f"{argument} does not exist; check the path (a text needs a space in it)")
            yield Document(f"text-{number}", argument)
        else:
            yield from _of_path(path, lines=lines, form=form, split=split)


def looks_like_path(argument: str) -> bool:
    """Whether an argument that names nothing was meant as a path: no white space, and a slash or an ending."""
    return not any(letter.isspace() for letter in argument) and (
        argument.startswith(("/", "./", "../", "~"))
        or Path(argument).suffix.lower() in (*TEXTS[:-1], *PAPERS)
    )


def _path(argument: str) -> Path | None:
    if len(argument.encode()) > 16 * _LONGEST_NAME or "\0" in argument:
        return None
    try:
        path = Path(argument).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError):
        return None  # a text longer than a name may be


def _of_path(path: Path, *, lines: bool, form: str | None, split: str | None) -> Iterator[Document]:
    from biolm.artifacts import kind_of

    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if form is not None:
        yield from _annotated(path, form, split)
    elif path.is_dir() and kind_of(path) == "corpus":
        yield from _of_corpus(path, split)
    elif path.is_file() and suffix in TEXTS and not _is_annotated(path):
        yield from _texts(_read(path), path.name, lines=lines)
    elif _is_annotated(path):
        yield from _annotated(path, None, split)
    elif path.is_file() and suffix in (".parquet", ".jsonl", ".json"):
        yield from _annotated(path, "table" if suffix == ".parquet" else None, split)
    else:
        yield from _of_papers(path)


def _is_annotated(path: Path) -> bool:
    """Whether a file shows a form of annotated documents that cannot be mistaken."""
    from biolm.annotations.read import form_of

    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix in PAPERS[2:]:
        return False
    try:
        found = form_of(path)
    except InputError:
        return False
    return found != "conll" or suffix not in TEXTS


def _annotated(path: Path, form: str | None, split: str | None) -> Iterator[Document]:
    from biolm.cli.annotated import read_annotated

    yield from read_annotated(path, form=form, split=split)


def _texts(text: str, name: str, *, lines: bool) -> Iterator[Document]:
    if not lines:
        yield Document(name, text)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield Document(f"{name}:{number}", line)


def _read(path: Path) -> str:
    from biolm.annotations.files import read_text

    return read_text(path)


def _of_papers(path: Path) -> Iterator[Document]:
    """A document for each article, its title, abstracts and legends being parts."""
    from biolm.records import Article, Unreadable
    from biolm.sources.shards import read_source
    from biolm.sources.xml import Unusable

    found = 0
    try:
        for record in read_source(path):
            if isinstance(record, Unreadable):
                click.echo(f"biolm: {record.source}: {record.reason}; left out", err=True)
            elif isinstance(record, Article):
                document = document_of(record)
                if document is not None:
                    found += 1
                    yield document
    except Unusable as error:
        raise InputError(f"{path} {error.reason}; {error.remedy}") from None
    if not found:
        raise InputError(f"{path} holds no article with a title, an abstract or a figure legend")


def document_of(article: "Article") -> Document | None:
    """An article's title, main abstract and figure legends, one a line; None where it has none of them."""
    pieces = [("title", article.title)]
    pieces += [("abstract", abstract.text) for abstract in article.abstracts if abstract.kind is None][:1]
    pieces += [
        (
            "supplementary_legend" if figure.supplementary else "figure_legend",
            " ".join(part for part in (figure.label, figure.title, figure.caption) if part),
        )
        for figure in article.figures
    ]
    text, parts = "", []
    for name, piece in pieces:
        if piece:
            start = len(text) + bool(text)
            text = f"{text}\n{piece}" if text else piece
            parts.append(Part(start, len(text), name))
    if not parts:
        return None
    return Document(article.pmid or article.pmcid or article.doi or article.source, text, parts=tuple(parts))


def _of_corpus(folder: Path, split: str | None) -> Iterator[Document]:
    """A document for each passage of a corpus of biolm's."""
    from biolm.corpus.reader import open_corpus

    corpus = open_corpus(folder)
    columns = ["text", "section", "label", "pmid", "pmcid"]
    for name in [split] if split else corpus.splits:
        number = 0
        for batch in corpus.iter_batches(name, columns):
            for row in batch.to_pylist():
                yield _passage(row, f"{name}-{number}")
                number += 1


def _passage(row: dict[str, Any], name: str) -> Document:
    part = Part(0, len(row["text"]), row["section"])
    return Document(f"{name}:{row['pmid'] or row['pmcid'] or ''}", row["text"], parts=(part,))


def stdout_is_a_terminal() -> bool:
    """Whether people see what is printed."""
    return sys.stdout.isatty()
