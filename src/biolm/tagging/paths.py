"""The best sequence of labels under the rules of their scheme: no mention without a beginning.

A model's likeliest labels one by one may say "O I-X" or "B-X I-Y"; here they never do, so what is scored, shown and
written are the same mentions.
"""

import numpy as np
from numpy.typing import NDArray

from biolm.tagging.labels import LabelSet

_NEVER = -1e9


class Paths:
    """How labels may follow each other, with what a conditional random field has learnt of it."""

    def __init__(
        self,
        labels: LabelSet,
        *,
        transitions: NDArray[np.float64] | None = None,
    ) -> None:
        """`transitions` (labels, labels): scores of a CRF; none are 0."""
        self._labels = labels
        self.learnt = transitions is not None
        """Whether a CRF speaks too, so that the best labels one by one are not the best path."""
        self._transitions = np.where(labels.allowed, 0.0 if transitions is None else transitions, _NEVER)
        self._starts = np.where(labels.may_start, 0.0, _NEVER)

    def best(self, scores: NDArray[np.float64]) -> NDArray[np.int64]:
        """(units,) the labels of the highest sum of scores (units, labels). Of equal paths, the lower labels."""
        if not len(scores):
            return np.empty(0, np.int64)
        if not self.learnt:
            plain = scores.argmax(1)
            if self._labels.may_start[plain[0]] and self._labels.allowed[plain[:-1], plain[1:]].all():
                return plain
        back = np.empty(scores.shape, np.int64)
        total = self._starts + scores[0]
        for place in range(1, len(scores)):
            through = total[:, None] + self._transitions
            back[place] = through.argmax(0)
            total = through[back[place], np.arange(len(total))] + scores[place]
        path = np.empty(len(scores), np.int64)
        path[-1] = int(total.argmax())
        for place in range(len(scores) - 1, 0, -1):
            path[place - 1] = back[place, path[place]]
        return path

    def probabilities(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """(units, labels) how likely each label is: by the unit's own scores, or under a CRF over all paths."""
        if not self.learnt or not len(scores):
            return _softmax(scores)
        forward, backward = np.empty_like(scores), np.empty_like(scores)
        forward[0] = self._starts + scores[0]
        for place in range(1, len(scores)):
            forward[place] = scores[place] + _logsumexp(forward[place - 1][:, None] + self._transitions, 0)
        backward[-1] = 0.0
        for place in range(len(scores) - 2, -1, -1):
            backward[place] = _logsumexp(
                self._transitions + (scores[place + 1] + backward[place + 1])[None], 1
            )
        return _softmax(forward + backward)


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(scores - scores.max(1, keepdims=True)) if len(scores) else scores
    return raised / raised.sum(1, keepdims=True)


def _logsumexp(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    most = values.max(axis, keepdims=True)
    found: NDArray[np.float64] = np.log(np.exp(values - most).sum(axis)) + most.squeeze(axis)
    return found
