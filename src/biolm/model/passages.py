"""How a packed row is divided into passages: built once a row on the host, read by every layer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

_ROUND = 128
"""The longest passage is given rounded up to this: kernels compiled for one number serve many rows."""
_ALIKE = 1.25
"""Passages whose lengths differ by less than this factor are computed together."""


@dataclass(frozen=True, slots=True)
class Queries:
    """The tokens of a row whose outputs are wanted from the last layer."""

    at: torch.Tensor
    """(queries,) int64 on the device: places in the row, ascending."""
    counts: tuple[int, ...]
    """How many of them lie in each passage."""
    boundaries: torch.Tensor
    """(passages + 1,) int32 on the device: running sum of `counts` from 0."""
    longest: int
    """At least the largest count. In a row of fixed shape the last passage may be asked for more than it has tokens."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Passages of about the same length, to be computed together."""

    tokens: torch.Tensor
    """(passages, longest) int64: the place in the row of each token; where a passage has none, its last."""
    real: torch.Tensor
    """(passages, longest) bool: which of them are tokens."""
    kept: torch.Tensor
    """(tokens of the bucket,) int64: places of the real ones in the flattened (passages x longest)."""


@dataclass(frozen=True, slots=True)
class PassageLengths:
    """Lengths and boundaries of a row's passages. A length may be 0 (a slot of a fixed shape that is not used)."""

    lengths: tuple[int, ...]
    """Tokens of each passage, in the order of the row."""
    boundaries: torch.Tensor
    """(passages + 1,) int32 on the device: running sum from 0, as varlen kernels want it."""
    longest: int
    """At least the longest length."""
    queries: Queries | None = None
    buckets: tuple[Bucket, ...] = ()
    """Empty where passages are computed one by one or by a varlen kernel."""
    from_buckets: torch.Tensor | None = None
    """(tokens,) int64: where each token of the row lies among those of all buckets."""

    @classmethod
    def of(
        cls,
        lengths: Sequence[int] | NDArray[np.int64],
        device: torch.device,
        *,
        queries: NDArray[np.int64] | None = None,
        bucketed: bool = False,
    ) -> "PassageLengths":
        """From plain lengths, and the places (queries,) of a row whose outputs are wanted."""
        arrays, build = cls.planned(lengths, queries=queries, bucketed=bucketed)
        return build(iter(send(arrays, device)))

    @classmethod
    def planned(
        cls,
        lengths: Sequence[int] | NDArray[np.int64],
        *,
        queries: NDArray[np.int64] | None = None,
        bucketed: bool = False,
    ) -> tuple[list[NDArray[np.generic]], Callable[[Iterator[torch.Tensor]], "PassageLengths"]]:
        """The arrays that `of` sends, and what makes it of them once they are on the device."""
        plain = np.asarray(lengths, np.int64)
        ends = np.concatenate([[0], np.cumsum(plain)])
        arrays: list[NDArray[np.generic]] = [ends.astype(np.int32)]
        until = None if queries is None else np.searchsorted(queries, ends)
        if queries is not None and until is not None:
            arrays += [queries, until.astype(np.int32)]
        buckets = _buckets(plain) if bucketed else None
        for parts in buckets or ():
            arrays += parts

        longest = _rounded(int(plain.max(initial=1)))

        def build(there: Iterator[torch.Tensor]) -> PassageLengths:
            boundaries = next(there)
            wanted = None
            if queries is not None and until is not None:
                counts = tuple(int(n) for n in np.diff(until))
                enough = longest if max(counts, default=0) <= longest else _rounded(len(queries))
                wanted = Queries(next(there), counts, next(there), enough)
            return cls(
                tuple(int(n) for n in plain),
                boundaries,
                longest,
                wanted,
                tuple(Bucket(next(there), next(there), next(there)) for _ in range(len(buckets or [[]]) - 1)),
                None if buckets is None else next(there),
            )

        return arrays, build


def send(arrays: Sequence[NDArray[np.generic]], device: torch.device) -> list[torch.Tensor]:
    """Arrays on a device. To a GPU all in one copy from pinned memory, for which nobody waits.

    A copy costs the host about the same whatever it holds: 0.2 ms on a virtual machine with an H100.
    """
    if device.type != "cuda":
        return [torch.from_numpy(array).to(device) for array in arrays]
    buffer = torch.empty(sum(map(_room, arrays)), dtype=torch.uint8, pin_memory=True)
    lay_together(arrays, buffer)
    return take_apart(buffer.to(device, non_blocking=True), arrays)


def lay_together(arrays: Sequence[NDArray[np.generic]], buffer: torch.Tensor) -> None:
    """Write arrays one behind the other into (bytes,) uint8, each where any type may begin."""
    at = 0
    for array in arrays:
        buffer.numpy()[at : at + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        at += _room(array)


def take_apart(buffer: torch.Tensor, arrays: Sequence[NDArray[np.generic]]) -> list[torch.Tensor]:
    """The views of such a buffer that have the types and shapes of `arrays`."""
    found, at = [], 0
    for array in arrays:
        dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
        found.append(buffer[at : at + array.nbytes].view(dtype).view(array.shape))
        at += _room(array)
    return found


def _rounded(tokens: int) -> int:
    return -(-tokens // _ROUND) * _ROUND


def _room(array: NDArray[np.generic]) -> int:
    return -(-array.nbytes // 16) * 16


def _buckets(lengths: NDArray[np.int64]) -> list[list[NDArray[np.generic]]]:
    """The fields of each Bucket, and behind them a list of `from_buckets`."""
    starts = np.cumsum(lengths) - lengths
    order = [int(i) for i in np.argsort(lengths, kind="stable") if lengths[i]]
    groups: list[list[int]] = []
    for passage in order:
        if groups and lengths[passage] <= _ALIKE * lengths[groups[-1][0]]:
            groups[-1].append(passage)
        else:
            groups.append([passage])
    found: list[list[NDArray[np.generic]]] = []
    places = []
    for group in groups:
        own = lengths[group][:, None]
        place = np.arange(int(own.max()))[None]
        tokens = starts[group][:, None] + np.minimum(place, own - 1)
        real = place < own
        found.append([tokens, real, np.flatnonzero(real)])
        places.append(tokens[real])
    return [*found, [np.argsort(np.concatenate(places))]]
