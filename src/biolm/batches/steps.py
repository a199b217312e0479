"""The optimizer's steps, each a function of its number: there is no state to lose."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from biolm.batches.counters import raw_draws
from biolm.batches.examples import Examples
from biolm.batches.masking import EVALUATION_MASKING, Masker
from biolm.batches.packing import PackedRow, pack_rows


def epoch_order(count: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """(count,) a permutation that depends on (seed, epoch) alone. 8 bytes for each example, sorted once."""
    return np.argsort(raw_draws(count, purpose="order", seed=seed, epoch=epoch), kind="stable")


class TrainingSteps:
    """Which windows each optimizer step sees, and how they are packed and masked."""

    def __init__(
        self, examples: Examples, masker: Masker, *, seed: int, examples_per_step: int, max_row_tokens: int
    ) -> None:
        self._examples = examples
        self._masker = masker
        self._seed = seed
        self._examples_per_step = examples_per_step
        self._max_row_tokens = max_row_tokens
        self._order_epoch = -1
        self._order = np.empty(0, np.int64)

    @property
    def per_epoch(self) -> int:
        """Steps of one epoch; its last may be smaller, so that every window is seen once."""
        return -(-len(self._examples) // self._examples_per_step)

    def rows(self, step: int) -> list[PackedRow]:
        """The micro-batches of step `step`, counted from 0 over all epochs."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._order_epoch:
            self._order = epoch_order(len(self._examples), seed=self._seed, epoch=epoch)
            self._order_epoch = epoch
        first = place * self._examples_per_step
        index = self._order[first : first + self._examples_per_step]
        return pack_rows(
            self._examples, index, self._masker, epoch=epoch, max_row_tokens=self._max_row_tokens
        )


EVALUATION_SEED = 0


def evaluation_rows(
    examples: Examples, *, max_row_tokens: int, limit: int | None = None, block: int = 256
) -> Iterator[PackedRow]:
    """All windows (or the first `limit`) as packed rows with the fixed masks of evaluation.

    Windows are packed within blocks of `block`, so memory is flat; masks do not depend on either.
    """
    masker = Masker(examples.vocabulary, EVALUATION_MASKING, purpose="evaluation mask", seed=EVALUATION_SEED)
    count = len(examples) if limit is None else min(limit, len(examples))
    for first in range(0, count, block):
        index = np.arange(first, min(first + block, count), dtype=np.int64)
        yield from pack_rows(examples, index, masker, epoch=0, max_row_tokens=max_row_tokens)
