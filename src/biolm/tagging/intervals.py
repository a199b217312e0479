"""Bootstrap intervals of strict scores over documents, and two predictions compared on the same gold.

The method is `biolm.batches.bootstrap`'s, a document's number being a hash of its id, so that neither the order of
documents nor the company in which they stand changes a draw, and two predictions share theirs. Documents are what is
drawn, since mentions of one document are not independent of each other.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.batches.bootstrap import BOOTSTRAP_SEED, REPLICATES, document_weights, p_value, percentiles
from biolm.errors import InputError
from biolm.tagging.pairs import Pair
from biolm.tagging.scores import CountTable, count_table, finite

METRICS = ("precision", "recall", "f1", "macro_f1")
"""The first three over all types together."""
_AT_ONCE = 512
"""Documents whose weights are in memory at the same time."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the 2.5th and 97.5th percentile of its replicates; NaN where fewer than two documents were given."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, Any]:
        """`value`, `low`, `high`, for JSON."""
        return {name: finite(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Difference:
    """A first prediction's metric minus a second's."""

    value: float
    low: float
    high: float
    p: float
    """Two-sided: see `p_value`."""

    def as_dict(self) -> dict[str, Any]:
        """`value`, `low`, `high`, `p`, for JSON."""
        return {name: finite(value) for name, value in asdict(self).items()}


def intervals(
    pairs: Sequence[Pair], *, replicates: int = REPLICATES, seed: int = BOOTSTRAP_SEED
) -> dict[str, Interval]:
    """Each of METRICS with its interval. Macro F1 is, in each replicate, over the types that occur in it."""
    table = count_table(pairs)
    values, draws = _values(table), metrics_of(_resampled(table, replicates, seed))
    return {name: Interval(values[name], *percentiles(_usable(draws[name], len(pairs)))) for name in METRICS}


def compare(
    first: Sequence[Pair],
    second: Sequence[Pair],
    *,
    replicates: int = REPLICATES,
    seed: int = BOOTSTRAP_SEED,
) -> dict[str, Difference]:
    """Each of METRICS, that of the first prediction minus that of the second, paired by document.

    Raises InputError where the two are not of the same gold.
    """
    if {pair.gold.id: pair.gold for pair in first} != {pair.gold.id: pair.gold for pair in second}:
        raise InputError("two predictions can be compared on the same gold documents only")
    tables = count_table(first), count_table(second)
    ours, theirs = map(_values, tables)
    our_draws, their_draws = (metrics_of(_resampled(table, replicates, seed)) for table in tables)
    found = {}
    for name in METRICS:
        draws = _usable(our_draws[name] - their_draws[name], len(first))
        found[name] = Difference(ours[name] - theirs[name], *percentiles(draws), p_value(draws))
    return found


def weights_of(id_: str, *, seed: int, replicates: int) -> NDArray[np.int64]:
    """(replicates,) how often the document of this id counts in each bootstrap replicate."""
    number = int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest(), "little")
    return document_weights(number, seed=seed, replicates=replicates)


def metrics_of(counts: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """From counts (types, 3, ...) the METRICS (...): the same quotients as those of `Scores`."""
    gold, predicted, correct = (counts[:, column] for column in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        by_type = 2 * correct / (gold + predicted)
        there = gold + predicted > 0
        return {
            "precision": correct.sum(0) / predicted.sum(0),
            "recall": correct.sum(0) / gold.sum(0),
            "f1": 2 * correct.sum(0) / (gold + predicted).sum(0),
            "macro_f1": np.where(there, by_type, 0).sum(0) / there.sum(0),
        }


def _values(table: CountTable) -> dict[str, float]:
    return {name: float(value) for name, value in metrics_of(table.counts.sum(0).astype(np.float64)).items()}


def _resampled(table: CountTable, replicates: int, seed: int) -> NDArray[np.float64]:
    """(types, 3, replicates): the table's sums under each replicate's weights."""
    documents, types, _ = table.counts.shape
    found = np.zeros((types * 3, replicates))
    for start in range(0, documents, _AT_ONCE):
        ids = table.ids[start : start + _AT_ONCE]
        weights = np.array([weights_of(id_, seed=seed, replicates=replicates) for id_ in ids])
        counts = table.counts[start : start + _AT_ONCE].reshape(len(ids), -1)
        found += counts.T.astype(np.float64) @ weights.astype(np.float64)
    return found.reshape(types, 3, replicates)


def _usable(draws: NDArray[np.float64], documents: int) -> NDArray[np.float64]:
    """All replicates of one document are the same quotient: an interval of width zero would be a claim."""
    return draws if documents > 1 else np.empty(0)
