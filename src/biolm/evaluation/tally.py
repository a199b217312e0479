"""Sums over masked tokens, with intervals over documents, in memory that does not grow with the set.

Intervals are those of `biolm.batches.bootstrap`. Passages of a document get the same draw wherever they stand, so
documents need not be gathered.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.batches.bootstrap import BOOTSTRAP_SEED, REPLICATES, document_weights, p_value, percentiles
from biolm.evaluation.quantities import COUNT, METRICS, PLAIN


@dataclass(slots=True)
class Sums:
    """Sums over the masked tokens of one group (a section, or everything), also in each replicate."""

    replicates: int = REPLICATES
    total: NDArray[np.float64] = field(init=False)
    """(COUNT,): see `biolm.evaluation.quantities`."""
    resampled: NDArray[np.float64] = field(init=False)
    """(COUNT, replicates): the same under each replicate's weights."""

    def __post_init__(self) -> None:
        """Start at zero."""
        self.total = np.zeros(COUNT)
        self.resampled = np.zeros((COUNT, self.replicates))

    def add(self, sums: NDArray[np.float64], weights: NDArray[np.int64]) -> None:
        """Add what masked tokens of some documents add up to (documents, COUNT); weights: (documents, replicates)."""
        self.total += sums.sum(0)
        self.resampled += sums.T @ weights.astype(np.float64)

    def of(self, name: str) -> int:
        """One of the sums that are counts."""
        return round(float(self.total[PLAIN.index(name)]))

    def metrics(self) -> dict[str, float]:
        """The metrics over everything added. NaN where nothing was."""
        return {name: float(value) for name, value in _metrics(self.total).items()}

    def replicate_metrics(self) -> dict[str, NDArray[np.float64]]:
        """The metrics in each replicate, (replicates,)."""
        return _metrics(self.resampled)


@dataclass(slots=True)
class Group:
    """What one model did on some of a split's masked tokens."""

    sums: Sums
    documents: int
    """Papers that they are of."""

    def as_json(self) -> dict[str, Any]:
        """Its metrics, `masked_tokens` and `documents`."""
        return {
            **estimates(self.sums, self.documents),
            "masked_tokens": self.sums.of("tokens"),
            "documents": self.documents,
        }


@dataclass(frozen=True, slots=True)
class ByDocument:
    """Some masked tokens, gathered by the documents that they are of."""

    documents: NDArray[np.int64]
    """(documents,)."""
    weights: NDArray[np.int64]
    """(documents, replicates)."""
    of_document: NDArray[np.float64]
    """(documents, masked): 1 where a token is of a document."""

    @classmethod
    def of(cls, document_of: NDArray[np.integer[Any]]) -> "ByDocument":
        """document_of: (masked,)."""
        documents, index = np.unique(document_of, return_inverse=True)
        weights = [document_weights(int(document), seed=BOOTSTRAP_SEED) for document in documents]
        of_document = (index == np.arange(len(documents))[:, None]).astype(np.float64)
        return cls(documents.astype(np.int64), np.array(weights).reshape(-1, REPLICATES), of_document)


def with_interval(value: float, replicates: NDArray[np.float64]) -> dict[str, float]:
    """A value with the 2.5th and 97.5th percentile of its replicates."""
    low, high = percentiles(replicates)
    return {"value": value, "low": low, "high": high}


def estimates(sums: Sums, documents: int) -> dict[str, dict[str, float]]:
    """Each metric as {"value", "low", "high"}; of fewer than two documents there is no interval (NaN)."""
    values, replicates = sums.metrics(), sums.replicate_metrics()
    nothing = np.empty(0)
    return {
        name: with_interval(values[name], replicates[name] if documents > 1 else nothing) for name in METRICS
    }


def differences(first: Sums, second: Sums, documents: int) -> dict[str, dict[str, float]]:
    """Each metric of `first` minus that of `second`, paired by `documents`, as {"value", "low", "high", "p"}.

    `p`: two-sided, by the share of replicates on the other side of zero (Efron and Tibshirani 1993, §15.4 and 16).
    """
    ours, theirs = first.metrics(), second.metrics()
    our_replicates, their_replicates = first.replicate_metrics(), second.replicate_metrics()
    found = {}
    for name in METRICS:
        replicates = our_replicates[name] - their_replicates[name] if documents > 1 else np.empty(0)
        found[name] = {**with_interval(ours[name] - theirs[name], replicates), "p": p_value(replicates)}
    return found


def _metrics(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return {name: metric(sums) for name, metric in METRICS.items()}
