"""Texts of a benchmark, in whatever layout its files have them."""

import re
from collections.abc import Iterator
from pathlib import Path

from biolm.errors import InputError

_PUBTATOR = re.compile(r"\d+\|[ta]\|(.*)")
_TAG = re.compile(r"O|[BIESLUM]-\S+")
_WRITTEN_OUT = "# text = "
"""Before the text of a sentence of CoNLL-U."""
_NO_SENTENCE = "-DOCSTART-"


def texts_of(path: Path) -> Iterator[str]:
    """The texts of a file, whose lines tell its layout.

    PubTator: titles and abstracts. A token a line, with tags behind it (CoNLL, IOB, CoNLL-U): sentences, which end
    at empty lines. A table with tabs: each of its cells. Anything else: each line.
    Raises InputError where the file cannot be read.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--hold-out-text {path} cannot be read: {error}; give a text file") from None
    lines = content.split("\n")  # splitlines would break an abstract at U+2028
    titles = [found[1] for line in lines if (found := _PUBTATOR.match(line))]
    written_out = [line.removeprefix(_WRITTEN_OUT) for line in lines if line.startswith(_WRITTEN_OUT)]
    if titles or written_out:
        yield from titles or written_out
        return
    separator = "\t" if any("\t" in line for line in lines) else " "
    table = [line.split(separator) for line in lines if line.strip() and not _is_remark(line)]
    if _is_of_tokens(table, separator):
        yield from _sentences(lines, separator, 1 if all(row[0][:1].isdigit() for row in table) else 0)
    elif separator == "\t":
        for line in lines:
            yield from line.split("\t")
    else:
        yield from lines


def _is_remark(line: str) -> bool:
    """Whether a line says something of a file of tokens; the token "#" has its tag behind it."""
    told = line.startswith("#") and "\t" not in line and not _TAG.fullmatch(line.split(" ")[-1].strip())
    return told or line.startswith(_NO_SENTENCE)


def _is_of_tokens(table: list[list[str]], separator: str) -> bool:
    """Whether each row is a token and its tags: one text would have spaces in a cell, or tags nowhere."""
    if not table or min(map(len, table)) < 2:
        return False
    if separator == "\t":
        return not any(" " in cell.strip() for row in table for cell in row)
    return all(_TAG.fullmatch(row[-1].strip()) for row in table)


def _sentences(lines: list[str], separator: str, column: int) -> Iterator[str]:
    """What stands in a column, joined by spaces; empty lines and remarks end it."""
    sentence: list[str] = []
    for line in [*lines, ""]:
        if line.strip() and not _is_remark(line):
            sentence.append(line.split(separator)[column])
        elif sentence:
            yield " ".join(sentence)
            sentence = []
