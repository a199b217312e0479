"""A token-classification model in use: texts of any length to mentions."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from biolm.batches.packing import pack_lengths
from biolm.errors import ModelError
from biolm.mentions import UNIT, Mention
from biolm.model.device import autocast, choose_device, resolve_inference_precision, resolve_row_tokens
from biolm.model.families import token_limit
from biolm.model.masked_lm import AskedRow
from biolm.model.memory import keep_large_blocks
from biolm.model.token_classifier import load_token_classifier, row_scores
from biolm.tagging.labels import LabelSet
from biolm.tagging.paths import Paths
from biolm.tagging.reading import CutText, cut_texts
from biolm.tagging.settings import TaggerSettings, read_settings
from biolm.tagging.tasks import Task, task_of
from biolm.tagging.windows import Window
from biolm.tokens.tokenizer import Tokenizer, resolve_model

_AT_ONCE = 256
"""Texts that are cut and packed together: memory is theirs, whatever the number of texts."""
_ROUND = 128
"""In half precision on a CPU rows are filled up to a multiple of this many tokens: each number has kernels of its own,
and to compile one takes some milliseconds, as long as a small row."""


class Tagger:
    """A model from `load_token_classifier` with its tokenizer."""

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        settings: TaggerSettings | None = None,
        *,
        max_row_tokens: int | None = None,
        precision: str = "fp32",
    ) -> None:
        """`max_row_tokens`: computed at once; changes speed and memory, not the mentions.

        `precision`: fp32, bf16, fp16 or auto (half where the hardware has units for it, which changes a mention in a
        hundred or so). Raises ModelError for a model whose labels are none of a known scheme.
        """
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.settings = settings or TaggerSettings()
        self.labels = LabelSet.of(model.config.id2label, strict=self.settings.scheme == "IOB2")
        self.task: Task = task_of(self.settings.task)
        self.paths = paths_of(model, self.labels)
        self.folder: Path | None = None
        """Where `load` found it."""
        self.precision = resolve_inference_precision(precision, model.device)
        self._row_tokens = resolve_row_tokens(max_row_tokens, model.device)
        keep_large_blocks()

    @classmethod
    def load(
        cls, name: str, *, device: str = "auto", precision: str = "fp32", max_row_tokens: int | None = None
    ) -> Self:
        """`name`: folder or Hub name of a token classifier. Raises ModelError."""
        folder, tokenizer = resolve_model(name)
        model = load_token_classifier(folder).to(choose_device(device))
        try:
            settings = read_settings(Path(folder))
            tagger = cls(model, tokenizer, settings, max_row_tokens=max_row_tokens, precision=precision)
        except ModelError as error:
            raise ModelError(f"{folder}: {error}") from None
        tagger.folder = Path(folder)
        return tagger

    def tag(
        self, texts: Iterable[str], entities: Iterable[Sequence[Mention]] | None = None
    ) -> Iterator[list[Mention]]:
        """The mentions of each text, in order, with scores; texts are taken some hundreds at a time.

        `entities`: for a model of roles, of each text the entities whose roles are asked for; those of the task's
        types are hidden from it, and a mention comes out for each that has a role. A mention's score is the mean
        over its units of the probability of its type.
        """
        texts, others = iter(texts), iter(entities) if entities is not None else None
        while block := list(islice(texts, _AT_ONCE)):
            hidden = None
            if self.task.hidden:
                given = [next(others, ()) for _ in block] if others is not None else [()] * len(block)
                hidden = [[each for each in own if each.type in self.task.hidden] for own in given]
            yield from self.tag_cuts(list(self.cut(block, hidden)), hidden)

    def tag_cuts(
        self, cuts: Sequence[CutText], entities: Sequence[Sequence[Mention]] | None = None
    ) -> Iterator[list[Mention]]:
        """`tag` of texts that are cut already; `entities` are those that were hidden in each."""
        for number, (cut, scores) in enumerate(zip(cuts, self.scores(cuts), strict=True)):
            if self.task.hidden and entities is not None:
                yield self.roles(cut, scores, entities[number])
            else:
                yield self.mentions(cut, scores)

    def cut(
        self, texts: Sequence[str], hidden: Sequence[Sequence[Mention]] | None = None
    ) -> Iterator[CutText]:
        """Texts as this model reads them."""
        limit = token_limit(self.model.config)
        content, overlap = self.settings.content(limit, self.tokenizer.vocabulary.around)
        return cut_texts(self.tokenizer, texts, content_tokens=content, overlap=overlap, hidden=hidden)

    def scores(self, cuts: Sequence[CutText]) -> list[NDArray[np.float64]]:
        """Of each text, unnormalized scores (units, labels): windows in packed rows, no padding."""
        found = [np.zeros((len(cut.units), len(self.labels.names))) for cut in cuts]
        windows = [(number, window) for number, cut in enumerate(cuts) for window in cut.windows]
        lengths = [window.tokens + self.tokenizer.vocabulary.around for _, window in windows]
        for group in pack_lengths(lengths, self._row_tokens):
            self._score_row(cuts, [windows[place] for place in group], found)
        return found

    def mentions(self, cut: CutText, scores: NDArray[np.float64]) -> list[Mention]:
        """The mentions on the best path through (units, labels) scores."""
        spans = self.labels.spans(self.paths.best(scores))
        if not spans:
            return []
        likely = self.paths.probabilities(scores)
        of_type = {
            kind: likely[:, [label.type == kind for label in self.labels.labels]].sum(1)
            for kind in {span[2] for span in spans}
        }
        found = []
        for first, end, kind in spans:
            start, stop = int(cut.units.spans[first, 0]), int(cut.units.spans[end - 1, 1])
            if self.task.starts_only:  # of symbols that share a token the first one
                stop = UNIT.search(cut.text, start, stop).end()
            found.append(Mention(start, stop, kind, min(1.0, float(of_type[kind][first:end].mean()))))
        return found

    def roles(self, cut: CutText, scores: NDArray[np.float64], entities: Sequence[Mention]) -> list[Mention]:
        """For each entity that has one, its role: the likeliest over its units together, "none" being one of them."""
        found: list[Mention] = []
        log_likely = np.log(self.paths.probabilities(scores) + 1e-30)
        for entity in entities:
            first, end = cut.units.overlapping(entity.start, entity.end)
            if first == end:
                continue
            own = log_likely[first:end]
            sums: dict[str | None, float] = {None: own[:, self.labels.outside].mean()}
            for kind in self.labels.types:
                columns = [number for number, label in enumerate(self.labels.labels) if label.type == kind]
                sums[kind] = np.logaddexp.reduce(own[:, columns], axis=1).mean()
            best = max(sums, key=lambda kind: sums[kind])
            if best is not None:
                share = np.exp(sums[best]) / np.exp(list(sums.values())).sum()
                found.append(Mention(entity.start, entity.end, best, float(share)))
        return found

    def _score_row(
        self, cuts: Sequence[CutText], row: Sequence[tuple[int, Window]], found: Sequence[NDArray[np.float64]]
    ) -> None:
        vocabulary = self.tokenizer.vocabulary
        ids, asked, lengths, at = [], [], [], 0
        for number, window in row:
            ids.append(cuts[number].window_ids(window, vocabulary))
            asked.append(cuts[number].asked(window, vocabulary) + at)
            lengths.append(len(ids[-1]))
            at += lengths[-1]
        if self.model.device.type == "cpu" and self.precision != "fp32":
            # A passage of its own, which nobody asks.
            filler = min(-at % _ROUND, token_limit(self.model.config))
            ids.append(np.full(filler, vocabulary.mask_id))
            lengths.append(filler)
        plain = AskedRow(np.concatenate(ids), np.array(lengths, np.int64), np.concatenate(asked))
        with autocast(self.model.device, self.precision):
            scores = row_scores(self.model, plain).double().numpy()
        if not np.isfinite(scores).all():
            raise ModelError(
                "the model gives scores that are not finite: its weights are damaged, or diverged"
            )
        done = 0
        for number, window in row:
            count = window.end_unit - window.first_unit
            found[number][window.first_unit : window.end_unit] = scores[done : done + count]
            done += count


def paths_of(model: Any, labels: LabelSet) -> Paths:
    """The rules of a model's labels, and what its CRF, where it has one, has learnt of them."""
    crf = getattr(model, "crf", None)
    if crf is None:
        return Paths(labels)
    with torch.no_grad():
        return Paths(labels, transitions=crf.transitions.double().cpu().numpy())
