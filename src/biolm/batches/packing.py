"""Windows to flat rows without padding."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.batches.examples import Examples
from biolm.batches.masking import Masker


@dataclass(frozen=True, slots=True)
class PackedRow:
    """One micro-batch: windows end to end in one row, with what the model must predict."""

    input_ids: NDArray[np.int64]
    """(tokens,): masked ids, special tokens included."""
    lengths: NDArray[np.int64]
    """(windows,): tokens of each; they add up to `tokens`."""
    masked_positions: NDArray[np.int64]
    """(masked,): places in the row, ascending."""
    labels: NDArray[np.int64]
    """(masked,): the ids that were there."""
    masked_per_window: NDArray[np.int64]
    """(windows,): how many masked positions each window has; they add up to `masked`."""
    examples: NDArray[np.int64]
    """(windows,): indices into the Examples."""


def pack_lengths(lengths: Sequence[int] | NDArray[np.int64], max_row_tokens: int) -> list[list[int]]:
    """Groups of indices whose lengths add up to at most `max_row_tokens`: best fit, longest first.

    One longer than the limit gets a row of its own. The result depends on the lengths alone.
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
        bisect.insort(gaps, (room - length, row))
    return rows


def pack_rows(
    examples: Examples, index: NDArray[np.int64], masker: Masker, *, epoch: int, max_row_tokens: int
) -> list[PackedRow]:
    """The windows `index` (n,) as packed, masked rows."""
    groups = pack_lengths(examples.lengths(index), max_row_tokens)
    return [_row(examples, index[group], masker, epoch) for group in groups]


def _row(examples: Examples, index: NDArray[np.int64], masker: Masker, epoch: int) -> PackedRow:
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
