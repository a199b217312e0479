"""Words with a tag each, as one document: the form of CoNLL files and of most data sets for token classification."""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from biolm.annotations.spacing import join_words, spaced_words
from biolm.chunks import OUTSIDE, chunks_of, parse_tag
from biolm.errors import InputError
from biolm.mentions import Document, Mention, Part

Spacing = Literal["reconstructed", "words"]
"""Whether words are joined as they were printed, or by single spaces."""
SPACINGS: tuple[str, ...] = get_args(Spacing)
Scheme = Literal["IO", "IOB1", "IOB2", "IOBES"]
"""How tags say where a chunk begins; IOBES is also called BILOU."""
SCHEMES: tuple[str, ...] = get_args(Scheme)
SENTENCE = "sentence"
"""The name of a document's part that was one sentence of words."""
BARE = "ENTITY"
"""The type of mentions whose tags are a bare B and I."""
MOST_PLAIN_TYPES = 100
"""More than that, and a column holds something else than plain types."""

Sentence = tuple[Sequence[str], Sequence[str]]
"""Words, and the tag of each."""


def scheme_of(rows: Iterable[Sequence[str]]) -> Scheme:
    """The scheme of all rows of tags of a file.

    Where some chunks begin with I- although B- is not kept for neighbours of one type, it is IOB2, with mistakes.
    Raises ValueError, with one line, for tags of different kinds.
    """
    prefixes: set[str] = set()
    plain: set[str] = set()
    begun_by_i = begun_by_b = False
    for tags in rows:
        before, type_before = OUTSIDE, ""
        for tag in tags:
            prefix, type_ = parse_tag(tag)
            prefixes.add(prefix)
            if prefix == "":
                plain.add(tag)
            fresh = before == OUTSIDE or type_ != type_before
            begun_by_i |= prefix == "I" and fresh
            begun_by_b |= prefix == "B" and fresh
            before, type_before = prefix, type_
    known = prefixes - {OUTSIDE, ""}
    shown = ", ".join(sorted(plain)[:3])
    if plain and known:
        raise ValueError(f"tags with a prefix (B-, I-) and without one ({shown}) in one column")
    if len(plain) > MOST_PLAIN_TYPES:
        raise ValueError(f"{len(plain):,} different plain tags ({shown}, ...)")
    if plain and OUTSIDE not in prefixes:
        raise ValueError(f"plain tags ({shown}), and no {OUTSIDE} among them")
    if not known:
        return "IO" if plain else "IOB2"
    if known & {"E", "S"}:
        return "IOBES"
    return "IOB1" if begun_by_i and not begun_by_b else "IOB2"


def document_of_sentences(
    name: str,
    sentences: Sequence[Sentence],
    *,
    scheme: Scheme,
    spacing: Spacing = "reconstructed",
    strict: bool = False,
) -> Document:
    """Sentences joined by one space; of more than one, each is a part called "sentence".

    `strict`: leave out chunks that are not well formed in the scheme, as seqeval's strict mode does.
    Raises ValueError for an empty word.
    """
    texts: list[str] = []
    words: list[tuple[int, int]] = []
    mentions: list[Mention] = []
    parts: list[Part] = []
    place = 0
    for row, tags in sentences:
        text, spans = join_words(row) if spacing == "reconstructed" else spaced_words(row)
        spans = [(start + place, end + place) for start, end in spans]
        # Plain tags may look like prefixed ones: "B-cell", "S".
        marked = [tag if tag == OUTSIDE else f"I-{tag}" for tag in tags] if scheme == "IO" else tags
        for first, last, type_ in chunks_of(marked, strict=strict and scheme != "IO"):
            mentions.append(Mention(spans[first][0], spans[last - 1][1], type_ or BARE))
        words += spans
        texts.append(text)
        parts.append(Part(place, place + len(text), SENTENCE))
        place += len(text) + 1
    return Document(
        name,
        " ".join(texts),
        tuple(mentions),
        parts=tuple(parts) if len(parts) > 1 else (),
        words=tuple(words),
    )


def check_spacing(spacing: str) -> Spacing:
    """The same word. Raises InputError for another than "reconstructed" and "words"."""
    for known in get_args(Spacing):
        if spacing == known:
            return known
    raise InputError(f"spacing {spacing!r} is not known; choose {' or '.join(SPACINGS)}")
