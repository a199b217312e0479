"""The optimizer's steps, each a function of its number: there is no state to lose."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from biolm.batches.counters import raw_draws
from biolm.batches.examples import BLOCK, Examples
from biolm.batches.masking import EVALUATION_MASKING, Masker
from biolm.batches.packing import PackedRow, divide_lengths, filler, fixed_shape, pack_lengths, pack_rows
from biolm.errors import ConfigError


def epoch_order(count: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """(count,) a permutation that depends on (seed, epoch) alone. 8 bytes for each example, sorted once."""
    return np.argsort(raw_draws(count, purpose="order", seed=seed, epoch=epoch), kind="stable")


class TrainingSteps:
    """Which windows each optimizer step sees, and how they are divided, packed and masked.

    A step has `examples_per_step` windows, or about `tokens_per_step` tokens (special ones included) where that
    is given: of an epoch's windows end to end, those whose last token lies in its stretch of so many. Raises
    ConfigError where a window is longer than a step or, under a fixed shape, than a row.
    """

    def __init__(
        self,
        examples: Examples,
        masker: Masker,
        *,
        seed: int,
        examples_per_step: int,
        max_row_tokens: int,
        tokens_per_step: int | None = None,
        row_shape: Literal["free", "fixed"] = "free",
        epochs: int = 1,
        max_steps: int | None = None,
    ) -> None:
        self.examples = examples
        self.shape = None
        """What every row is padded to (RowShape), or None."""
        if row_shape == "fixed":
            self.shape = fixed_shape(examples, masker.config, max_row_tokens=max_row_tokens)
        self.per_epoch = -(-len(examples) // examples_per_step)
        """Steps of one epoch, the same in each; its last may be smaller, so that every window is seen once."""
        if tokens_per_step is not None:
            tokens, longest = examples.measure()
            if longest > tokens_per_step:
                raise ConfigError(
                    f"tokens_per_step is {tokens_per_step}, less than the longest passage has ({longest}); give more"
                )
            self.per_epoch = -(-tokens // tokens_per_step)
        self.total = epochs * self.per_epoch if max_steps is None else min(epochs * self.per_epoch, max_steps)
        """Steps of the whole run, over which a mask rate changes."""
        self._masker = masker
        self._seed = seed
        self._examples_per_step = examples_per_step
        self._tokens_per_step = tokens_per_step
        self._max_row_tokens = max_row_tokens
        self._epoch = (-1, np.empty(0, np.int64), np.empty(0, np.int64))

    def examples_of(self, step: int) -> NDArray[np.int64]:
        """(n,) the windows of step `step` over all ranks, counted from 0 over all epochs; never none."""
        epoch, place = divmod(step, self.per_epoch)
        order, bounds = self._order(epoch)
        return order[bounds[place] : bounds[place + 1]]

    def rows(self, step: int, *, rank: int = 0, ranks: int = 1) -> list[PackedRow]:
        """The micro-batches of step `step` on one of `ranks`, as many on each.

        Over all ranks they hold the same windows with the same masks, however many ranks there are; a rank with
        fewer than another gets rows that count for nothing.
        """
        index = self.examples_of(step)
        most = 0
        if ranks > 1:
            lengths = self.examples.lengths(index)
            shares = divide_lengths(lengths, ranks)
            most = max(len(self._packed(lengths[share])) for share in shares)
            index = index[shares[rank]]
        rows = pack_rows(
            self.examples,
            index,
            self._masker,
            epoch=step // self.per_epoch,
            max_row_tokens=self._max_row_tokens,
            rate=self._masker.config.rate_at(step, self.total),
            shape=self.shape,
        )
        return rows + [filler(self.examples, self.shape)] * (most - len(rows))

    def _packed(self, lengths: NDArray[np.int64]) -> list[list[int]]:
        windows = None if self.shape is None else self.shape.windows
        return pack_lengths(lengths, self._max_row_tokens, max_windows=windows)

    def _order(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The epoch's windows in order (examples,), and where in it each step begins and the last ends."""
        known, order, bounds = self._epoch
        if known != epoch:
            order = epoch_order(len(self.examples), seed=self._seed, epoch=epoch)
            bounds = self._bounds(order)
            self._epoch = (epoch, order, bounds)
        return order, bounds

    def _bounds(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        steps = np.arange(self.per_epoch + 1, dtype=np.int64)
        if self._tokens_per_step is None:
            return np.minimum(steps * self._examples_per_step, len(order))
        ends = np.empty(len(order), np.int64)
        for first in range(0, len(order), BLOCK):
            ends[first : first + BLOCK] = self.examples.lengths(order[first : first + BLOCK])
        np.cumsum(ends, out=ends)
        # By its last token, not its first: so no step is empty, the last one included.
        return np.searchsorted(ends, steps * self._tokens_per_step, side="right").astype(np.int64)


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
