"""Every setting of a pretraining run. Saved whole with the run; the command line is made from it."""

from dataclasses import dataclass
from typing import Literal

from biolm.batches.masking import MaskingConfig
from biolm.errors import ConfigError
from biolm.training.engine_config import TRACKERS, EngineConfig, changed, choices_of

__all__ = ["CHOICES", "TRACKERS", "PretrainConfig", "changed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig(EngineConfig):
    """How a base is further trained. Defaults: the model card's batch of 64 passages and learning rate."""

    seed: int = 1
    """Decides order, masks and dropout."""
    epochs: int = 1
    """Passes over the training split; every passage is seen once in each."""
    examples_per_step: int = 64
    """Passages behind each optimizer step, over all ranks. 64: EMBO/bio-lm's 16 on each of 4 GPUs."""
    lr_peak: float = 5e-5
    """Learning rate after warm-up. 5e-5: EMBO/bio-lm."""
    decay_fraction: float = 0.1
    """Share of the steps, at the end, over which wsd falls to 0, and step hides mask_rate_end. Hu 2024."""
    keep_checkpoints: int = 2
    """How many of the newest stay on disk, and beside them the one of lowest validation loss."""
    final_weights: Literal["last", "best"] = "last"
    """Which weights become the model: those of the last step, or of the checkpoint of lowest validation loss."""
    validate_every: int = 200
    """Steps between validations (and one before the first step and one at the end)."""
    checkpoint_every: int = 200
    """Steps between checkpoints (and one at the end)."""
    hidden_dropout: float = 0.0
    """Dropout after embeddings and blocks. 0 for a pass or two over much data (DECISIONS.md)."""
    long_passages: Literal["split", "truncate"] = "split"
    """What becomes of a longer passage: several windows, or its first one (counted)."""
    row_shape: Literal["free", "fixed"] = "free"
    """fixed: micro-batches padded to one shape (tokens, passages, masked positions), for compile and CUDA graphs."""
    mask_rate: float = 0.15
    """Share of tokens to predict. Validation always uses 0.15."""
    mask_rate_end: float | None = None
    """The share at the end of the run, where it changes (0.3 to 0.15: Sounack 2025, BioClinical ModernBERT)."""
    mask_rate_change: Literal["linear", "step"] = "linear"
    """How mask_rate becomes mask_rate_end: over the whole run, or at once where the last decay_fraction begins."""
    mask_unit: Literal["token", "word"] = "token"
    """word: whole words are hidden, "p53" and "IL-6" among them."""
    mask_token_share: float = 0.8
    """Share of the chosen tokens that is shown as the mask token."""
    random_token_share: float = 0.1
    """Share of the chosen tokens that is shown as a random token; the rest stays as it is."""
    validation_examples: int = 512
    """Windows of the validation split that are measured, the same each time."""

    def __post_init__(self) -> None:
        """Refuse what cannot be, at once."""
        EngineConfig.__post_init__(self)
        self.at_least("validation_examples", 1)
        if self.compile == "reduce-overhead" and self.row_shape == "free":
            raise ConfigError(
                "compile is reduce-overhead, which wants rows of one shape; give row_shape fixed too"
            )
        self.masking  # noqa: B018  checks its own settings

    @property
    def masking(self) -> MaskingConfig:
        """The part that the masker reads."""
        return MaskingConfig(
            mask_rate=self.mask_rate,
            mask_rate_end=self.mask_rate_end,
            mask_rate_change=self.mask_rate_change,
            decay_fraction=self.decay_fraction,
            mask_unit=self.mask_unit,
            mask_token_share=self.mask_token_share,
            random_token_share=self.random_token_share,
        )


CHOICES: dict[str, tuple[str, ...]] = choices_of(PretrainConfig)
"""Fields that take one of a few words."""
