"""CoNLL files: a word a line with its tag beside it, in tabs or spaces; sentences end at empty lines."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TextIO

from biolm.annotations.files import checked, lines_of
from biolm.annotations.sourcedata import PANEL
from biolm.annotations.tagged_words import SENTENCE, Scheme, Spacing, document_of_sentences, scheme_of
from biolm.chunks import OUTSIDE, chunks_of
from biolm.errors import InputError
from biolm.mentions import UNIT, Document, Mention

__all__ = ["chunks_of", "read_conll", "tags_of", "units_of", "write_conll"]

DOCUMENT = "-DOCSTART-"
NOT_AT_WORDS = "mentions that do not begin and end with a word"
OVERLAPPING = "mentions that overlap a longer or earlier one"
PANELS = "panels, which CoNLL has no place for"
"""A panel is a stretch of sentences, which would take the place of all mentions in it."""
WORDLESS = "documents without words left out"
_ID = re.compile(r"# *(?:(?:newdoc[ _]|doc[ _]|sent[ _])?id *[=:] *|newdoc id +)(\S.*)", re.IGNORECASE)
_SETTING = re.compile(r"# \w[\w -]* ?= ?")
_TAG = re.compile(r"[BIESLUO](?:-\S+)?")
_BREAKS = re.compile(r"[\t\n\r]")


@dataclass(slots=True)
class _Block:
    """A sentence as its lines say it."""

    line: int
    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    id: str | None = None
    document: int = 0
    """How many -DOCSTART- stand before it."""


def read_conll(
    text: str,
    name: str,
    *,
    where: str,
    spacing: Spacing = "reconstructed",
    scheme: Scheme | None = None,
    strict: bool = False,
    word_column: int = 0,
    tag_column: int = -1,
    counts: Counter[str] | None = None,
) -> Iterator[Document]:
    """The documents of a file: "name:1", "name:2", ... A -DOCSTART- begins one of all sentences up to the next.

    Before the first -DOCSTART-, and where there is none, each sentence is a document. A comment "# id = X" in front
    gives another id. `scheme`: None to find out; `strict`: as `chunks_of` has it. Raises InputError, with the line, for
    a line without word or tag.
    """
    counts = Counter() if counts is None else counts
    blocks = list(_blocks(text, where, word_column, tag_column))
    if not blocks:
        raise InputError(f"{where} holds no words; give a word and its tag a line")
    if scheme is None:
        try:
            scheme = scheme_of(block.tags for block in blocks)
        except ValueError as error:
            raise InputError(
                f"{where}: {error}; give a word and its tag a line, the tag (B-Gene, I-Gene, O) in the last column"
            ) from None
    if scheme == "IOB2" and (begun := sum(_begun_without_b(block.tags) for block in blocks)):
        counts["chunks that begin with I-" + (", left out" if strict else "")] += begun
    groups: list[list[_Block]] = []
    for block in blocks:
        if block.document and groups and groups[-1][0].document == block.document:
            groups[-1].append(block)
        else:
            groups.append([block])
    for number, group in enumerate(groups, 1):
        document = document_of_sentences(
            group[0].id or f"{name}:{number}",
            [(block.words, block.tags) for block in group],
            scheme=scheme,
            spacing=spacing,
            strict=strict,
        )
        yield checked(document, f"{where}, line {group[0].line}")


def _blocks(text: str, where: str, word_column: int, tag_column: int) -> Iterator[_Block]:
    tabs = "\t" in text
    is_comment = _comments(text, tabs)
    documents = 0
    name: str | None = None
    block: _Block | None = None
    for number, line in lines_of(text):
        ends = not line.strip(" \t")
        if line.startswith(DOCUMENT) or ends:
            documents += not ends
            if block is not None:
                yield block
                block = None
            continue
        columns = _columns(line, tabs)
        if is_comment(line, columns):
            said = _ID.match(line)
            name = said[1].strip() if said else name
            continue
        try:
            word, tag = columns[word_column], columns[tag_column].strip()
        except IndexError:
            word = tag = ""
        if len(columns) < 2 or not word or not tag:
            raise InputError(f"{where}, line {number}: no word with a tag; give both, or an empty line")
        if block is None:
            block = _Block(number, id=name, document=documents)
            name = None
        block.words.append(word)
        block.tags.append(tag)
    if block is not None:
        yield block


def _columns(line: str, tabs: bool) -> list[str]:
    return line.split("\t") if tabs else re.split(" +", line.strip(" "))


def _comments(text: str, tabs: bool) -> Callable[[str, list[str]], bool]:
    """Whether a line, with its columns, is a comment of this file; one that begins with "#" may be a word, too.

    It is one where it says "# key = value" or has another number of columns than most lines. Without tabs, its last
    column must besides be a tag for it to be a word.
    """
    widths: Counter[int] = Counter()
    tags: set[str] = set()
    for _, line in lines_of(text):
        if line.strip(" \t") and not line.startswith(("#", DOCUMENT)):
            columns = _columns(line, tabs)
            widths[len(columns)] += 1
            tags.add(columns[-1])
    usual = widths.most_common(1)[0][0] if widths else None

    def is_comment(line: str, columns: list[str]) -> bool:
        if not line.startswith("#"):
            return False
        if _SETTING.match(line) or _ID.match(line):
            return True
        other = usual is not None and len(columns) != usual
        if tabs:
            return "\t" not in line or (other and line.startswith("# "))
        return other or not (columns[-1] in tags or _TAG.fullmatch(columns[-1]))

    return is_comment


def _begun_without_b(tags: list[str]) -> int:
    return len(set(chunks_of(tags)) - set(chunks_of(tags, strict=True)))


def units_of(text: str) -> list[tuple[int, int]]:
    """(start, end) of the words of a raw text: runs of letters, digits and their marks, and every other grapheme."""
    return [match.span() for match in UNIT.finditer(text)]


def write_conll(
    documents: Iterable[Document], out: TextIO, *, scheme: Scheme = "IOB2", with_ids: bool = False
) -> Counter[str]:
    """A word and its tag a line, tabs between; documents, and sentences in them, end at empty lines.

    Words are the document's, or those of `units_of`. `with_ids`: a line "# id = ..." before each document, which not
    every program passes over. From the first document with sentences on, each begins with -DOCSTART-; `read_conll` has
    a document for each sentence before that. Returns, by reason, what has no place in such a file: mentions, all those
    of the type PANEL among them, and documents without words.
    """
    counts: Counter[str] = Counter()
    starts = False
    for document in documents:
        words = units_of(document.text) if document.words is None else list(document.words)
        words = [(start, end) for start, end in words if document.text[start:end].strip()]
        tags = tags_of(document, words, scheme=scheme, counts=counts)
        if not words:
            counts[WORDLESS] += 1
            continue
        firsts = {part.start for part in document.parts if part.name == SENTENCE}
        starts = starts or bool(firsts)
        if starts:
            out.write(f"{DOCUMENT}\t{OUTSIDE}\n\n")
        if with_ids:
            out.write(f"# id = {_BREAKS.sub(' ', document.id)}\n")
        for number, ((start, end), tag) in enumerate(zip(words, tags, strict=True)):
            if number and start in firsts:
                out.write("\n")
            out.write(f"{_BREAKS.sub('_', document.text[start:end])}\t{tag}\n")
        out.write("\n")
    return counts


def tags_of(
    document: Document,
    words: list[tuple[int, int]],
    *,
    scheme: Scheme = "IOB2",
    counts: Counter[str] | None = None,
) -> list[str]:
    """The tag of each word. Panels have none. Of other mentions that overlap, the longest is kept, then the first.

    `counts` gets, by reason, those that cannot be said.
    """
    counts = Counter() if counts is None else counts
    first_at = {start: number for number, (start, _) in reversed(list(enumerate(words)))}
    last_at = {end: number for number, (_, end) in enumerate(words)}
    tags = [OUTSIDE] * len(words)

    def order(mention: Mention) -> tuple[int, int]:
        return mention.start - mention.end, mention.start

    for mention in sorted(document.mentions, key=order):
        if mention.type == PANEL:
            counts[PANELS] += 1
            continue
        first, last = first_at.get(mention.start), last_at.get(mention.end)
        if first is None or last is None or last < first:
            counts[NOT_AT_WORDS] += 1
        elif any(tag != OUTSIDE for tag in tags[first : last + 1]):
            counts[OVERLAPPING] += 1
        else:
            type_ = re.sub(r"\s", "_", mention.type)
            tags[first : last + 1] = _chunk(type_, last + 1 - first, scheme)
    return tags if scheme != "IOB1" else _without_needless_b(tags)


def _chunk(type_: str, length: int, scheme: Scheme) -> list[str]:
    if scheme == "IO":
        return [type_] * length
    if scheme == "IOBES":
        if length == 1:
            return [f"S-{type_}"]
        return [f"B-{type_}", *[f"I-{type_}"] * (length - 2), f"E-{type_}"]
    return [f"B-{type_}", *[f"I-{type_}"] * (length - 1)]


def _without_needless_b(tags: list[str]) -> list[str]:
    before = [OUTSIDE, *tags]
    return [
        f"I-{tag[2:]}" if tag.startswith("B-") and before[number][2:] != tag[2:] else tag
        for number, tag in enumerate(tags)
    ]
