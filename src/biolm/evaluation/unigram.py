"""The baseline that knows only how frequent each token is."""

import numpy as np
from numpy.typing import NDArray

from biolm.model.masked_lm import Scores


class Unigram:
    """Predicts the training split's token frequencies (add-one) at every masked position."""

    def __init__(self, counts: NDArray[np.int64]) -> None:
        smoothed = counts.astype(np.float64) + 1
        self._loss = -np.log(smoothed / smoothed.sum())
        self._rank = np.empty(len(counts), np.int64)
        by_frequency = np.argsort(-counts, kind="stable")
        self._rank[by_frequency] = np.arange(len(counts))
        self._likeliest = int(by_frequency[0])
        self._confidence = float(smoothed.max() / smoothed.sum())

    def score(self, labels: NDArray[np.int64]) -> Scores:
        """Scores at masked positions whose original ids are `labels` (masked,)."""
        return Scores(
            loss=self._loss[labels],
            rank=self._rank[labels],
            predicted=np.full(len(labels), self._likeliest, np.int64),
            confidence=np.full(len(labels), self._confidence),
        )
