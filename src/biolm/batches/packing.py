"""Windows to flat rows: as long as they come out, or padded to one shape."""

import bisect
import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from biolm.batches.examples import Examples
from biolm.batches.masking import Masker, MaskingConfig
from biolm.errors import ConfigError

IGNORED = -100
"""The label that counts for nothing: torch.nn.functional.cross_entropy's ignore_index."""
WORD_SPREAD = 3.0
"""Whole words vary the number of masked tokens as much as words of so many tokens would: Σn²/Σn over words of n.
Measured: 2.8 in figure legends under roberta-base's tokenizer."""


@dataclass(frozen=True, slots=True)
class PackedRow:
    """One micro-batch: windows end to end in one row, with what the model must predict."""

    input_ids: NDArray[np.int64]
    """(tokens,): masked ids, special tokens included; under a fixed shape with padding at the end."""
    lengths: NDArray[np.int64]
    """(windows,): tokens of each; without padding they add up to `tokens`."""
    masked_positions: NDArray[np.int64]
    """(places,): places in the row, ascending; padded with 0."""
    labels: NDArray[np.int64]
    """(places,): the ids that were there; padded with IGNORED."""
    masked_per_window: NDArray[np.int64]
    """(windows,): how many masked positions each window has; without padding they add up to `places`."""
    examples: NDArray[np.int64]
    """(windows,): indices into the Examples."""
    segments: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """(slots,): tokens that see each other, and count their positions from the first; they add up to `tokens`.
    The windows; under a fixed shape then padding, then zeros. Not given: `lengths`."""

    def __post_init__(self) -> None:
        """Without padding, windows are all there is."""
        if not len(self.segments):
            object.__setattr__(self, "segments", self.lengths)

    @property
    def masked(self) -> int:
        """Positions to predict, padding not counted."""
        return int(self.masked_per_window.sum())

    def masked_places(self, prefix: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each masked position of a row without padding, its window and its place in it, (places,) both.

        `prefix`: tokens in front of each window's content, from where places are counted.
        """
        window = np.repeat(np.arange(len(self.lengths)), self.masked_per_window)
        begin = np.cumsum(self.lengths) - self.lengths + prefix
        return window, self.masked_positions - begin[window]


@dataclass(frozen=True, slots=True)
class RowShape:
    """What all rows of a run are padded to, so that compiled kernels and CUDA graphs fit each."""

    tokens: int
    slots: int
    """Segments, those of padding included."""
    masked: int
    """Masked positions; a row with more gets the next multiple."""
    segment: int
    """Tokens of the longest segment."""

    @property
    def windows(self) -> int:
        """The most windows of a row: padding needs the other slots at worst."""
        return self.slots - -(-self.tokens // self.segment)


def fixed_shape(examples: Examples, masking: MaskingConfig, *, max_row_tokens: int) -> RowShape:
    """The one shape of a run's rows, from its windows and the highest mask rate; the same on every rank.

    Room for four times the windows that fill a row on average (short ones meet in the last rows of a step),
    and for six standard deviations more masked positions than the mean. Raises ConfigError where a window is
    longer than a row.
    """
    total, longest = examples.measure()
    if longest > max_row_tokens:
        raise ConfigError(
            f"max_row_tokens is {max_row_tokens}, less than the longest passage has ({longest}), and fixed rows "
            "cannot grow; give more, or a lower max_tokens"
        )
    segment = max(1, longest)
    windows = math.ceil(4 * max_row_tokens * len(examples) / max(1, total)) or 1
    rate = masking.largest_rate
    variance = max_row_tokens * rate * (1 - rate) * (WORD_SPREAD if masking.mask_unit == "word" else 1)
    masked = math.ceil(max_row_tokens * rate + 6 * math.sqrt(variance))
    return RowShape(
        tokens=max_row_tokens,
        slots=windows + -(-max_row_tokens // segment),
        masked=min(max_row_tokens, -(-masked // 8) * 8),
        segment=segment,
    )


def pack_lengths(
    lengths: Sequence[int] | NDArray[np.int64], max_row_tokens: int, *, max_windows: int | None = None
) -> list[list[int]]:
    """Groups of indices whose lengths add up to at most `max_row_tokens`: best fit, longest first.

    One longer than the limit gets a row of its own. A row of `max_windows` takes no more. The result depends on
    the arguments alone.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-int(lengths[i]), i))
    rows: list[list[int]] = []
    gaps: list[tuple[int, int]] = []  # (room left, row), sorted: the first that fits is the best
    for index in order:
        length = int(lengths[index])
        at = bisect.bisect_left(gaps, (length, -1))
        if at < len(gaps):
            room, row = gaps.pop(at)
            rows[row].append(index)
        else:
            room, row = max(max_row_tokens, length), len(rows)
            rows.append([index])
        if max_windows is None or len(rows[row]) < max_windows:
            bisect.insort(gaps, (room - length, row))
    return rows


def divide_lengths(lengths: Sequence[int] | NDArray[np.int64], ranks: int) -> list[list[int]]:
    """For each rank its indices, ascending: longest first, each to the rank with the fewest tokens so far."""
    loads = [(0, rank) for rank in range(ranks)]
    shares: list[list[int]] = [[] for _ in range(ranks)]
    for index in sorted(range(len(lengths)), key=lambda i: (-int(lengths[i]), i)):
        load, rank = loads[0]
        shares[rank].append(index)
        heapq.heapreplace(loads, (load + int(lengths[index]), rank))
    return [sorted(share) for share in shares]


def pack_rows(
    examples: Examples,
    index: NDArray[np.int64],
    masker: Masker,
    *,
    epoch: int,
    max_row_tokens: int,
    rate: float | None = None,
    shape: RowShape | None = None,
) -> list[PackedRow]:
    """The windows `index` (n,) as packed rows, masked at `rate` (the masker's own unless given).

    Under a `shape` all rows have it, and `max_row_tokens` must be its tokens.
    """
    groups = pack_lengths(
        examples.lengths(index), max_row_tokens, max_windows=None if shape is None else shape.windows
    )
    rows = [_row(examples, index[group], masker, epoch, rate) for group in groups]
    if shape is None:
        return rows
    vocabulary = examples.vocabulary
    fill = (*vocabulary.special_ids, *vocabulary.prefix, *vocabulary.suffix)[-1]
    return [_padded(row, shape, fill) for row in rows]


def filler(examples: Examples, shape: RowShape | None) -> PackedRow:
    """A row that counts for nothing, for a rank that has fewer than another: no windows, special tokens alone."""
    row = empty_row((*examples.vocabulary.prefix, *examples.vocabulary.suffix))
    if shape is None:
        return row
    nothing = np.empty(0, np.int64)
    last = int(row.input_ids[-1])
    return _padded(replace(row, input_ids=nothing, masked_positions=nothing, labels=nothing), shape, last)


def empty_row(special_ids: Sequence[int]) -> PackedRow:
    """A row without windows: these tokens, and one position whose label is IGNORED."""
    nothing = np.empty(0, np.int64)
    ids = np.array(special_ids or [0], np.int64)
    return PackedRow(
        input_ids=ids,
        lengths=nothing,
        segments=np.array([len(ids)], np.int64),
        masked_positions=np.zeros(1, np.int64),
        labels=np.full(1, IGNORED),
        masked_per_window=nothing,
        examples=nothing,
    )


def _row(
    examples: Examples, index: NDArray[np.int64], masker: Masker, epoch: int, rate: float | None
) -> PackedRow:
    prefix = np.array(examples.vocabulary.prefix, np.int64)
    suffix = np.array(examples.vocabulary.suffix, np.int64)
    ids: list[NDArray[np.int64]] = []
    positions: list[NDArray[np.int64]] = []
    labels: list[NDArray[np.int64]] = []
    lengths: list[int] = []
    at = 0
    for example in index:
        content = examples.content(example)
        shown, chosen = masker.mask(
            content,
            epoch=epoch,
            passage=int(examples.passages[example]),
            window=int(examples.starts[example]) // examples.content_tokens,
            rate=rate,
        )
        ids += [prefix, shown, suffix]
        positions.append(at + len(prefix) + chosen)
        labels.append(content[chosen])
        lengths.append(len(prefix) + len(content) + len(suffix))
        at += lengths[-1]
    return PackedRow(
        input_ids=np.concatenate(ids),
        lengths=np.array(lengths, np.int64),
        masked_positions=np.concatenate(positions),
        labels=np.concatenate(labels),
        masked_per_window=np.array([len(chosen) for chosen in positions], np.int64),
        examples=index,
    )


def _padded(row: PackedRow, shape: RowShape, fill: int) -> PackedRow:
    gap = shape.tokens - len(row.input_ids)
    segments = np.zeros(shape.slots, np.int64)
    segments[: len(row.lengths)] = row.lengths
    padding = np.full(-(-gap // shape.segment), shape.segment, np.int64)
    padding[-1:] -= len(padding) * shape.segment - gap
    segments[len(row.lengths) : len(row.lengths) + len(padding)] = padding
    short = -row.masked % shape.masked if row.masked else shape.masked
    return replace(
        row,
        input_ids=np.pad(row.input_ids, (0, gap), constant_values=fill),
        masked_positions=np.pad(row.masked_positions, (0, short)),
        labels=np.pad(row.labels, (0, short), constant_values=IGNORED),
        segments=segments,
    )
