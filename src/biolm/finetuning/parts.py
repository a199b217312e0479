"""The parts of a fine-tuning that the engine takes: rows for steps, what is trained, and what is left of it."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from biolm.errors import ConfigError
from biolm.finetuning.config import FinetuneConfig
from biolm.finetuning.windows import Labelled, LabelledSteps
from biolm.model.families import family_of
from biolm.model.folder import save_model
from biolm.model.token_classifier import CRF_FILE, PackedTokenClassifier
from biolm.tagging.settings import TaggerSettings, write_settings
from biolm.tokens.tokenizer import Tokenizer
from biolm.training.data import EngineData
from biolm.training.ranks import Ranks


class FinetuneData(EngineData):
    """The steps of a fine-tuning."""

    hits = "accuracy"

    def __init__(self, model: Any, windows: Labelled, config: FinetuneConfig, ranks: Ranks) -> None:
        """`config`: with `max_row_tokens`."""
        assert config.max_row_tokens is not None
        steps = LabelledSteps(
            windows,
            seed=config.seed,
            examples_per_step=config.examples_per_step,
            max_row_tokens=config.max_row_tokens,
            tokens_per_step=config.tokens_per_step,
            epochs=config.epochs,
            max_steps=config.max_steps,
            rank=ranks.rank,
            ranks=ranks.count,
        )
        self.per_epoch = steps.per_epoch
        super().__init__(model, steps, steps.total, config, ranks, model.config.num_labels)

    def facts(self, step: int) -> dict[str, float]:
        """Nothing else."""
        return {}


def freeze(model: Any, layers: int | None) -> None:
    """Leave the embeddings and the lowest `layers` layers of a model as they are; None: train all.

    Raises ConfigError for more layers than there are.
    """
    if layers is None:
        return
    blocks = family_of(model.config).layers(model)
    if layers > len(blocks):
        raise ConfigError(f"freeze_layers is {layers}, and the base has {len(blocks)}; give fewer")
    for part in [model.base_model.embeddings, *blocks[:layers]]:
        part.requires_grad_(False)


def save_tagger(model: Any, tokenizer: Tokenizer, out: Path, settings: TaggerSettings, **facts: Any) -> None:
    """Write a model from `load_token_classifier` as a folder that stock transformers read, `tagger.json` beside it."""
    chain = model._modules.pop("crf", None)

    def beside(folder: Path) -> None:
        write_settings(folder, settings)
        if chain is not None:
            save_file(
                {name: value.detach().contiguous() for name, value in chain.state_dict().items()},
                folder / CRF_FILE,
            )

    save_model(
        model,
        tokenizer.stock,
        out,
        tokenizer_hash=tokenizer.vocabulary.hash,
        beside=beside,
        **facts,
    )


def module_of(config: FinetuneConfig, counts: NDArray[np.int64]) -> partial[PackedTokenClassifier]:
    """What makes the trained module of a model. `counts` (labels,): how often each label occurs in training."""
    weights = None
    if config.class_weights != "none":
        # A label that never occurs has no weight: smoothing would spread the others' loss to it.
        rarity = np.divide(counts.sum(), counts, out=np.zeros(len(counts)), where=counts > 0)
        plain = np.sqrt(rarity) if config.class_weights == "sqrt" else rarity
        # So that the mean over the training labels is 1, and the learning rate means what it meant.
        weights = torch.tensor(plain * counts.sum() / (plain * counts).sum(), dtype=torch.float32)
    return partial(PackedTokenClassifier, class_weights=weights, label_smoothing=config.label_smoothing)
