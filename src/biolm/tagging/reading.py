"""Texts to what a model reads: tokens, units and windows, with the tokens of hidden entities masked."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.mentions import Mention
from biolm.tagging.units import Units, cut_units
from biolm.tagging.windows import Window, cut_windows
from biolm.tokens.tokenizer import Tokenizer, Vocabulary


@dataclass(frozen=True, slots=True)
class CutText:
    """One text, cut."""

    text: str
    units: Units
    windows: list[Window]
    shown: NDArray[np.int64]
    """(tokens,) ids as the model sees them."""

    def window_ids(self, window: Window, vocabulary: Vocabulary) -> NDArray[np.int64]:
        """(n,) of one window, special tokens around it."""
        inner = self.shown[window.first_token : window.end_token]
        return np.concatenate([vocabulary.prefix, inner, vocabulary.suffix]).astype(np.int64)

    def asked(self, window: Window, vocabulary: Vocabulary) -> NDArray[np.int64]:
        """(units of the window,) where in `window_ids` the tokens stand that speak for its units."""
        own = self.units.first[window.first_unit : window.end_unit]
        return own - window.first_token + len(vocabulary.prefix)


def cut_texts(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    content_tokens: int,
    overlap: int,
    hidden: Sequence[Sequence[Mention]] | None = None,
) -> Iterator[CutText]:
    """Each text with its windows (see `cut_windows`). `hidden`: of each, the mentions whose tokens are masked."""
    for number, (text, aligned) in enumerate(zip(texts, tokenizer.encode_aligned(texts), strict=True)):
        units = cut_units(text, aligned)
        shown = units.ids
        if hidden is not None and hidden[number]:
            shown = hide(units, hidden[number], tokenizer.vocabulary.mask_id)
        windows = cut_windows(units, content_tokens=content_tokens, overlap=overlap)
        yield CutText(text, units, windows, shown)


def hide(units: Units, entities: Sequence[Mention], mask_id: int) -> NDArray[np.int64]:
    """(tokens,) ids with `mask_id` for every token of every unit that shares a character with an entity."""
    covered = np.zeros(len(units) + 1, bool)  # the last one for tokens of no unit
    for entity in entities:
        first, end = units.overlapping(entity.start, entity.end)
        covered[first:end] = True
    return np.where(covered[units.unit_of], mask_id, units.ids)
