"""Texts and the mentions in them: the one form that every annotated format is read into and written from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import regex

UNIT = regex.compile(
    r"(?V1)(?:[[\p{L}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]\p{M}*)+|(?!\s)\X"
)
"""A word (letters, digits and marks), or one other character (an emoji with its modifiers is one). Scripts that put no
spaces between words are taken character by character."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A stretch of a text that names something. Offsets count characters (code points) of the document's text."""

    start: int
    end: int
    """Behind its last character: `text[start:end]` is the mention."""
    type: str
    """"Chemical", "GENEPROD", ..."""
    score: float | None = None
    """How sure a model is, 0 to 1; None for what people marked."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What else is known of it: `role`, `identifier`, ..."""

    def moved(self, by: int) -> "Mention":
        """The same mention in a text that begins `by` characters earlier."""
        return replace(self, start=self.start + by, end=self.end + by)


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a document with a name: "title", "abstract", "figure_legend", ..."""

    start: int
    end: int
    name: str


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its mentions."""

    id: str
    text: str
    mentions: tuple[Mention, ...] = ()
    """By start, then by end. They may nest or overlap; what cannot is decided where it is used."""
    parts: tuple[Part, ...] = ()
    """Where the format tells some; else none."""
    words: tuple[tuple[int, int], ...] | None = None
    """(start, end) of each word, of data that came split into words; None for raw text."""

    def surface(self, mention: Mention) -> str:
        """The characters of a mention."""
        return self.text[mention.start : mention.end]


def in_order(mentions: list[Mention]) -> tuple[Mention, ...]:
    """Mentions by start, then end, then type."""
    return tuple(sorted(mentions, key=lambda mention: (mention.start, mention.end, mention.type)))
