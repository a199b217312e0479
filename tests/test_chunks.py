"""Chunks in rows of tags: every short row against the rules of conlleval and of seqeval, written out a second time."""

import re
from collections.abc import Iterator, Sequence
from itertools import product

import pytest

from biolm.chunks import chunks_of

Chunk = tuple[int, int, str]

# The tables of conlleval 2004-01-26, (tag before, tag): for words of one type. B and E never meet in IOB or IOE.
PERL_ENDS = {"BB", "BO", "IB", "IO", "EE", "EI", "EO"}
PERL_STARTS = {"BB", "IB", "OB", "OI", "EE", "EI", "OE"}
# Those of seqeval 1.2.2 in its default mode: an E or S ends always, a B or S starts always.
SEQEVAL_ENDS = {"BB", "BS", "BO", "IB", "IS", "IO", *product("ES", "BIESO")}
SEQEVAL_STARTS = {*product("BIESO", "BS"), "EE", "EI", "SE", "SI", "OE", "OI"}


def by_tables(tags: Sequence[str], ends: set, starts: set) -> list[Chunk]:
    ends, starts = {"".join(pair) for pair in ends}, {"".join(pair) for pair in starts}
    found, begin, before, type_before = [], 0, "O", ""
    for place, whole in enumerate([*tags, "O"]):
        tag, _, type_ = whole.partition("-")
        if before + tag in ends or (before != "O" and type_ != type_before):
            found.append((begin, place, type_before))
        if before + tag in starts or (tag != "O" and type_ != type_before):
            begin = place
        before, type_before = tag, type_
    return found


def by_pattern(tags: Sequence[str]) -> list[Chunk]:
    """Well-formed chunks, found by a regular expression in a string of one letter a tag."""
    found = []
    closed = any(tag[0] in "ESLU" for tag in tags)
    for type_ in {tag[2:] for tag in tags if tag != "O"}:
        row = "".join(
            tag[0].translate(str.maketrans("LU", "ES")) if tag[2:] == type_ else "O" for tag in tags
        )
        pattern = "BI*E|S" if closed else "BI*"
        found += [(match.start(), match.end(), type_) for match in re.finditer(pattern, row)]
    return sorted(found)


def rows(prefixes: str, length: int) -> Iterator[tuple[str, ...]]:
    tags = ["O", *(f"{prefix}-{type_}" for prefix in prefixes for type_ in "XY")]
    for count in range(length + 1):
        yield from product(tags, repeat=count)


@pytest.mark.parametrize("prefixes", ["BI", "IE"])
def test_every_row_of_five_words_is_read_as_conlleval_reads_it(prefixes: str):
    for tags in rows(prefixes, 5):
        assert chunks_of(tags) == by_tables(tags, PERL_ENDS, PERL_STARTS), tags


def test_every_iobes_row_of_four_words_is_read_as_seqeval_reads_it():
    for tags in rows("BIES", 4):
        assert chunks_of(tags) == by_tables(tags, SEQEVAL_ENDS, SEQEVAL_STARTS), tags


def test_bilou_is_iobes_by_other_letters():
    for tags in rows("BILU", 3):
        other = [tag.replace("L-", "E-").replace("U-", "S-") for tag in tags]
        assert chunks_of(tags) == chunks_of(other)
        assert chunks_of(tags, strict=True) == chunks_of(other, strict=True)


@pytest.mark.parametrize(("prefixes", "length"), [("BI", 5), ("BIES", 4)])
def test_strict_chunks_are_those_of_a_pattern(prefixes: str, length: int):
    for tags in rows(prefixes, length):
        assert chunks_of(tags, strict=True) == by_pattern(tags), tags


def test_well_formed_rows_mean_the_same_in_both_modes():
    for tags in rows("BI", 5):
        well = all(
            tag[0] != "I" or before[1:] == tag[1:] for before, tag in zip(("O", *tags), tags, strict=False)
        )
        if well:
            assert chunks_of(tags) == chunks_of(tags, strict=True)


@pytest.mark.parametrize(
    ("tags", "loose", "strict"),
    [
        ("I-X I-X O", [(0, 2, "X")], []),
        ("B-X I-Y I-Y", [(0, 1, "X"), (1, 3, "Y")], [(0, 1, "X")]),
        ("B-X O I-X", [(0, 1, "X"), (2, 3, "X")], [(0, 1, "X")]),
        ("B-X E-X B-X E-X", [(0, 2, "X"), (2, 4, "X")], [(0, 2, "X"), (2, 4, "X")]),
        ("B-X I-X O S-X", [(0, 2, "X"), (3, 4, "X")], [(3, 4, "X")]),
        ("B I O B B", [(0, 2, ""), (3, 4, ""), (4, 5, "")], [(0, 2, ""), (3, 4, ""), (4, 5, "")]),
        ("B-small-molecule I-small-molecule", [(0, 2, "small-molecule")], [(0, 2, "small-molecule")]),
    ],
)
def test_by_hand(tags: str, loose: list[Chunk], strict: list[Chunk]):
    assert chunks_of(tags.split()) == loose
    assert chunks_of(tags.split(), strict=True) == strict


@pytest.mark.parametrize("strict", [False, True])
def test_equal_neighbours_of_plain_tags_are_one_chunk(strict: bool):
    tags = "Gene Gene O Gene Drug Drug RNA-binding Bacterium".split()
    assert chunks_of(tags, strict=strict) == [
        (0, 2, "Gene"),
        (3, 4, "Gene"),
        (4, 6, "Drug"),
        (6, 7, "RNA-binding"),
        (7, 8, "Bacterium"),
    ]
