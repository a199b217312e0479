"""Masked-token evaluation: loss, perplexity, recall@1 and @5, by section, at fixed masks.

Streaming: one packed row at a time, logits at masked positions only, running sums. Neither the size of a row
nor of the set changes the figures beyond rounding.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.batches.examples import Examples, cut_examples
from biolm.batches.packing import PackedRow
from biolm.batches.steps import evaluation_rows
from biolm.errors import InputError
from biolm.evaluation.quantities import calibration_curve, quantities
from biolm.evaluation.strata import (
    MaskedTokens,
    PiecesPerWord,
    Section,
    Stratum,
    WordFrequency,
    WordKeys,
)
from biolm.evaluation.tally import ByDocument, Group, Sums
from biolm.evaluation.unigram import Unigram
from biolm.model.device import resolve_row_tokens
from biolm.model.families import token_limit
from biolm.model.masked_lm import Scores, score_row
from biolm.model.memory import keep_large_blocks
from biolm.progress import Progress
from biolm.tokens.store import TokenSplit, TokenStore
from biolm.tokens.words import WordTable

logger = logging.getLogger(__name__)


def passages_within(models: Mapping[str, Any], store: TokenStore, split: str, limit: int | None) -> int:
    """How many passages of a split, from the first on, an evaluation of so many windows looks at."""
    data = store.split(split)
    if limit is None:
        return len(data)
    examples = _windows(models, store, data)
    return int(examples.passages[min(limit, len(examples)) - 1]) + 1 if len(examples) else 0


def _windows(models: Mapping[str, Any], store: TokenStore, data: TokenSplit) -> Examples:
    longest = min([token_limit(model.config) for model in models.values()] or [512])
    return cut_examples(data, store.vocabulary, max_tokens=longest)


class PositionSink(Protocol):
    """Receives every masked position of the first model: `biolm.evaluation.predictions` writes them to a file."""

    def write(
        self, row: PackedRow, passages: NDArray[np.int64], starts: NDArray[np.int64], scores: Scores
    ) -> None:
        """The scores of a row; passages and starts: (windows,)."""


@dataclass(slots=True)
class Measured:
    """What one model did on one split."""

    overall: Group
    strata: dict[str, dict[str, Group]]
    """Stratum ("section", ...) → label → those of its tokens, where there are any."""

    @property
    def sections(self) -> dict[str, Group]:
        """By section."""
        return self.strata["section"]

    def as_json(self) -> dict[str, Any]:
        """`overall`, `sections` and `strata` (the others): groups; overall also its `calibration`."""
        found = {
            name: {label: group.as_json() for label, group in groups.items()}
            for name, groups in self.strata.items()
        }
        curve = calibration_curve(self.overall.sums.total)
        return {
            "overall": {**self.overall.as_json(), "calibration": curve},
            "sections": found.pop("section"),
            "strata": found,
        }


def evaluate(
    models: Mapping[str, Any],
    store: TokenStore,
    split: str,
    progress: Progress,
    *,
    max_row_tokens: int | None = None,
    limit: int | None = None,
    predictions: Sequence[PositionSink] = (),
    words: WordTable | None = None,
    by: Sequence[Stratum] = (),
) -> dict[str, Measured]:
    """Measure models, and the unigram baseline as "unigram", in one pass over the same masks.

    `models`: name → model from `load_model`, all of the store's vocabulary. `limit`: the first so many
    windows. `predictions` receive the positions of the first model. `words`: of the tokenizer, for the metrics of
    whole words and characters and the strata by words, which are absent without. `by`: further strata. Passages
    longer than the shortest limit of the models are measured in windows. Raises ArtifactError for an absent split.
    """
    keep_large_blocks()
    data = store.split(split)
    examples = _windows(models, store, data)
    count = len(examples) if limit is None else min(limit, len(examples))
    unigram = Unigram(store.unigram_counts())
    keys = None if words is None else WordKeys(words)
    strata: list[Stratum] = [Section(data)]
    if keys is not None:
        strata.append(PiecesPerWord())
        if "train" in store.splits:
            strata.append(WordFrequency(keys, data, store.split("train")))
    strata += by
    tallies = {name: _Tally(data.document_count, strata) for name in (*models, "unigram")}
    spelled = None if words is None else words.characters()
    for model in models.values():
        model.eval()
    progress.start("evaluate", count, "windows")
    done = 0
    budgets = [resolve_row_tokens(max_row_tokens, model.device) for model in models.values()]
    for row in evaluation_rows(examples, max_row_tokens=min(budgets, default=4096), limit=limit):
        passages = examples.passages[row.examples]
        of_row = None if keys is None else keys.of_row(row, examples)
        of_tokens = {
            "shown_as_mask": row.input_ids[row.masked_positions] == store.vocabulary.mask_id,
            "words": None if of_row is None else of_row.number,
            "characters": None if spelled is None else spelled[row.labels],
        }
        masked = MaskedTokens.of(row, examples, data, of_row)
        by_document = ByDocument.of(data.documents[masked.passage])
        codes = [stratum.codes(masked) for stratum in strata]
        for number, (name, model) in enumerate(models.items()):
            scores = score_row(model, row, row.labels)
            tallies[name].add(quantities(scores, **of_tokens), by_document, codes)
            for sink in predictions if number == 0 else ():
                sink.write(row, passages, examples.starts[row.examples], scores)
        tallies["unigram"].add(quantities(unigram.score(row.labels), **of_tokens), by_document, codes)
        done += len(row.lengths)
        progress.update(done)
    measured = {name: tally.measured() for name, tally in tallies.items()}
    if not measured["unigram"].overall.sums.total[0]:
        raise InputError(f"the {split} split of {store.folder} gives no masked token; build a larger corpus")
    first = measured[next(iter(measured))].overall.sums.metrics()
    progress.finish(
        f"{int(measured['unigram'].overall.sums.total[0]):,} masked tokens, recall@1 {first['recall_at_1']:.3f}"
    )
    return measured


class _Tally:
    """Adds rows up for one model, over all and by stratum; bits of each document say with which labels it was met."""

    def __init__(self, documents: int, strata: Sequence[Stratum]) -> None:
        self._overall = Sums()
        self._strata = {stratum.name: [(label, Sums()) for label in stratum.labels] for stratum in strata}
        self._met = {name: np.zeros(documents, np.uint64) for name in self._strata}

    def add(self, values: NDArray[np.float64], by: ByDocument, codes_of: Sequence[NDArray[np.int64]]) -> None:
        """values: (masked, COUNT); codes_of: for each stratum (masked,)."""
        self._overall.add(by.of_document @ values, by.weights)
        for (name, groups), codes in zip(self._strata.items(), codes_of, strict=True):
            for code in np.unique(codes):
                chosen = by.of_document * (codes == code)
                groups[code][1].add(chosen @ values, by.weights)
                self._met[name][by.documents[chosen.any(1)]] |= np.uint64(1 << int(code))

    def measured(self) -> Measured:
        def met(name: str, code: int) -> int:
            return int(np.count_nonzero(self._met[name] & np.uint64(1 << code)))

        strata = {
            name: {
                label: Group(sums, met(name, code))
                for code, (label, sums) in enumerate(groups)
                if sums.total[0] > 0
            }
            for name, groups in self._strata.items()
        }
        return Measured(Group(self._overall, int(np.count_nonzero(self._met["section"]))), strata)
