"""Every setting of a fine-tuning. Saved whole with the run; the command line is made from it."""

from dataclasses import dataclass
from typing import Literal

from biolm.errors import ConfigError
from biolm.training.engine_config import EngineConfig, choices_of


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneConfig(EngineConfig):
    """How a base becomes a tagger. Defaults: those that BERT-sized models are fine-tuned with (Devlin 2019, A.3)."""

    epochs: int = 5
    """Passes over the training documents; every window is seen once in each."""
    examples_per_step: int = 32
    """Windows behind each optimizer step, over all ranks."""
    max_tokens: int = 512
    """Longest window in tokens, special tokens included; the model's own limit where that is lower. At use windows are
    no longer than 99 % of training's are."""
    overlap: int = 128
    """Tokens that the windows of a long document share, at training and at use (there in proportion to the window); at
    most half a window."""
    lr_peak: float = 5e-5
    """Learning rate after warm-up. A small base wants more (MiniLM 2e-4 and above)."""
    warmup_fraction: float = 0.1
    """Share of the steps over which the rate rises from 0. Devlin 2019."""
    adam_beta2: float = 0.999
    """Decay of the gradient's square. Devlin 2019."""
    spike_factor: float | None = None
    """A step whose gradient norm exceeds the median of the last 20 to 100 by this factor is skipped; none: never."""
    validate_every: int | None = None
    """Steps between looks at the dev documents; none: an epoch."""
    checkpoint_every: int | None = None
    """Steps between checkpoints; none: an epoch."""
    keep_checkpoints: int = 1
    """How many of the newest stay on disk, and beside them the one of highest dev F1."""
    final_weights: Literal["last", "best"] = "best"
    """Which weights become the model: of the last step, or of the highest dev F1 (without dev documents: last)."""
    patience: int | None = None
    """Training ends when dev F1 has not risen in so many looks; none: after all epochs."""
    class_weights: Literal["none", "inverse", "sqrt"] = "none"
    """Weight of a label in the loss: all alike, by its inverse frequency, or by the root of that."""
    label_smoothing: float = 0.0
    """Share of each label's probability that is spread over all labels (Szegedy 2016)."""
    crf: bool = False
    """A conditional random field over the labels, learnt too. Stock transformers ignore it when they load the model."""
    crf_lr: float = 1e-2
    """Peak rate of its transition scores, which start at 0 and have no weight decay."""
    seed: int = 1
    """Decides order, the new head's weights and dropout."""
    freeze_layers: int | None = None
    """Leave the embeddings and so many of the lowest layers as they are; 0: the embeddings alone."""

    def __post_init__(self) -> None:
        """Refuse what cannot be, at once."""
        EngineConfig.__post_init__(self)
        self.at_least("overlap", 0)
        if not self.crf_lr > 0:
            raise ConfigError(f"crf_lr is {self.crf_lr}; give a number above 0")
        for name in ("patience", "freeze_layers"):
            if getattr(self, name) is not None:
                self.at_least(name, 1 if name == "patience" else 0)
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing is {self.label_smoothing}; give a number from 0 to below 1")
        if self.crf and (self.label_smoothing or self.class_weights != "none"):
            raise ConfigError("crf goes together with neither class_weights nor label_smoothing")
        if self.parallel != "ddp" or self.compile != "off":
            raise ConfigError("a fine-tuning has a whole model on each rank and does not compile it")

    def rate_factor(self, name: str) -> float | None:
        """The CRF's scores have a rate of their own."""
        return self.crf_lr / self.lr_peak if name.startswith("crf.") else None


CHOICES = choices_of(FinetuneConfig)
NOT_OFFERED = ("parallel", "compile", "activation_checkpointing")
"""Settings of the engine that pay for pretraining alone."""
