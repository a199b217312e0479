"""Example passages for a report: what was hidden, and what the model said, right or wrong."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.batches.packing import PackedRow
from biolm.model.masked_lm import Scores
from biolm.tokens.store import SECTIONS, TokenSplit
from biolm.tokens.tokenizer import Tokenizer
from biolm.tokens.words import WordTable

LONGEST = 160
"""Tokens of a passage that are shown."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text as it stands, or a hidden token."""

    text: str
    """Of the original, with the space before it."""
    predicted: str | None = None
    """What the model thinks likeliest; None where nothing was hidden."""
    right: bool = False
    probability: float = 0.0


@dataclass(frozen=True, slots=True)
class ExamplePassage:
    """One passage."""

    section: str
    pieces: list[Piece]
    hits: int
    masked: int


class Examples:
    """Keeps the first passages of each section: a `PositionSink` of `biolm.evaluation.masked.evaluate`."""

    def __init__(self, data: TokenSplit, tokenizer: Tokenizer, words: WordTable, each: int = 3) -> None:
        """`each`: passages of a section."""
        self._data, self._tokenizer, self._words, self._each = data, tokenizer, words, each
        self._kept: dict[str, dict[int, ExamplePassage]] = {}

    @property
    def passages(self) -> list[ExamplePassage]:
        """In the order of sections and passages, however rows were packed."""
        return [kept[place] for _, kept in sorted(self._kept.items()) for place in sorted(kept)]

    def write(
        self, row: PackedRow, passages: NDArray[np.int64], starts: NDArray[np.int64], scores: Scores
    ) -> None:
        """Keep a row's passages that are wanted; passages and starts: (windows,)."""
        vocabulary = self._tokenizer.vocabulary
        ends = np.cumsum(row.masked_per_window)
        begins = np.cumsum(row.lengths) - row.lengths + len(vocabulary.prefix)
        for window, passage in enumerate(passages.tolist()):
            section = SECTIONS[self._data.sections[passage]]
            kept = self._kept.setdefault(section, {})
            if starts[window] or not row.masked_per_window[window]:
                continue
            if len(kept) == self._each and passage > max(kept):
                continue
            own = slice(int(ends[window] - row.masked_per_window[window]), int(ends[window]))
            positions = row.masked_positions[own] - begins[window]
            first, last = int(self._data.offsets[passage]), int(self._data.offsets[passage + 1])
            inside = int(row.lengths[window]) - vocabulary.around
            content = np.asarray(self._data.ids[first : first + min(LONGEST, inside)], np.int64)
            said = dict(zip(positions.tolist(), range(own.start, own.stop), strict=True))
            kept[passage] = self._example(section, content, said, scores, len(content) < last - first)
            if len(kept) > self._each:
                del kept[max(kept)]

    def _example(
        self, section: str, content: NDArray[np.int64], said: dict[int, int], scores: Scores, cut: bool
    ) -> ExamplePassage:
        pieces: list[Piece] = []
        plain: list[int] = []

        def close() -> None:
            if plain:
                pieces.append(Piece(self._text(content[plain])))
                plain.clear()

        for place in range(len(content)):
            at = said.get(place)
            if at is None:
                plain.append(place)
                continue
            close()
            predicted = self._text(scores.predicted[at : at + 1]).strip()
            right = bool(scores.rank[at] == 0)
            text = self._text(content[place : place + 1])
            pieces.append(Piece(text, predicted, right, float(scores.confidence[at])))
        close()
        if cut:
            pieces.append(Piece(" …"))
        hidden = [piece for piece in pieces if piece.predicted is not None]
        return ExamplePassage(section, pieces, sum(piece.right for piece in hidden), len(hidden))

    def _text(self, ids: NDArray[np.int64]) -> str:
        """With a space before what a word begins with, as far as ids tell it."""
        text, _ = self._words.spelled(ids)
        return bytes(text).replace(b"\0", b" ").replace(b"\1", b"").decode("utf-8", "replace")
