"""Pseudo-log-likelihood: how likely a text is to a masked language model, each token hidden in turn.

Scored left to right within a word (Kauf and Ivanova 2023, "A Better Way to Do Masked Language Model Scoring"): while a
token is scored, those of its word that follow it are hidden too, so that the pieces of a rare word do not give each
other away, as in the original metric (Salazar et al. 2020), which hides the one token alone.

A text of n tokens is n windows of n tokens. They are packed like passages: no padding, and the last layer and the
head compute the one hidden token of each window alone.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from biolm.model.device import resolve_row_tokens
from biolm.model.families import token_limit
from biolm.model.masked_lm import AskedRow, score_row
from biolm.model.memory import keep_large_blocks
from biolm.tokens.tokenizer import Aligned, Tokenizer, Vocabulary

Metric = Literal["within-word-l2r", "original"]
METRICS: tuple[str, ...] = get_args(Metric)
_TEXTS = 64
"""Texts that are tokenized at a time."""


@dataclass(frozen=True, slots=True)
class ScoredWord:
    """One word, as the tokenizer divides text into words."""

    text: str
    start: int
    end: int
    """Its characters: text[start:end]."""
    log_probability: float
    """Sum over its tokens, in nats."""
    tokens: int


@dataclass(frozen=True, slots=True)
class ScoredText:
    """One text and the log-probability of each of its tokens."""

    text: str
    tokens: Aligned
    log_probabilities: NDArray[np.float64]
    """(tokens,) in nats."""
    windows: int
    """More than 1 where the text is longer than the model's limit: each part was then scored alone."""

    @property
    def pseudo_log_likelihood(self) -> float:
        """Sum over all tokens, in nats; 0 for a text without tokens."""
        return float(self.log_probabilities.sum())

    def words(self) -> list[ScoredWord]:
        """The text's words in order."""
        _, first = np.unique(self.tokens.words, return_index=True)
        ends = np.append(first, len(self.tokens.words))[1:]
        found = []
        for begin, end in zip(first, ends, strict=True):
            start, stop = int(self.tokens.spans[begin, 0]), int(self.tokens.spans[end - 1, 1])
            raw = self.text[start:stop]
            start += len(raw) - len(raw.lstrip())  # byte-level tokens hold the space before them
            total = float(self.log_probabilities[begin:end].sum())
            found.append(ScoredWord(self.text[start:stop], start, stop, total, int(end - begin)))
        return found


def pseudo_log_likelihoods(
    model: Any,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    metric: Metric = "within-word-l2r",
    max_row_tokens: int | None = None,
) -> Iterator[ScoredText]:
    """Score texts one after the other, in memory that does not grow with them.

    `model`: from `load_model`. `max_row_tokens`: computed at once; changes speed and memory, not the scores.
    """
    keep_large_blocks()
    model.eval()
    limit = token_limit(model.config) - tokenizer.vocabulary.around
    waiting: deque[_Pending] = deque()
    row = _Row(tokenizer.vocabulary, resolve_row_tokens(max_row_tokens, model.device))
    for text, aligned in _aligned(tokenizer, texts):
        pending = _Pending(text, aligned)
        waiting.append(pending)
        for part in window_parts(aligned.words, limit):
            pending.windows += 1
            ids, words = aligned.ids[part], aligned.words[part]
            for place in range(len(ids)):
                if not row.takes(len(ids)):
                    row.score(model)
                    while waiting and waiting[0].done:
                        yield waiting.popleft().scored()
                hidden = slice(place, place + 1)
                if metric == "within-word-l2r":
                    hidden = slice(place, int(np.searchsorted(words, words[place], side="right")))
                row.add(ids, hidden, pending, part.start + place)
    row.score(model)
    for pending in waiting:
        yield pending.scored()


def window_parts(words: NDArray[np.int64], limit: int) -> list[slice]:
    """Divide tokens whose words are `words` (tokens,) into parts of at most `limit`, between words where possible."""
    parts, first = [], 0
    while len(words) - first > limit:
        end = first + limit
        begin = int(np.searchsorted(words, words[end], side="left"))  # of the word that the limit would cut
        end = begin if begin > first else end
        parts.append(slice(first, end))
        first = end
    if first < len(words):
        parts.append(slice(first, len(words)))
    return parts


def _aligned(tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[tuple[str, Aligned]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _TEXTS:
            yield from zip(batch, tokenizer.encode_aligned(batch), strict=True)
            batch = []
    yield from zip(batch, tokenizer.encode_aligned(batch), strict=True)


class _Pending:
    """A text whose windows are under way."""

    def __init__(self, text: str, aligned: Aligned) -> None:
        self._text, self._aligned = text, aligned
        self._log_probabilities = np.zeros(len(aligned.ids))
        self._missing = len(aligned.ids)
        self.windows = 0

    @property
    def done(self) -> bool:
        return not self._missing

    def set(self, place: int, log_probability: float) -> None:
        self._log_probabilities[place] = log_probability
        self._missing -= 1

    def scored(self) -> ScoredText:
        return ScoredText(self._text, self._aligned, self._log_probabilities, self.windows)


class _Row:
    """Windows of one packed row, and where their scores go."""

    def __init__(self, vocabulary: Vocabulary, max_tokens: int) -> None:
        self._vocabulary, self._max_tokens = vocabulary, max_tokens
        self._clear()

    def _clear(self) -> None:
        self._windows: list[NDArray[np.int64]] = []
        self._positions: list[int] = []
        self._labels: list[int] = []
        self._owners: list[tuple[_Pending, int]] = []
        self._tokens = 0

    def takes(self, content: int) -> bool:
        """Whether a window of so many tokens fits; an empty row takes any."""
        return not self._windows or self._tokens + content + self._vocabulary.around <= self._max_tokens

    def add(self, ids: NDArray[np.int64], hidden: slice, owner: _Pending, place: int) -> None:
        """A window in which `hidden` is masked and its first token is asked for."""
        vocabulary = self._vocabulary
        window = np.concatenate([vocabulary.prefix, ids, vocabulary.suffix]).astype(np.int64)
        first = len(vocabulary.prefix) + hidden.start
        window[first : first + hidden.stop - hidden.start] = vocabulary.mask_id
        self._windows.append(window)
        self._positions.append(self._tokens + first)
        self._labels.append(int(ids[hidden.start]))
        self._owners.append((owner, place))
        self._tokens += len(window)

    def score(self, model: Any) -> None:
        """Compute what is there, and be empty."""
        if not self._windows:
            return
        labels = np.array(self._labels, np.int64)
        row = AskedRow(
            np.concatenate(self._windows),
            np.array([len(window) for window in self._windows], np.int64),
            np.array(self._positions, np.int64),
        )
        losses = score_row(model, row, labels).loss
        for (owner, place), loss in zip(self._owners, losses.tolist(), strict=True):
            owner.set(place, -loss)
        self._clear()
