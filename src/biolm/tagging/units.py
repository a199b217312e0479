"""What gets one label: the words and symbols of a text, each with the token that speaks for it.

A unit is a run of letters, digits and marks of any script, or one other character (a grapheme: an emoji with its
modifiers is one). So "IL-6/STAT3" is five units, of which "-" and "/" may lie inside a mention or between two, and no
boundary ever falls inside a word. Where the tokenizer has one token for several units (RoBERTa's ")."), they are one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.mentions import UNIT
from biolm.tokens.tokenizer import Aligned


@dataclass(frozen=True, slots=True)
class Units:
    """A text cut into tokens and units."""

    ids: NDArray[np.int64]
    """(tokens,), without special tokens."""
    spans: NDArray[np.int64]
    """(units, 2): characters, from and before; ascending and apart."""
    first: NDArray[np.int64]
    """(units,): the token that speaks for the unit, its first; ascending."""
    unit_of: NDArray[np.int64]
    """(tokens,): the unit that a token is of; −1 for a token of white space alone."""

    def __len__(self) -> int:
        """How many units there are."""
        return len(self.first)

    def overlapping(self, start: int, end: int) -> tuple[int, int]:
        """The units that share a character with [start, end): first, and one behind the last."""
        first = int(np.searchsorted(self.spans[:, 1], start, side="right"))
        last = int(np.searchsorted(self.spans[:, 0], end, side="left"))
        return first, max(first, last)


def cut_units(text: str, aligned: Aligned) -> Units:
    """The units of a text, from its tokens with their characters.

    Characters that the tokenizer throws away (control characters) are in no unit, unless they lie inside one.
    """
    pieces = np.array([match.span() for match in UNIT.finditer(text)], np.int64).reshape(-1, 2)
    start, end = aligned.spans[:, 0], aligned.spans[:, 1]
    first = np.searchsorted(pieces[:, 1], start, side="right")
    last = np.searchsorted(pieces[:, 0], end, side="left") - 1
    holds = (first <= last) & (start < end)  # of white space alone a token holds no piece
    joined = np.zeros(len(pieces) + 1, bool)
    for low, high in zip(first[holds & (last > first)], last[holds & (last > first)], strict=True):
        joined[low + 1 : high + 1] = True
    seen = np.zeros(len(pieces) + 1, np.int64)
    np.add.at(seen, first[holds], 1)
    np.add.at(seen, last[holds] + 1, -1)
    with_token = np.cumsum(seen)[: len(pieces)] > 0
    number = np.cumsum(~joined[: len(pieces)] & with_token) - 1  # of the unit that a piece is of
    keep = np.flatnonzero(with_token)
    opens = keep[~joined[keep]]
    closes = np.append(opens[1:], len(pieces)) - 1
    if len(keep):
        closes = keep[np.searchsorted(keep, closes, side="right") - 1]
    unit_of = np.full(len(aligned.ids), -1, np.int64)
    unit_of[holds] = number[first[holds]]
    speaking = np.flatnonzero(holds)
    units, at = np.unique(unit_of[speaking], return_index=True)
    assert len(units) == len(opens)
    return Units(
        aligned.ids,
        np.stack([pieces[opens, 0], pieces[closes, 1]], 1) if len(opens) else np.empty((0, 2), np.int64),
        speaking[at],
        unit_of,
    )
