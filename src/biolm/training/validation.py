"""Loss and recall on the first windows of the validation split, at evaluation's fixed masks."""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch

from biolm.batches.examples import cut_examples
from biolm.batches.packing import filler
from biolm.batches.steps import evaluation_rows
from biolm.model.device import resolve_row_tokens
from biolm.model.families import token_limit
from biolm.tokens.store import TokenStore
from biolm.training.judge import Measured
from biolm.training.step import Trainer


class Validation:
    """The rows of this rank, packed and masked once: the same windows and masks in every validation."""

    at_start = True
    enough = False

    def __init__(self, trainer: Trainer, store: TokenStore, windows: int | None = None) -> None:
        """`windows`: how many of the split's are measured; None for all."""
        self._trainer = trainer
        ranks, config = trainer.ranks, trainer.config
        rows = []
        if "validation" in store.splits:
            examples = cut_examples(
                store.split("validation"), store.vocabulary, max_tokens=token_limit(trainer.model.config)
            )
            rows = list(
                evaluation_rows(
                    examples,
                    max_row_tokens=resolve_row_tokens(config.max_row_tokens, ranks.device),
                    limit=windows,
                )
            )
        self._rows = rows[ranks.rank :: ranks.count]
        most = -(-len(rows) // ranks.count)
        if most > len(self._rows):
            self._rows.append(filler(examples, None))

    @torch.no_grad()
    def measure(self) -> Measured:
        """`validation/loss` (nats a masked token) and `validation/recall_at_1`; empty without a validation split.

        Of the averaged weights, where the run keeps them. Every rank must call.
        """
        if not self._rows:
            return {}
        trainer = self._trainer
        sums = torch.zeros(3, dtype=torch.float64, device=trainer.ranks.device)
        trainer.model.eval()
        with trainer.average.in_place() if trainer.average else nullcontext():
            for row in self._rows:
                with trainer.autocast():
                    loss, hits = trainer.parallel.evaluate(*trainer.tensors(row))
                sums += torch.stack([loss.double(), hits.double(), loss.new_full((), row.masked).double()])
        trainer.parallel.evaluated()
        trainer.model.train()
        loss_sum, hit_sum, masked = trainer.ranks.add_up(sums.tolist())
        return {
            "validation/loss": loss_sum / max(1, masked),
            "validation/recall_at_1": hit_sum / max(1, masked),
        }

    def criterion(self, measured: Measured) -> float | None:
        """The loss; None where there was none, or no finite one."""
        loss = measured.get("validation/loss")
        return loss if loss is not None and math.isfinite(loss) else None

    def state(self) -> dict[str, Any]:
        """Nothing: each validation stands alone."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Nothing."""
