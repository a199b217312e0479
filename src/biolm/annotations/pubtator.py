"""PubTator files: title and abstract of each paper, and its mentions by their characters.

The `bioc` library (2.1) reads them too, but it strips lines, which moves offsets, and prints what it cannot read
instead of raising.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TextIO

from biolm.annotations.files import checked, fitted, lines_of, spaced
from biolm.errors import InputError
from biolm.mentions import Document, Mention, Part

TEXT_LINE = re.compile(r"([^|\t]+)\|([ta])\|(.*)", re.DOTALL)
RELATIONS = "relations ignored"
_DIGITS = 18
"""Of an offset, at most; `int` raises from 4,301 on."""
_WANTED = "give id|t|title, id|a|abstract, and mentions as id, start, end, text, type in tabs"


@dataclass(slots=True)
class _Paper:
    """One document while its lines are read."""

    id: str
    line: int
    texts: dict[str, str]
    mentions: list[Mention] = field(default_factory=list)

    @property
    def text(self) -> str:
        """PubTator counts one character between title and abstract, and does not say which: a space."""
        abstract = self.texts.get("a", "")
        return self.texts.get("t", "") + (f" {abstract}" if abstract else "")

    def document(self, where: str) -> Document:
        """What was read of it."""
        title = len(self.texts.get("t", ""))
        parts = [Part(0, title, "title"), Part(title + 1, len(self.text), "abstract")]
        return checked(
            Document(
                self.id,
                self.text,
                tuple(self.mentions),
                tuple(part for part in parts if part.end > part.start),
            ),
            f"{where}, line {self.line}",
        )


def read_pubtator(text: str, *, where: str, counts: Counter[str] | None = None) -> Iterator[Document]:
    """The documents of a file, their parts "title" and "abstract". Relations are counted, not kept.

    A mention's sixth column is its attribute `identifier`, what follows is `more`. Raises InputError, with the line,
    for lines of another layout and mentions whose text is not what stands at their offsets.
    """
    counts = Counter() if counts is None else counts
    paper: _Paper | None = None
    for number, line in lines_of(text):
        here = f"{where}, line {number}"
        if not line.strip():
            continue
        if said := TEXT_LINE.fullmatch(line):
            name, letter, words = said.groups()
            if paper is None or letter == "t" or name != paper.id:
                if paper is not None:
                    yield paper.document(where)
                paper = _Paper(name, number, {})
            if letter in paper.texts or paper.mentions:
                raise InputError(f"{here}: a second abstract of {name}; {_WANTED}")
            paper.texts[letter] = words
            continue
        columns = line.split("\t")
        if paper is None or columns[0] != paper.id or len(columns) < 4:
            raise InputError(f"{here}: no line of the document above it; {_WANTED}")
        if not columns[1].isdecimal():
            counts[RELATIONS] += 1
        else:
            paper.mentions.append(_mention(columns, paper.text, here, counts))
    if paper is None:
        raise InputError(f"{where} holds no document; {_WANTED}")
    yield paper.document(where)


def _mention(columns: list[str], text: str, here: str, counts: Counter[str]) -> Mention:
    offsets = columns[1:3]
    if (
        len(columns) < 5
        or not all(offset.isdecimal() and len(offset) <= _DIGITS for offset in offsets)
        or not columns[4].strip()
    ):
        raise InputError(f"{here}: no mention with start, end, text and type; {_WANTED}")
    start, end = fitted(text, int(columns[1]), int(columns[2]), columns[3], where=here, counts=counts)
    known = {"identifier": columns[5] if len(columns) > 5 else "", "more": "\t".join(columns[6:])}
    attributes = {name: value for name, value in known.items() if value.strip()}
    return Mention(start, end, columns[4].strip(), attributes=attributes)


def write_pubtator(documents: Iterable[Document], out: TextIO) -> Counter[str]:
    """The documents, a space for each line break and tab, so that offsets stay.

    What follows the part "title" after one character of white space (an abstract, legends) is written as the
    abstract; a text without a title is all title. Scores and attributes but `identifier` and `more` are not written.
    Raises InputError for an id that is empty; "|" in one becomes "_".
    """
    counts: Counter[str] = Counter()
    for document in documents:
        text = spaced(document.text)
        name = re.sub(r"[|\t\r\n]", "_", document.id)
        if not name.strip():
            raise InputError("a document without id, which PubTator files need; give each one its id")
        counts["ids written with _ for |"] += name != document.id
        counts["documents with line breaks or tabs, written as spaces"] += text != document.text
        title = _end_of_title(document)
        out.write(f"{name}|t|{text[:title]}\n{name}|a|{text[title + 1 :]}\n")
        for mention in document.mentions:
            columns = [name, str(mention.start), str(mention.end), text[mention.start : mention.end]]
            columns.append(spaced(mention.type))
            identifier = spaced(mention.attributes.get("identifier", ""))
            more = re.sub(r"[\r\n]", " ", mention.attributes.get("more", ""))
            columns += [identifier] if identifier or more else []
            columns += [more] if more else []
            out.write("\t".join(columns) + "\n")
        out.write("\n")
    return +counts


def _end_of_title(document: Document) -> int:
    """Where the title ends; the text's end where there is none, or nothing behind one character of white space."""
    text = document.text
    titles = [part.end for part in document.parts if part.name == "title" and part.start == 0]
    abstracts = [part.start for part in document.parts if part.name == "abstract"]
    end = titles[0] if titles else 0
    if (titles or abstracts == [1]) and text[end : end + 1] in (" ", "\n", "\t", "\r"):
        return end
    return len(text)
