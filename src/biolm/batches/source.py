"""The steps of a run from its settings alone, so that another process can prepare them too."""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from biolm.batches.examples import LongPassages, cut_examples
from biolm.batches.masking import Masker, MaskingConfig
from biolm.batches.packing import PackedRow
from biolm.batches.steps import TrainingSteps
from biolm.tokens.store import open_tokens
from biolm.tokens.words import WordTable


@dataclass(frozen=True, kw_only=True)
class StepSource:
    """`source(step)` gives one rank's rows. Pickled, it is its settings: the token store is opened where it is used
    (a pickled memory map would be a copy of the whole)."""

    folder: Path
    """The token store; its training split is read."""
    masking: MaskingConfig
    seed: int
    examples_per_step: int
    max_tokens: int
    max_row_tokens: int
    words: WordTable | None = None
    """Of the store's tokenizer, where whole words are masked."""
    tokens_per_step: int | None = None
    long_passages: LongPassages = "split"
    row_shape: Literal["free", "fixed"] = "free"
    epochs: int = 1
    max_steps: int | None = None
    rank: int = 0
    ranks: int = 1

    @functools.cached_property
    def steps(self) -> TrainingSteps:
        """The steps over all ranks. Raises ArtifactError without a training split, else as TrainingSteps does."""
        store = open_tokens(self.folder)
        examples = cut_examples(
            store.split("train"),
            store.vocabulary,
            max_tokens=self.max_tokens,
            long_passages=self.long_passages,
        )
        masker = Masker(
            store.vocabulary, self.masking, purpose="train mask", seed=self.seed, words=self.words
        )
        return TrainingSteps(
            examples,
            masker,
            seed=self.seed,
            examples_per_step=self.examples_per_step,
            tokens_per_step=self.tokens_per_step,
            max_row_tokens=self.max_row_tokens,
            row_shape=self.row_shape,
            epochs=self.epochs,
            max_steps=self.max_steps,
        )

    def __call__(self, step: int) -> list[PackedRow]:
        """This rank's micro-batches of step `step`."""
        return self.steps.rows(step, rank=self.rank, ranks=self.ranks)

    def __getstate__(self) -> dict[str, Any]:
        """The settings, not what was opened."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
