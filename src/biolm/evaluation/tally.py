"""Sums over masked tokens, with intervals over documents, in memory that does not grow with the set.

Intervals are those of the Poisson bootstrap (Hanley and MacGibbon 2006; Chamandy et al. 2012): in replicate b a
document counts n times, n drawn from Poisson(1) for (seed, document, b). Passages of a document get the
same draw wherever they stand, so documents need not be gathered, and two models measured on the same
documents share their draws: differences are paired.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from biolm.batches.counters import raw_draws, uniforms

REPLICATES = 1000
_POISSON_CDF = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(16)])

METRICS = ("loss", "perplexity", "recall_at_1", "recall_at_5")


def document_weights(document: int, *, seed: int, replicates: int = REPLICATES) -> NDArray[np.int64]:
    """(replicates,) how often a document counts in each bootstrap replicate."""
    draws = uniforms(raw_draws(replicates, purpose="bootstrap", seed=seed, passage=document))
    return np.searchsorted(_POISSON_CDF, draws, side="right")


@dataclass(slots=True)
class Sums:
    """Loss, hits and masked tokens of one group (a section, or everything), also in each replicate."""

    replicates: int = REPLICATES
    total: NDArray[np.float64] = field(init=False)
    """(4,): masked tokens, loss, hits at 1, hits at 5."""
    resampled: NDArray[np.float64] = field(init=False)
    """(4, replicates): the same under each replicate's weights."""

    def __post_init__(self) -> None:
        """Start at zero."""
        self.total = np.zeros(4)
        self.resampled = np.zeros((4, self.replicates))

    def add(self, loss: NDArray[np.float64], rank: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
        """Add the masked positions (masked,) of one document; weights: (replicates,)."""
        sums = np.array([len(loss), loss.sum(), (rank < 1).sum(), (rank < 5).sum()])
        self.total += sums
        self.resampled += sums[:, None] * weights

    def metrics(self) -> dict[str, float]:
        """The four metrics over everything added. NaN where nothing was."""
        return {name: float(value) for name, value in _metrics(self.total).items()}

    def replicate_metrics(self) -> dict[str, NDArray[np.float64]]:
        """The four metrics in each replicate, (replicates,)."""
        return _metrics(self.resampled)


def with_interval(value: float, replicates: NDArray[np.float64]) -> dict[str, float]:
    """A value with the 2.5th and 97.5th percentile of its replicates."""
    finite = replicates[np.isfinite(replicates)]
    if not len(finite):
        return {"value": value, "low": math.nan, "high": math.nan}
    low, high = np.percentile(finite, [2.5, 97.5])
    return {"value": value, "low": float(low), "high": float(high)}


def estimates(sums: Sums) -> dict[str, dict[str, float]]:
    """Each metric as {"value", "low", "high"}."""
    values, replicates = sums.metrics(), sums.replicate_metrics()
    return {name: with_interval(values[name], replicates[name]) for name in METRICS}


def differences(first: Sums, second: Sums) -> dict[str, dict[str, float]]:
    """Each metric of `first` minus that of `second`, paired by document, as {"value", "low", "high"}."""
    ours, theirs = first.metrics(), second.metrics()
    our_replicates, their_replicates = first.replicate_metrics(), second.replicate_metrics()
    return {
        name: with_interval(ours[name] - theirs[name], our_replicates[name] - their_replicates[name])
        for name in METRICS
    }


def _metrics(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        loss = sums[1] / sums[0]
        return {
            "loss": loss,
            "perplexity": np.exp(loss),
            "recall_at_1": sums[2] / sums[0],
            "recall_at_5": sums[3] / sums[0],
        }
