"""Passages as examples that fit the model: a passage over its limit becomes several windows.

Nothing is cut off silently: `split` keeps every token, `truncate` is chosen and counted.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from biolm.tokens.store import TokenSplit
from biolm.tokens.tokenizer import Vocabulary

LongPassages = Literal["split", "truncate"]
BLOCK = 1 << 20
"""Windows that are measured at a time: 12 million of them never need many arrays of 100 MB at once."""


@dataclass(frozen=True, slots=True)
class Examples:
    """The windows of one split, in the order of its passages."""

    split: TokenSplit
    vocabulary: Vocabulary
    passages: NDArray[np.int64]
    """(examples,): the passage that each window is of."""
    starts: NDArray[np.int64]
    """(examples,): the window's first token, counted from the passage's."""
    content_tokens: int
    """A window holds at most so many tokens, special tokens not counted."""
    truncated_tokens: int
    """Tokens that no window holds (0 under `split`)."""

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.passages)

    def lengths(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) tokens of each window, special tokens included."""
        passages = self.passages[index]
        whole = self.split.offsets[passages + 1] - self.split.offsets[passages]
        return np.minimum(whole - self.starts[index], self.content_tokens) + self.vocabulary.around

    def measure(self) -> tuple[int, int]:
        """(total, longest): tokens of all windows and of the longest, special tokens included."""
        total, longest = 0, 0
        for first in range(0, len(self), BLOCK):
            lengths = self.lengths(np.arange(first, min(first + BLOCK, len(self)), dtype=np.int64))
            total, longest = total + int(lengths.sum()), max(longest, int(lengths.max()))
        return total, longest

    def content(self, index: int) -> NDArray[np.int64]:
        """(n,) ids of one window, without special tokens."""
        passage = self.passages[index]
        first = self.split.offsets[passage] + self.starts[index]
        last = min(first + self.content_tokens, self.split.offsets[passage + 1])
        return np.asarray(self.split.ids[first:last], np.int64)


def cut_examples(
    split: TokenSplit, vocabulary: Vocabulary, *, max_tokens: int, long_passages: LongPassages = "split"
) -> Examples:
    """Windows of at most `max_tokens` tokens (special ones included). A passage without tokens gives none."""
    content = max_tokens - vocabulary.around
    if content < 1:
        raise ValueError(f"max_tokens {max_tokens} leaves no room for text")
    lengths = np.diff(split.offsets)
    windows = -(-lengths // content)
    truncated = 0
    if long_passages == "truncate":
        truncated = int(np.maximum(lengths - content, 0).sum())
        windows = np.minimum(windows, 1)
    passages = np.repeat(np.arange(len(split), dtype=np.int64), windows)
    first_window = np.cumsum(windows) - windows
    starts = (np.arange(len(passages), dtype=np.int64) - np.repeat(first_window, windows)) * content
    return Examples(split, vocabulary, passages, starts, content, truncated)
