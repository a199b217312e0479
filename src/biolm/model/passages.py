"""How a packed row is divided into passages: built once a row on the host, read by every layer."""

from collections.abc import Sequence
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
        plain = np.asarray(lengths, np.int64)
        ends = np.concatenate([[0], np.cumsum(plain)])
        wanted = None
        if queries is not None:
            until = np.searchsorted(queries, ends)
            wanted = Queries(
                to_device(queries, device),
                tuple(int(n) for n in np.diff(until)),
                to_device(until.astype(np.int32), device),
            )
        longest = int(plain.max(initial=1))
        return cls(
            tuple(int(n) for n in plain),
            to_device(ends.astype(np.int32), device),
            -(-longest // _ROUND) * _ROUND,
            wanted,
            *(_buckets(plain, device) if bucketed else ()),
        )


def to_device(array: NDArray[np.generic], device: torch.device) -> torch.Tensor:
    """A copy on the device; to a GPU from pinned memory, so that nobody waits for it."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _buckets(lengths: NDArray[np.int64], device: torch.device) -> tuple[tuple[Bucket, ...], torch.Tensor]:
    starts = np.cumsum(lengths) - lengths
    order = [int(i) for i in np.argsort(lengths, kind="stable") if lengths[i]]
    groups: list[list[int]] = []
    for passage in order:
        if groups and lengths[passage] <= _ALIKE * lengths[groups[-1][0]]:
            groups[-1].append(passage)
        else:
            groups.append([passage])
    found, places = [], []
    for group in groups:
        own = lengths[group][:, None]
        place = np.arange(int(own.max()))[None]
        tokens = starts[group][:, None] + np.minimum(place, own - 1)
        real = place < own
        found.append(Bucket(*(to_device(array, device) for array in (tokens, real, np.flatnonzero(real)))))
        places.append(tokens[real])
    return tuple(found), to_device(np.argsort(np.concatenate(places)), device)
