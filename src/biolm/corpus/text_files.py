"""Texts of a benchmark, in whatever layout its files have them."""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from biolm.errors import InputError

_PUBTATOR = re.compile(r"\w+\|[ta]\|(.*)")
_PUBTATOR_ID = re.compile(r"0*([1-9]\d{0,9})\|[ta]\|")
_TAG = re.compile(r"[BIESLUMO](?:[-_]\S+)?", re.IGNORECASE)
_NUMBER = re.compile(r"[\d.]+")
_WRITTEN_OUT = "# text = "
"""Before the text of a sentence of CoNLL-U."""
_NO_SENTENCE = "-DOCSTART-"
_OTHER_LAYOUTS = (".json", ".jsonl", ".xml", ".parquet", ".gz", ".zip")


def texts_of(path: Path, option: str = "--hold-out-text") -> Iterator[str]:
    """The texts of a file, whose lines tell its layout.

    PubTator: titles and abstracts. A token a line, with tags beside it (CoNLL, IOB, CoNLL-U): sentences, which end
    at empty lines. A table, of commas (.csv) or tabs: each of its cells. Anything else: each line.
    Raises InputError, which names `option`, where the file cannot be read, or its name says that it is none of these.
    """
    layouts = "texts one a line, a table, PubTator or CoNLL"
    if path.suffix.lower() in _OTHER_LAYOUTS:
        raise InputError(f"{option} {path}: {path.suffix} is not read; give {layouts}")
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{option} {path} cannot be read: {error}; give {layouts}") from None
    lines = content.split("\n")  # splitlines would break an abstract at U+2028
    titles = [found[1] for line in lines if (found := _PUBTATOR.match(line))]
    if titles:
        yield from titles
    elif path.suffix.lower() == ".csv":
        try:
            for row in csv.reader(io.StringIO(content, newline="")):
                yield from row
        except csv.Error as error:
            raise InputError(f"{option} {path} is no CSV: {error}; give {layouts}") from None
    else:
        yield from (line.removeprefix(_WRITTEN_OUT) for line in lines if line.startswith(_WRITTEN_OUT))
        yield from _tokens_or_texts(lines)


def pmids_of(path: Path) -> set[str]:
    """The PMIDs of a PubTator file that `texts_of` reads; of another layout, which has none, nothing."""
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    return {found[1] for line in lines if (found := _PUBTATOR_ID.match(line))}


def _tokens_or_texts(lines: list[str]) -> Iterator[str]:
    separator = "\t" if any("\t" in line for line in lines) else " "
    rows = [[] if _is_no_token(line) else line.rstrip().split(separator) for line in lines]
    column = _column_of_tokens([row for row in rows if row], need_tags=separator == " ")
    if column is None:
        for line in lines:
            yield from line.split("\t")
        return
    sentence: list[str] = []
    for row in [*rows, []]:
        if row:
            sentence.append(row[column])
        elif sentence:
            yield " ".join(sentence)
            sentence = []


def _is_no_token(line: str) -> bool:
    """Whether a line ends a sentence, or says something of the file; the token "#" has its tag beside it."""
    if not line.strip() or line.startswith(_NO_SENTENCE):
        return True
    return line.startswith("#") and "\t" not in line and not _TAG.fullmatch(line.split()[-1])


def _column_of_tokens(table: Sequence[Sequence[str]], *, need_tags: bool) -> int | None:
    """Where the tokens stand in a table of tokens and their tags; None where it is none.

    It is one if no cell has a space and, where `need_tags`, its rows are equally long and a column is of tags: any line
    of words is a row of a table without tabs. The tokens are what differs most and is neither numbers nor tags.
    """
    count = min(map(len, table), default=0)
    if count < 2 or any(" " in cell for row in table for cell in row):
        return None
    columns = [[row[place] for row in table] for place in range(count)]
    tags = [all(map(_TAG.fullmatch, column)) for column in columns]
    if need_tags and (not any(tags) or any(len(row) != count for row in table)):
        return None
    words = [
        place for place in range(count) if not tags[place] and not all(map(_NUMBER.fullmatch, columns[place]))
    ]
    return max(words, key=lambda place: (len(set(columns[place])), -place), default=None)
