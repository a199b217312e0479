"""The optimizer's steps, each a function of its number: there is no state to lose."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Literal, Protocol

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


class Windows(Protocol):
    """What steps are made of: windows of tokens, by number."""

    def __len__(self) -> int:
        """How many there are."""

    def lengths(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) tokens of each, special tokens included."""

    def measure(self) -> tuple[int, int]:
        """(total, longest): tokens of all windows and of the longest."""


class Steps(ABC):
    """Which windows each optimizer step sees, and how they are divided among ranks.

    A step has `examples_per_step` windows, or about `tokens_per_step` tokens (special ones included) where that
    is given: of an epoch's windows end to end, those whose last token lies in its stretch of so many. Raises
    ConfigError where a window is longer than a step.
    """

    def __init__(
        self,
        windows: Windows,
        *,
        seed: int,
        examples_per_step: int,
        max_row_tokens: int,
        tokens_per_step: int | None = None,
        epochs: int = 1,
        max_steps: int | None = None,
    ) -> None:
        self.per_epoch = -(-len(windows) // examples_per_step)
        """Steps of one epoch, the same in each; its last may be smaller, so that every window is seen once."""
        if tokens_per_step is not None:
            tokens, longest = windows.measure()
            if longest > tokens_per_step:
                raise ConfigError(
                    f"tokens_per_step is {tokens_per_step}, less than the longest passage has ({longest}); give more"
                )
            self.per_epoch = -(-tokens // tokens_per_step)
        self.total = epochs * self.per_epoch if max_steps is None else min(epochs * self.per_epoch, max_steps)
        """Steps of the whole run, over which a mask rate changes."""
        self.max_row_tokens = max_row_tokens
        self.max_windows: int | None = None
        """Of a row; None for as many as it holds."""
        self._windows = windows
        self._seed = seed
        self._examples_per_step = examples_per_step
        self._tokens_per_step = tokens_per_step
        self._epoch = (-1, np.empty(0, np.int64), np.empty(0, np.int64))

    @abstractmethod
    def pack(self, index: NDArray[np.int64], step: int) -> list[PackedRow]:
        """Windows `index` (n,) of step `step` as rows, grouped as `groups` says."""

    @abstractmethod
    def filler(self) -> PackedRow:
        """A row that counts for nothing."""

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
            lengths = self._windows.lengths(index)
            shares = divide_lengths(lengths, ranks)
            most = max(len(self.groups(lengths[share])) for share in shares)
            index = index[shares[rank]]
        rows = self.pack(index, step)
        return rows + [self.filler()] * (most - len(rows))

    def groups(self, lengths: NDArray[np.int64]) -> list[list[int]]:
        """Which of the windows of these lengths (n,) share a row."""
        return pack_lengths(lengths, self.max_row_tokens, max_windows=self.max_windows)

    def _order(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The epoch's windows in order (examples,), and where in it each step begins and the last ends."""
        known, order, bounds = self._epoch
        if known != epoch:
            order = epoch_order(len(self._windows), seed=self._seed, epoch=epoch)
            bounds = self._bounds(order)
            self._epoch = (epoch, order, bounds)
        return order, bounds

    def _bounds(self, order: NDArray[np.int64]) -> NDArray[np.int64]:
        steps = np.arange(self.per_epoch + 1, dtype=np.int64)
        if self._tokens_per_step is None:
            return np.minimum(steps * self._examples_per_step, len(order))
        ends = np.empty(len(order), np.int64)
        for first in range(0, len(order), BLOCK):
            ends[first : first + BLOCK] = self._windows.lengths(order[first : first + BLOCK])
        np.cumsum(ends, out=ends)
        # By its last token, not its first: so no step is empty, the last one included.
        return np.searchsorted(ends, steps * self._tokens_per_step, side="right").astype(np.int64)


class TrainingSteps(Steps):
    """The steps of a pretraining: windows masked and packed, to one shape where that is asked for.

    Raises ConfigError as `Steps`, and where a window is longer than a row of fixed shape.
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
        super().__init__(
            examples,
            seed=seed,
            examples_per_step=examples_per_step,
            max_row_tokens=max_row_tokens,
            tokens_per_step=tokens_per_step,
            epochs=epochs,
            max_steps=max_steps,
        )
        self.examples = examples
        self.shape = None
        """What every row is padded to (RowShape), or None."""
        if row_shape == "fixed":
            self.shape = fixed_shape(examples, masker.config, max_row_tokens=max_row_tokens)
            self.max_windows = self.shape.windows
        self._masker = masker

    def pack(self, index: NDArray[np.int64], step: int) -> list[PackedRow]:
        """Windows `index` (n,) of step `step` as masked rows."""
        return pack_rows(
            self.examples,
            index,
            self._masker,
            epoch=step // self.per_epoch,
            max_row_tokens=self.max_row_tokens,
            rate=self._masker.config.rate_at(step, self.total),
            shape=self.shape,
        )

    def filler(self) -> PackedRow:
        """A row of special tokens alone, of the run's shape where it has one."""
        return filler(self.examples, self.shape)


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
