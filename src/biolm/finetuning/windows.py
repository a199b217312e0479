"""Annotated documents to labelled windows in packed rows; each gold label in exactly one of them."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.batches.packing import PackedRow, empty_row
from biolm.batches.steps import Steps
from biolm.tagging.labels import LabelSet
from biolm.tagging.reading import cut_texts
from biolm.tagging.settings import TaggerSettings
from biolm.tagging.tasks import Example
from biolm.tokens.tokenizer import Tokenizer

_AT_ONCE = 1024
_LEAST = 32
"""Tokens of a window at use: names alone are no texts."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Windows of documents, end to end, with the labels that each answers for."""

    ids: NDArray[np.int32]
    """(tokens of all,), special tokens included."""
    offsets: NDArray[np.int64]
    """(windows + 1,): window i has tokens ids[offsets[i]:offsets[i + 1]]."""
    places: NDArray[np.int32]
    """(units of all,): where in its window the token stands that speaks for each."""
    labels: NDArray[np.int32]
    """(units of all,)."""
    bounds: NDArray[np.int64]
    """(windows + 1,): window i answers for units bounds[i] to bounds[i + 1] − 1."""
    special_ids: tuple[int, ...]
    mentions: int = 0
    """That the documents have of the labels' types."""
    lost: Counter[str] = field(default_factory=Counter)
    """Mentions that labels cannot say exactly, by reason (see `LabelSet.encode`)."""

    def __len__(self) -> int:
        """How many windows there are."""
        return len(self.offsets) - 1

    def lengths(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) tokens of each window, special tokens included."""
        return self.offsets[index + 1] - self.offsets[index]

    def measure(self) -> tuple[int, int]:
        """(total, longest): tokens of all windows and of the longest, special tokens included."""
        return len(self.ids), int(np.diff(self.offsets).max(initial=0))

    def row(self, index: NDArray[np.int64]) -> PackedRow:
        """Windows `index` (n,) end to end: what is asked are labels, not masked tokens."""
        lengths = self.lengths(index)
        starts = np.cumsum(lengths) - lengths
        own = [slice(self.bounds[i], self.bounds[i + 1]) for i in index]
        places = [self.places[part] + start for part, start in zip(own, starts, strict=True)]
        return PackedRow(
            input_ids=np.concatenate([self.ids[self.offsets[i] : self.offsets[i + 1]] for i in index]).astype(
                np.int64
            ),
            lengths=lengths,
            masked_positions=np.concatenate(places).astype(np.int64),
            labels=np.concatenate([self.labels[part] for part in own]).astype(np.int64),
            masked_per_window=self.bounds[index + 1] - self.bounds[index],
            examples=index,
        )

    def label_counts(self, count: int) -> NDArray[np.int64]:
        """(count,) how often each label occurs."""
        return np.bincount(self.labels, minlength=count)


class LabelledSteps(Steps):
    """The steps of a fine-tuning. Pickled for a process that prepares them, it is its windows and settings."""

    def __init__(self, windows: Labelled, *, rank: int = 0, ranks: int = 1, **settings: Any) -> None:
        """`settings`: those of `Steps`."""
        super().__init__(windows, **settings)
        self._labelled = windows
        self._rank, self._ranks = rank, ranks

    def __call__(self, step: int) -> list[PackedRow]:
        """This rank's rows of step `step`."""
        return self.rows(step, rank=self._rank, ranks=self._ranks)

    def pack(self, index: NDArray[np.int64], step: int) -> list[PackedRow]:
        """Windows `index` (n,) as rows, the same in every epoch."""
        groups = self.groups(self._labelled.lengths(index))
        return [self._labelled.row(index[group]) for group in groups]

    def filler(self) -> PackedRow:
        """A row of special tokens alone."""
        return empty_row(self._labelled.special_ids)


def label_windows(
    examples: Sequence[Example],
    labels: LabelSet,
    tokenizer: Tokenizer,
    *,
    content_tokens: int,
    overlap: int,
) -> Labelled:
    """Documents cut as a tagger cuts them at use, labelled with their mentions; those without units give none."""
    vocabulary = tokenizer.vocabulary
    ids: list[NDArray[np.int64]] = []
    places: list[NDArray[np.int64]] = []
    found: list[NDArray[np.int64]] = []
    mentions, lost = 0, Counter[str]()
    for first in range(0, len(examples), _AT_ONCE):
        block = examples[first : first + _AT_ONCE]
        cuts = cut_texts(
            tokenizer,
            [example.document.text for example in block],
            content_tokens=content_tokens,
            overlap=overlap,
            hidden=[example.entities for example in block],
        )
        for example, cut in zip(block, cuts, strict=True):
            encoded, missed = labels.encode(cut.units, example.document.mentions)
            mentions += sum(mention.type in labels.types for mention in example.document.mentions)
            lost += missed
            for window in cut.windows:
                ids.append(cut.window_ids(window, vocabulary))
                places.append(cut.asked(window, vocabulary))
                found.append(encoded[window.first_unit : window.end_unit])
    return Labelled(
        ids=_joined(ids),
        offsets=_offsets(ids),
        places=_joined(places),
        labels=_joined(found),
        bounds=_offsets(places),
        special_ids=(*vocabulary.prefix, *vocabulary.suffix),
        mentions=mentions,
        lost=lost,
    )


def settings_at_use(settings: TaggerSettings, windows: Labelled) -> TaggerSettings:
    """The settings of training with windows for use that are no longer than 99 % of training's.

    So a tagger of sentences reads abstracts in pieces like sentences: MiniLM trained on NCBI-disease's has, over three
    seeds, a test F1 of 74.1 in windows of whole abstracts, 81.7 in windows of 85 tokens, 82.6 on the sentences.
    """
    longest = settings.max_tokens
    assert longest is not None
    usual = int(np.quantile(np.diff(windows.offsets), 0.99, method="higher"))
    window = min(longest, max(_LEAST, usual))
    return dataclasses.replace(settings, max_tokens=window, overlap=settings.overlap * window // longest)


def _joined(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int32]:
    return np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int32)


def _offsets(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(part) for part in parts], dtype=np.int64)]).astype(np.int64)
