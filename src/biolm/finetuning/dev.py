"""How good a tagger is between epochs: F1 of mentions on the dev documents, by the code that tags at use."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from biolm.mentions import Mention
from biolm.tagging.pairs import Key, key_of
from biolm.tagging.reading import CutText
from biolm.tagging.settings import TaggerSettings
from biolm.tagging.tagger import Tagger, paths_of
from biolm.tagging.tasks import Example
from biolm.tokens.tokenizer import Tokenizer
from biolm.training.judge import Measured
from biolm.training.step import Trainer

_AT_ONCE = 256


class DevDocuments:
    """This rank's share of the dev documents, cut once."""

    at_start = False

    def __init__(
        self,
        trainer: Trainer,
        tokenizer: Tokenizer,
        settings: TaggerSettings,
        examples: Sequence[Example],
        *,
        patience: int | None,
    ) -> None:
        """`patience`: after so many measurements without a better F1 it is enough; None for never."""
        ranks = trainer.ranks
        self._trainer = trainer
        self._any = bool(examples)
        self._tagger = Tagger(
            trainer.model,
            tokenizer,
            settings,
            max_row_tokens=trainer.config.max_row_tokens,
            precision=trainer.precision,
        )
        trainer.model.train()
        self._examples = examples[ranks.rank :: ranks.count]
        self._hidden = [list(example.entities) for example in self._examples]
        self._cuts: list[CutText] = list(
            self._tagger.cut([example.document.text for example in self._examples], self._hidden)
        )
        self._patience = patience
        self._best, self._since = -1.0, 0

    @property
    def enough(self) -> bool:
        """Whether F1 has not risen for as long as `patience` says."""
        return self._patience is not None and self._since >= self._patience

    def measure(self) -> Measured:
        """`validation/f1`, `/precision` and `/recall` of exact spans and types, over all ranks' documents."""
        if not self._any:
            return {}
        trainer = self._trainer
        trainer.model.eval()
        gold = predicted = correct = 0
        with trainer.average.in_place() if trainer.average else nullcontext():
            self._tagger.paths = paths_of(trainer.model, self._tagger.labels)  # a CRF has learnt since
            for first in range(0, len(self._cuts), _AT_ONCE):
                part = slice(first, first + _AT_ONCE)
                mentions = self._tagger.tag_cuts(self._cuts[part], self._hidden[part])
                for found, example in zip(mentions, self._examples[part], strict=True):
                    right, said = _keys(example.document.mentions), _keys(found)
                    gold += len(right)
                    predicted += len(said)
                    correct += len(right & said)
        trainer.model.train()
        gold, predicted, correct = (
            int(n) for n in trainer.ranks.add_up([float(gold), float(predicted), float(correct)])
        )
        f1 = 2 * correct / max(1, gold + predicted)
        self._since = 0 if f1 > self._best else self._since + 1
        self._best = max(self._best, f1)
        return {
            "validation/f1": f1,
            "validation/precision": correct / max(1, predicted),
            "validation/recall": correct / max(1, gold),
        }

    def criterion(self, measured: Measured) -> float | None:
        """1 − F1."""
        return 1 - measured["validation/f1"] if measured else None

    def state(self) -> dict[str, Any]:
        """The best F1 so far, and how many measurements ago that was."""
        return {"best_f1": self._best, "since": self._since}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._best, self._since = state["best_f1"], state["since"]


def _keys(mentions: Sequence[Mention]) -> set[Key]:
    return {key_of(mention) for mention in mentions}
