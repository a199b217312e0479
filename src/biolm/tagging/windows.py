"""Texts longer than a model reads: overlapping windows, and one of them that answers for each unit."""

from dataclasses import dataclass

import numpy as np

from biolm.tagging.units import Units


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a text's tokens that the model reads at once."""

    first_token: int
    end_token: int
    """The window reads tokens first_token to end_token − 1."""
    first_unit: int
    end_unit: int
    """Its answers count for units first_unit to end_unit − 1, whose speaking tokens it reads."""

    @property
    def tokens(self) -> int:
        """Without special tokens."""
        return self.end_token - self.first_token


def cut_windows(units: Units, *, content_tokens: int, overlap: int) -> list[Window]:
    """Windows of at most `content_tokens` tokens that overlap by `overlap` (the last one may by more).

    Every unit is answered by exactly one window: where two overlap, by the one that reads more around it. A window
    begins between words, unless one word is longer than the overlap. No windows for a text without units.
    """
    if not 0 <= overlap < content_tokens:
        raise ValueError(f"windows of {content_tokens} tokens cannot overlap by {overlap}")
    count = len(units.ids)
    if not len(units):
        return []
    if count <= content_tokens:
        return [Window(0, count, 0, len(units))]
    starts = [0]
    while starts[-1] + content_tokens < count:
        end = starts[-1] + content_tokens
        wanted = min(end - overlap, count - content_tokens)
        between = _next_word(units, wanted)
        starts.append(between if between <= end else wanted)
    ends = [min(start + content_tokens, count) for start in starts]
    borders = [(start + end) // 2 for start, end in zip(starts[1:], ends[:-1], strict=True)]
    bounds = [0, *(int(n) for n in np.searchsorted(units.first, borders)), len(units)]
    windows = [
        Window(start, end, first, last)
        for start, end, first, last in zip(starts, ends, bounds, bounds[1:], strict=False)
    ]
    return [window for window in windows if window.first_unit < window.end_unit]


def _next_word(units: Units, token: int) -> int:
    """The first token of a unit at or behind `token`."""
    at = int(np.searchsorted(units.first, token))
    return int(units.first[at]) if at < len(units) else token
