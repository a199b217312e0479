"""brat's folders: a NAME.txt for each document, and its mentions in NAME.ann."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote, unquote

from biolm.annotations.bioc_files import DISCONTINUOUS, IN_PIECES, pieces_of
from biolm.annotations.files import checked, fitted, lines_of, read_text, spaced
from biolm.errors import InputError
from biolm.mentions import Document, Mention

IDENTIFIER = "identifier"
KINDS = {
    "R": "relations ignored",
    "*": "relations ignored",
    "E": "events ignored",
    "A": "attributes ignored",
    "M": "attributes ignored",
    "#": "notes ignored",
}
"""What lines that begin so are; T are mentions and N their identifiers."""
WITHOUT_ANN = "texts without .ann, read as texts without mentions"
_MENTION = re.compile(r"(T\S*)\t(\S+) (\d{1,18} \d{1,18}(?:;\d{1,18} \d{1,18})*)\t(.*)", re.DOTALL)
"""Numbers of more digits are no offsets; `int` raises from 4,301 on."""
_IDENTIFIER = re.compile(r"N\S*\tReference (T\S+) (\S+)(?:\t.*)?", re.DOTALL)
_WANTED = "give NAME.txt with NAME.ann, whose lines are T1, type and offsets, text in tabs"
_LONGEST_NAME = 240
"""Bytes of a file's name, with room for its ending; file systems end at 255."""


def read_brat(folder: Path, *, counts: Counter[str] | None = None) -> Iterator[Document]:
    """The documents of a folder and those below it, by name; an id is the path without ".txt".

    A mention in pieces gets the attribute `discontinuous`, unless only white space lies between them; N lines become
    the attribute `identifier`; other lines are counted. Raises InputError for an .ann without .txt, and, with file and
    line, for what is no line of brat's, and mentions whose text is not what stands at their offsets.
    """
    counts = Counter() if counts is None else counts
    paths = sorted(path for ending in ("*.txt", "*.ann") for path in folder.rglob(ending) if path.is_file())
    stems = dict.fromkeys(path.with_suffix("") for path in paths)
    if not stems:
        raise InputError(f"{folder} holds no .txt with .ann; {_WANTED}")
    for stem in stems:
        text_path, mentions_path = (stem.parent / f"{stem.name}{ending}" for ending in (".txt", ".ann"))
        if not text_path.is_file():
            raise InputError(f"{mentions_path} has no {text_path.name} beside it; {_WANTED}")
        name = unquote(stem.relative_to(folder).as_posix())
        text = read_text(text_path)
        mentions: list[Mention] = []
        if mentions_path.is_file():
            mentions = _mentions(read_text(mentions_path), text, str(mentions_path), counts)
        else:
            counts[WITHOUT_ANN] += 1
        yield checked(Document(name, text, tuple(mentions)), str(mentions_path))


def _mentions(content: str, text: str, where: str, counts: Counter[str]) -> list[Mention]:
    found: dict[str, Mention] = {}
    identifiers: dict[str, list[str]] = {}
    for number, line in lines_of(content):
        here = f"{where}, line {number}"
        if not line.strip():
            continue
        if line[0] in KINDS:
            counts[KINDS[line[0]]] += 1
        elif said := _MENTION.fullmatch(line):
            if said[1] in found:
                raise InputError(f"{here}: a second {said[1]}; give each mention an id of its own")
            found[said[1]] = _mention(said, text, here, counts)
        elif said := _IDENTIFIER.fullmatch(line):
            identifiers.setdefault(said[1], []).append(said[2])
        else:
            raise InputError(f"{here} is no line of brat's; {_WANTED}")
    for name, values in identifiers.items():
        if name not in found:
            raise InputError(
                f"{where}: an N line names {name}, which is no mention; correct it or leave it out"
            )
        mention = found[name]
        attributes = {**mention.attributes, IDENTIFIER: "|".join(values)}
        found[name] = Mention(mention.start, mention.end, mention.type, attributes=attributes)
    return list(found.values())


def _mention(said: re.Match[str], text: str, here: str, counts: Counter[str]) -> Mention:
    pieces = sorted(tuple(map(int, piece.split(" "))) for piece in said[3].split(";"))
    start, end = pieces[0][0], pieces[-1][1]
    if len(pieces) == 1:
        start, end = fitted(text, start, end, said[4], where=here, counts=counts)
        return Mention(start, end, said[2])
    joined = " ".join(text[first:last] for first, last in pieces)
    fitted(joined, 0, len(joined), said[4], where=here, counts=Counter())
    gaps = [text[last:first] for (_, last), (first, _) in pairwise(pieces)]
    if not "".join(gaps).strip():  # brat itself cuts a mention at line breaks
        return Mention(start, end, said[2])
    counts[IN_PIECES] += 1
    attributes = {DISCONTINUOUS: ",".join(f"{first}-{last}" for first, last in pieces)}
    return Mention(start, end, said[2], attributes=attributes)


def write_brat(documents: Iterable[Document], folder: Path) -> Counter[str]:
    """NAME.txt and NAME.ann of each document in a folder that is there; the name is the id, percent-encoded.

    Scores and attributes but `identifier` and `discontinuous` are not written. Raises InputError for an id that is
    no name of a file, or that two documents have. Returns counts of what had to be written otherwise.
    """
    counts: Counter[str] = Counter()
    names: set[str] = set()
    for document in documents:
        name = quote(document.id, safe=" ,;=+@()[]{}~!'&#")
        name = f"%2E{name[1:]}" if name.startswith(".") else name
        if not name or name in names or len(name.encode()) > _LONGEST_NAME:
            why = "two documents have" if name in names else "is empty or too long for a file's name"
            raise InputError(
                f"the document id {document.id[:80]!r} {why}; give each document a short id of its own"
            )
        names.add(name)
        _write(folder / f"{name}.txt", document.text)
        lines: list[str] = []
        identifiers: list[str] = []
        for mention in document.mentions:
            pieces = _without_breaks(document.text, pieces_of(mention))
            if not pieces:
                counts["mentions of white space left out"] += 1
                continue
            type_ = re.sub(r"\s", "_", mention.type)
            counts["types written with _ for white space"] += type_ != mention.type
            places = ";".join(f"{start} {end}" for start, end in pieces)
            surface = spaced(" ".join(document.text[start:end] for start, end in pieces))
            lines.append(f"T{len(lines) + 1}\t{type_} {places}\t{surface}\n")
            identifier = re.sub(r"\s", "_", mention.attributes.get(IDENTIFIER, ""))
            if identifier:
                number = len(identifiers) + 1
                identifiers.append(f"N{number}\tReference T{len(lines)} {identifier}\t\n")
        _write(folder / f"{name}.ann", "".join(lines + identifiers))
    return +counts


def _without_breaks(text: str, pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pieces cut at line breaks, as brat shows them; those of white space alone are none."""
    return [
        (start + match.start(), start + match.end())
        for start, end in pieces
        for match in re.finditer(r"[^\r\n]+", text[start:end])
        if match[0].strip()
    ]


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
