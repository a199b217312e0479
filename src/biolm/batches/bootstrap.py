"""The Poisson bootstrap over documents (Hanley and MacGibbon 2006; Chamandy et al. 2012).

In replicate b a document counts n times, n drawn from Poisson(1) for (seed, document, b): whatever is measured on the
same documents shares its draws, so differences are paired.
"""

import math

import numpy as np
from numpy.typing import NDArray

from biolm.batches.counters import raw_draws, uniforms

REPLICATES = 1000
BOOTSTRAP_SEED = 0
_POISSON_CDF = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(16)])


def document_weights(document: int, *, seed: int, replicates: int = REPLICATES) -> NDArray[np.int64]:
    """(replicates,) how often a document counts in each bootstrap replicate."""
    draws = uniforms(raw_draws(replicates, purpose="bootstrap", seed=seed, passage=document))
    return np.searchsorted(_POISSON_CDF, draws, side="right")


def percentiles(draws: NDArray[np.float64]) -> tuple[float, float]:
    """The 2.5th and 97.5th of those that are finite; NaN where none is."""
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return math.nan, math.nan
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def p_value(draws: NDArray[np.float64]) -> float:
    """Two-sided, by the share of replicates of a difference on the other side of zero; NaN where none is finite.

    Efron and Tibshirani 1993, §15.4 and 16.
    """
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return math.nan
    rarer = min(np.count_nonzero(finite <= 0), np.count_nonzero(finite >= 0))
    return min(1.0, 2 * (rarer + 1) / (len(finite) + 1))
