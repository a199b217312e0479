"""Chunks in a row of tags, by the rules of conlleval, the script that scored the CoNLL shared tasks."""

import re
from collections.abc import Iterator, Sequence

OUTSIDE = "O"
_PREFIXED = re.compile(r"([BIESLU])(?:-(.*))?", re.DOTALL)
_SAME_AS = {"L": "E", "U": "S"}  # BILOU's letters for what IOBES calls E and S


def chunks_of(tags: Sequence[str], *, strict: bool = False) -> list[tuple[int, int, str]]:
    """(first word, one behind the last, type) of each chunk of one sentence's tags, from left to right.

    Tags are IOB1, IOB2, IOE, IOBES or BILOU ("B-Gene"; the type of a bare "B" is ""), or plain ("Gene": equal
    neighbours are one chunk). Ill-formed rows are read as conlleval (E. F. Tjong Kim Sang, version 2004-01-26) and
    seqeval's default mode do: a chunk also begins at an I- or E- that follows nothing or another type. In one point
    we side with seqeval: E- always ends a chunk, which the script, older than IOBES, forgets before a B- of the
    same type; S- it does not know at all.

    `strict`: as seqeval's strict mode. A chunk begins with B- and goes on with I- of its type; where the row has an E-,
    S-, L- or U-, it must also end with E-, or be one S-. What is not formed so is no chunk.
    """
    parsed = [parse_tag(tag) for tag in tags]
    return list(_well_formed(parsed) if strict else _as_conlleval(parsed))


def parse_tag(tag: str) -> tuple[str, str]:
    """(prefix, type): the prefix is O, B, I, E (also for L-), S (also for U-), or "" for a plain tag."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    match = _PREFIXED.fullmatch(tag)
    if match is None:
        return "", tag
    return _SAME_AS.get(match[1], match[1]), match[2] or ""


def _as_conlleval(tags: list[tuple[str, str]]) -> Iterator[tuple[int, int, str]]:
    begin = None
    before, type_before = OUTSIDE, ""
    for place, (prefix, type_) in enumerate([*tags, (OUTSIDE, "")]):
        new = prefix in ("B", "S") or before in (OUTSIDE, "E", "S") or type_ != type_before
        if begin is not None and (new or prefix == OUTSIDE):
            yield begin, place, type_before
            begin = None
        if new and prefix != OUTSIDE:
            begin = place
        before, type_before = prefix, type_


def _well_formed(tags: list[tuple[str, str]]) -> Iterator[tuple[int, int, str]]:
    closed = any(prefix in ("E", "S") for prefix, _ in tags)
    place = 0
    while place < len(tags):
        begin = place
        prefix, type_ = tags[begin]
        place += 1
        if prefix == "S":
            yield begin, place, type_
        elif prefix in ("B", ""):
            inside = "I" if prefix else ""
            while place < len(tags) and tags[place] == (inside, type_):
                place += 1
            if prefix and place < len(tags) and tags[place] == ("E", type_):
                place += 1
                yield begin, place, type_
            elif not (prefix and closed):
                yield begin, place, type_
