"""What `biolm tag` is given, as documents: words on the command line, texts, papers, corpora, annotated files."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from biolm.errors import InputError
from biolm.mentions import Document, Part

if TYPE_CHECKING:
    from biolm.records import Article

TEXTS = (".txt", ".text", ".md", "")
ARCHIVES = (".tar", ".tgz", ".zip", ".meca")
ENDINGS = frozenset(
    {
        ".txt",
        ".text",
        ".md",
        ".tar",
        ".tgz",
        ".zip",
        ".meca",
        ".xml",
        ".nxml",
        ".tsv",
        ".conll",
        ".iob",
        ".iob2",
        ".bio",
        ".bioes",
        ".iobes",
        ".bilou",
        ".pubtator",
        ".json",
        ".jsonl",
        ".ndjson",
        ".parquet",
        ".ann",
        ".csv",
        ".pdf",
    }
)
"""By which a word that names nothing is known as a path that is not there."""
NOTHING_TO_TAG = "articles without title, abstract and figure legend"
UNREADABLE = "unreadable"
Documents = Callable[[], Iterator[Document]]


class Inputs:
    """The documents of all arguments, one at a time, each with an id of its own.

    An argument that is no path is a text; "-" is standard input. Of papers the title, the main abstract and the figure
    legends are read.
    """

    def __init__(self, arguments: Sequence[str], *, lines: bool, form: str | None, split: str | None) -> None:
        """`lines`: each line of a text is a document. `form`: of annotated files, standard input among them.

        Raises InputError at once for a path that does not exist, an empty text, or an option that nothing could follow.
        """
        self.counts: Counter[str] = Counter()
        """What was left out or renamed, by reason; whole when all documents were taken."""
        self.spacing = "reconstructed"
        """How words that came apart are joined: as the tagger learnt them (`TaggerSettings.spacing`)."""
        self._lines, self._form, self._split = lines, form, split
        self._followed: set[str] = set()
        self._sources = [self._source(argument, number) for number, argument in enumerate(arguments, 1)]
        for option, wanted in (("--lines", lines), ("--split", split)):
            if wanted and option not in self._followed:
                raise InputError(f"{option} has no meaning for {' '.join(arguments)[:80]}; leave it out")

    def __iter__(self) -> Iterator[Document]:
        """The documents. Raises InputError for what cannot be read."""
        from biolm.annotations.files import unique

        return unique((document for source in self._sources for document in source()), self.counts)

    def _source(self, argument: str, number: int) -> Documents:
        if argument == "-":
            if self._form is None:
                self._followed.add("--lines")
            return self._of_stdin
        path = _path(argument)
        if path is not None:
            return self._of_path(path)
        if not argument.strip():
            raise InputError(f"the text of argument {number} is empty; give one, or - for standard input")
        if looks_like_path(argument):
            raise InputError(
                f"{argument} does not exist; check the path (a text of one word: put it into a file)"
            )
        return lambda: iter([Document(f"text-{number}", argument)])

    def _of_stdin(self) -> Iterator[Document]:
        data = sys.stdin.buffer.read()
        if self._form is not None:
            with TemporaryDirectory() as folder:
                path = Path(folder) / "stdin"
                path.write_bytes(data)
                yield from self._annotated(path, self._form, None)
            return
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"standard input is no UTF-8 ({error.reason}); convert it, e.g. with `iconv`"
            ) from None
        yield from self._texts(text, "stdin")

    def _of_path(self, path: Path) -> Documents:
        from biolm.annotations.forms import plain_suffix, splits_in
        from biolm.artifacts import kind_of

        suffix = plain_suffix(path)
        if path.is_dir() and kind_of(path) == "corpus":
            self._followed.add("--split")
            return lambda: _of_corpus(path, self._split)
        if path.is_dir() and splits_in(path):
            self._followed.add("--split")
            return lambda: self._annotated(path, self._form, self._split)
        if self._form is not None:
            return lambda: self._annotated(path, self._form, None)
        found = _annotated_form(path)
        if path.is_file() and suffix in TEXTS and found is None:
            self._followed.add("--lines")
            return lambda: self._texts(_read(path), path.name)
        if found is not None:
            return lambda: self._annotated(path, found, None)
        return lambda: self._of_papers(path)

    def _annotated(self, path: Path, form: str | None, split: str | None) -> Iterator[Document]:
        from biolm.annotations.read import iter_documents

        stream = iter_documents(path, form=form, split=split, spacing=self.spacing)
        yield from stream
        self.counts.update({f"{why} ({path.name})": count for why, count in stream.counts.items()})

    def _texts(self, text: str, name: str) -> Iterator[Document]:
        from biolm.annotations.files import lines_of

        if not self._lines:
            yield Document(name, text)
            return
        for number, line in lines_of(text):
            if line.strip():
                yield Document(f"{name}:{number}", line)

    def _of_papers(self, path: Path) -> Iterator[Document]:
        """A document for each article, its title, abstract and legends being parts."""
        from biolm.records import Article, Unreadable
        from biolm.sources.shards import read_source
        from biolm.sources.xml import Unusable

        found = 0
        try:
            for record in read_source(path):
                if isinstance(record, Unreadable):
                    self.counts[UNREADABLE] += 1
                    click.echo(f"biolm: {record.source}: {record.reason}; left out", err=True)
                elif isinstance(record, Article):
                    document = document_of(record)
                    self.counts[NOTHING_TO_TAG] += document is None
                    if document is not None:
                        found += 1
                        yield document
        except Unusable as error:
            raise InputError(f"{path} {error.reason}; {error.remedy}") from None
        if not found:
            raise InputError(f"{path} holds no article with a title, an abstract or a figure legend")


def looks_like_path(argument: str) -> bool:
    """Whether an argument that names nothing was meant as a path: one word with a known ending, or in a folder."""
    from biolm.annotations.forms import plain_suffix

    if any(letter.isspace() for letter in argument):
        return False
    folder = argument.partition("/")[0]
    in_folder = "/" in argument and (not folder or folder in (".", "..", "~") or Path(folder).is_dir())
    return in_folder or plain_suffix(Path(argument)) in ENDINGS


def _path(argument: str) -> Path | None:
    if not argument.strip() or "\0" in argument:
        return None
    try:
        path = Path(argument).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None  # a text longer than a name may be


def _annotated_form(path: Path) -> str | None:
    """The form of a file or folder of annotated documents; None where it is none, or a text that may look like one."""
    from biolm.annotations.forms import form_of, plain_suffix

    suffix = plain_suffix(path)
    if suffix in ARCHIVES:
        return None
    try:
        found = form_of(path)
    except InputError:
        return None
    # A text may begin with "[" or have a tab somewhere: of those only what cannot be mistaken is no text.
    mistakable = ("conll", "table", "jsonl")
    return None if path.is_file() and suffix in TEXTS and found in mistakable else found


def _read(path: Path) -> str:
    from biolm.annotations.files import read_text

    return read_text(path)


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


def said(counts: "Iterable[tuple[str, int]]") -> str:
    """What was left out or renamed, for people; empty for nothing."""
    return ", ".join(f"{count:,} {why}" for why, count in counts if count)
