"""What is added up over masked tokens, and the metrics that are quotients of such sums.

Every metric is a function of a few sums, so that it can be had for any group of tokens, and in every bootstrap
replicate, without a second look.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.model.masked_lm import Scores

BINS = 10
"""Of the calibration curve: likeliest tokens by their probability, 0 to 0.1, 0.1 to 0.2, ..."""
PLAIN = (
    "tokens",
    "loss",
    "hits_1",
    "hits_5",
    "hits_10",
    "reciprocal_ranks",
    "shown_as_mask",  # the others are shown as a random token, or unchanged
    "shown_as_mask_hits",
    "words",  # that have a masked token
    "words_right",  # of which every masked token is a hit
    "spelled_loss",  # of tokens whose characters are known
    "characters",
)
COUNT = len(PLAIN) + 3 * BINS
"""Sums of a group: the plain ones, then tokens, probability and hits of each bin."""
_AT = {name: place for place, name in enumerate(PLAIN)}
_LN2 = math.log(2)

Metric = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def quantities(
    scores: Scores,
    *,
    shown_as_mask: NDArray[np.bool_],
    words: NDArray[np.int64] | None = None,
    characters: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """(masked, COUNT): what each masked token adds, from its scores.

    `words` (masked,): the word that each is of, in ascending numbers; `characters` (masked,): those that it spells.
    Without them nothing is added to the sums that need them.
    """
    hit = scores.rank < 1
    found = np.zeros((len(hit), COUNT))
    columns: dict[str, Any] = {
        "tokens": 1.0,
        "loss": scores.loss,
        "hits_1": hit,
        "hits_5": scores.rank < 5,
        "hits_10": scores.rank < 10,
        "reciprocal_ranks": 1 / (scores.rank + 1.0),
        "shown_as_mask": shown_as_mask,
        "shown_as_mask_hits": shown_as_mask & hit,
    }
    if characters is not None:
        columns |= {"spelled_loss": scores.loss, "characters": characters}
    for name, values in columns.items():
        found[:, _AT[name]] = values
    if words is not None and len(words):
        first = np.flatnonzero(np.append(True, words[1:] != words[:-1]))
        found[first, _AT["words"]] = 1
        found[first, _AT["words_right"]] = np.logical_and.reduceat(hit, first)
    row = np.arange(len(hit))
    bins = len(PLAIN) + np.minimum((scores.confidence * BINS).astype(np.int64), BINS - 1)
    found[row, bins], found[row, bins + BINS], found[row, bins + 2 * BINS] = 1, scores.confidence, hit
    return found


def _share(part: str, whole: str) -> Metric:
    return lambda sums: sums[_AT[part]] / sums[_AT[whole]]


def _calibration_error(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean distance of probability and recall over the bins, weighted by tokens (ECE, Guo et al. 2017)."""
    _, probability, hits = np.split(sums[len(PLAIN) :], 3)
    return np.abs(probability - hits).sum(0) / sums[0]


METRICS: dict[str, Metric] = {
    "loss": _share("loss", "tokens"),
    "perplexity": lambda sums: np.exp(sums[_AT["loss"]] / sums[0]),
    "recall_at_1": _share("hits_1", "tokens"),
    "recall_at_5": _share("hits_5", "tokens"),
    "recall_at_10": _share("hits_10", "tokens"),
    "mean_reciprocal_rank": _share("reciprocal_ranks", "tokens"),
    "strict_recall_at_1": _share("shown_as_mask_hits", "shown_as_mask"),
    "whole_word_recall": _share("words_right", "words"),
    "bits_per_character": lambda sums: sums[_AT["spelled_loss"]] / sums[_AT["characters"]] / _LN2,
    "calibration_error": _calibration_error,
}
"""name → from sums (COUNT,) or (COUNT, replicates) to a value or (replicates,) values; NaN where nothing was added."""


def calibration_curve(total: NDArray[np.float64]) -> list[dict[str, float]]:
    """Of sums (COUNT,), each bin that has tokens: `from`, `to`, `tokens`, mean `probability`, `recall`."""
    tokens, probability, hits = np.split(total[len(PLAIN) :], 3)
    return [
        {
            "from": place / BINS,
            "to": (place + 1) / BINS,
            "tokens": int(tokens[place]),
            "probability": float(probability[place] / tokens[place]),
            "recall": float(hits[place] / tokens[place]),
        }
        for place in range(BINS)
        if tokens[place]
    ]
