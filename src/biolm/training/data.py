"""What a run feeds its steps with: the windows of the training split, masked, in rows of this rank, prepared ahead."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from biolm.batches.ahead import Ahead, Source
from biolm.batches.packing import PackedRow
from biolm.batches.source import StepSource
from biolm.model.device import resolve_row_tokens
from biolm.model.families import shortens, token_limit
from biolm.tokens.store import TokenStore
from biolm.tokens.words import WordTable
from biolm.training.config import PretrainConfig
from biolm.training.engine_config import EngineConfig
from biolm.training.flops import Amount, Shape, training_flops
from biolm.training.ranks import Ranks

logger = logging.getLogger(__name__)


class EngineData:
    """Steps of any kind of training, prepared ahead, and their operations."""

    truncated_tokens = 0

    def __init__(
        self, model: Any, source: Source, total_steps: int, config: EngineConfig, ranks: Ranks, outputs: int
    ) -> None:
        """`source`: gives this rank's rows of a step. `outputs`: of the model's last product, for each place."""
        self.total_steps = total_steps
        self._source, self._config, self._ranks = source, config, ranks
        self._shape = replace(Shape.of(model.config), vocabulary=outputs)
        self._shortened = shortens(model)

    def ahead(self, first: int) -> Ahead:
        """The steps from `first` on, prepared in the background: beside a GPU by a process, else by a thread."""
        return Ahead(
            self._source,
            first,
            self.total_steps,
            ahead=self._config.prepare_ahead,
            kind="process" if self._ranks.device.type == "cuda" else "thread",
        )

    def flops(self, rows: Sequence[PackedRow]) -> float:
        """Floating-point operations of a training step on these rows, by the formula of `flops.py`."""
        return sum(
            training_flops(
                self._shape,
                Amount.of(row.lengths, row.masked_per_window, self._shape),
                last_layer_at_masked=self._shortened,
                activation_checkpointing=self._config.activation_checkpointing,
            )
            for row in rows
        )


class TrainingData(EngineData):
    """The steps of a pretraining."""

    hits = "recall_at_1"

    def __init__(
        self, model: Any, store: TokenStore, config: PretrainConfig, ranks: Ranks, words: WordTable | None
    ) -> None:
        """`words`: of the store's tokenizer, where whole words are masked. Raises ConfigError for impossible sizes."""
        max_tokens = min(config.max_tokens, token_limit(model.config))
        self._masking = config.masking
        source = StepSource(
            folder=store.folder,
            masking=config.masking,
            words=words,
            seed=config.seed,
            examples_per_step=config.examples_per_step,
            tokens_per_step=config.tokens_per_step,
            max_tokens=max_tokens,
            long_passages=config.long_passages,
            max_row_tokens=resolve_row_tokens(config.max_row_tokens, ranks.device),
            row_shape=config.row_shape,
            epochs=config.epochs,
            max_steps=config.max_steps,
            rank=ranks.rank,
            ranks=ranks.count,
        )
        self.steps = source.steps
        super().__init__(model, source, self.steps.total, config, ranks, model.config.vocab_size)
        self.truncated_tokens = self.steps.examples.truncated_tokens
        if self.truncated_tokens:
            logger.warning("%s tokens beyond %s are left out", f"{self.truncated_tokens:,}", max_tokens)

    def facts(self, step: int) -> dict[str, float]:
        """The share of tokens hidden in a step."""
        return {"train/mask_rate": self._masking.rate_at(step, self.total_steps)}
