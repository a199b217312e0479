"""Masked-token evaluation: loss, perplexity, recall@1 and @5, by section, at fixed masks.

Streaming: one packed row at a time, logits at masked positions only, running sums. Neither the size of a row
nor of the set changes the figures beyond rounding.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.batches.examples import cut_examples
from biolm.batches.packing import PackedRow
from biolm.batches.steps import evaluation_rows
from biolm.errors import InputError
from biolm.evaluation.tally import Sums, document_weights, estimates
from biolm.evaluation.unigram import Unigram
from biolm.model.families import token_limit
from biolm.model.masked_lm import Scores, score_row
from biolm.progress import Progress
from biolm.tokens.store import SECTIONS, TokenSplit, TokenStore

logger = logging.getLogger(__name__)
BOOTSTRAP_SEED = 0


class PositionSink(Protocol):
    """Receives every masked position of the first model (`biolm.evaluation.predictions`)."""

    def write(
        self, row: PackedRow, passages: NDArray[np.int64], starts: NDArray[np.int64], scores: Scores
    ) -> None:
        """The scores of a row; passages and starts: (windows,)."""


@dataclass(slots=True)
class Measured:
    """What one model did on one split."""

    overall: Sums
    sections: dict[str, Sums]
    documents: dict[str, int]
    """Papers with a masked token: "overall" and by section."""

    def as_json(self) -> dict[str, Any]:
        """`overall` and `sections`, each with its metrics, `masked_tokens` and `documents`."""

        def group(name: str, sums: Sums) -> dict[str, Any]:
            return {
                **estimates(sums),
                "masked_tokens": int(sums.total[0]),
                "documents": self.documents[name],
            }

        return {
            "overall": group("overall", self.overall),
            "sections": {name: group(name, sums) for name, sums in self.sections.items()},
        }


def evaluate(
    models: Mapping[str, Any],
    store: TokenStore,
    split: str,
    progress: Progress,
    *,
    max_row_tokens: int = 4096,
    limit: int | None = None,
    predictions: PositionSink | None = None,
) -> dict[str, Measured]:
    """Measure models, and the unigram baseline as "unigram", in one pass over the same masks.

    `models`: name → model from `load_model`, all of the store's vocabulary. `limit`: the first so many
    windows. `predictions` receives the positions of the first model. Passages longer than the shortest
    limit of the models are measured in windows. Raises ArtifactError for an absent split.
    """
    data = store.split(split)
    longest = min([token_limit(model.config) for model in models.values()] or [512])
    examples = cut_examples(data, store.vocabulary, max_tokens=longest)
    count = len(examples) if limit is None else min(limit, len(examples))
    unigram = Unigram(store.unigram_counts())
    tallies = {name: _Tally(data) for name in (*models, "unigram")}
    for model in models.values():
        model.eval()
    progress.start("evaluate", count, "windows")
    done = 0
    for row in evaluation_rows(examples, max_row_tokens=max_row_tokens, limit=limit):
        passages = examples.passages[row.examples]
        weights = {
            int(document): document_weights(int(document), seed=BOOTSTRAP_SEED)
            for document in np.unique(data.documents[passages])
        }
        for place, (name, model) in enumerate(models.items()):
            scores = score_row(model, row, row.labels)
            tallies[name].add(row, passages, scores, weights)
            if predictions is not None and place == 0:
                predictions.write(row, passages, examples.starts[row.examples], scores)
        tallies["unigram"].add(row, passages, unigram.score(row.labels), weights)
        done += len(row.lengths)
        progress.update(done)
    measured = {name: tally.measured() for name, tally in tallies.items()}
    if not measured["unigram"].overall.total[0]:
        raise InputError(f"the {split} split of {store.folder} gives no masked token; build a larger corpus")
    first = measured[next(iter(measured))].overall.metrics()
    progress.finish(
        f"{int(measured['unigram'].overall.total[0]):,} masked tokens, recall@1 {first['recall_at_1']:.3f}"
    )
    return measured


class _Tally:
    """Adds rows up, by section; a byte for each document says in which sections it was met."""

    def __init__(self, data: TokenSplit) -> None:
        self._data = data
        self._overall = Sums()
        self._sections = [Sums() for _ in SECTIONS]
        self._met = np.zeros(data.document_count, np.uint8)

    def add(
        self,
        row: PackedRow,
        passages: NDArray[np.int64],
        scores: Scores,
        weights: Mapping[int, NDArray[np.int64]],
    ) -> None:
        ends = np.cumsum(row.masked_per_window)
        for window, passage in enumerate(passages):
            first, last = ends[window] - row.masked_per_window[window], ends[window]
            if first == last:
                continue
            document, section = int(self._data.documents[passage]), int(self._data.sections[passage])
            loss, rank = scores.loss[first:last], scores.rank[first:last]
            for sums in (self._overall, self._sections[section]):
                sums.add(loss, rank, weights[document])
            self._met[document] |= 1 << section

    def measured(self) -> Measured:
        sections = {
            name: sums for name, sums in zip(SECTIONS, self._sections, strict=True) if sums.total[0] > 0
        }
        documents = {
            name: int(np.count_nonzero(self._met & (1 << SECTIONS.index(name)))) for name in sections
        }
        return Measured(self._overall, sections, {"overall": int(np.count_nonzero(self._met)), **documents})
