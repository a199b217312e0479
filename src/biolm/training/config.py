"""Every setting of a pretraining run. Saved whole with the run; the command line is made from it."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from biolm.batches.masking import MaskingConfig
from biolm.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig:
    """How a base is further trained. Defaults: the model card's batch of 64 passages and learning rate."""

    seed: int = 1
    """Decides order, masks and dropout."""
    epochs: int = 1
    """Passes over the training split; every passage is seen once in each."""
    max_steps: int | None = None
    """Stop after so many optimizer steps, whatever the epochs (the schedule ends there too)."""
    examples_per_step: int = 64
    """Passages behind each optimizer step. 64: EMBO/bio-lm's 16 on each of 4 GPUs."""
    max_tokens: int = 512
    """Longest window in tokens, special tokens included; the model's own limit where that is lower."""
    long_passages: Literal["split", "truncate"] = "split"
    """What becomes of a longer passage: several windows, or its first one (counted)."""
    max_row_tokens: int = 4096
    """Tokens of a packed micro-batch; bounds memory, changes no result beyond rounding."""
    mask_rate: float = 0.15
    """Share of tokens to predict. Validation always uses 0.15."""
    mask_token_share: float = 0.8
    """Of those, shown as the mask token."""
    random_token_share: float = 0.1
    """Of those, shown as a random token."""
    lr_peak: float = 5e-5
    """AdamW's learning rate after warm-up. 5e-5: EMBO/bio-lm."""
    warmup_fraction: float = 0.06
    """Share of the steps over which the rate rises from 0; it then falls linearly to 0. Gururangan 2020."""
    weight_decay: float = 0.01
    """On matrices only; biases and layer norms have none."""
    adam_beta1: float = 0.9
    """Decay of the gradient's mean."""
    adam_beta2: float = 0.98
    """Decay of the gradient's square. 0.98: Liu 2019 (RoBERTa)."""
    adam_epsilon: float = 1e-6
    """Liu 2019 (RoBERTa)."""
    clip_norm: float | None = 1.0
    """Largest gradient norm of a step; None leaves gradients as they are."""
    hidden_dropout: float = 0.0
    """Dropout after embeddings and blocks. 0 for a pass or two over much data (DECISIONS.md)."""
    attention_dropout: float = 0.0
    """Dropout on attention weights; above 0 it costs the fused kernels."""
    validate_every: int = 200
    """Steps between validations (and one at the end)."""
    validation_examples: int = 512
    """Windows of the validation split that are measured, the same each time."""
    checkpoint_every: int = 200
    """Steps between checkpoints (and one at the end)."""
    keep_checkpoints: int = 2
    """How many of the newest stay on disk."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast on a GPU that has it, else fp32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where there is one."""
    threads: int | None = None
    """CPU threads of torch; None leaves torch's choice. Bits of the result depend on it."""

    def __post_init__(self) -> None:
        """Refuse what cannot be, at once."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{field.name} is {value}; give a finite number")
        if self.seed >= 1 << 63:
            raise ConfigError(f"seed is {self.seed}; give one below 2^63")
        for name in (
            "epochs",
            "examples_per_step",
            "max_row_tokens",
            "validate_every",
            "validation_examples",
        ):
            _at_least(self, name, 1)
        for name in ("checkpoint_every", "keep_checkpoints"):
            _at_least(self, name, 1)
        _at_least(self, "seed", 0)
        _at_least(self, "max_tokens", 8)
        for name in ("max_steps", "threads"):
            if getattr(self, name) is not None:
                _at_least(self, name, 1)
        for name in ("hidden_dropout", "attention_dropout", "adam_beta1", "adam_beta2", "warmup_fraction"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ConfigError(f"{name} is {value}; give a number from 0 to below 1")
        for name in ("lr_peak", "adam_epsilon"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a number above 0")
        if self.weight_decay < 0:
            raise ConfigError(f"weight_decay is {self.weight_decay}; give 0 or more")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ConfigError(f"clip_norm is {self.clip_norm}; give a number above 0, or none")
        for name in ("long_passages", "precision", "device"):
            _among(self, name)
        self.masking  # noqa: B018  checks the three shares

    @property
    def masking(self) -> MaskingConfig:
        """The part that the masker reads."""
        return MaskingConfig(
            mask_rate=self.mask_rate,
            mask_token_share=self.mask_token_share,
            random_token_share=self.random_token_share,
        )


CHOICES = {
    "long_passages": ("split", "truncate"),
    "precision": ("auto", "fp32", "bf16"),
    "device": ("auto", "cpu", "cuda"),
}
"""Fields that take one of a few words."""


def changed(config: PretrainConfig, saved: dict[str, object]) -> list[str]:
    """What differs between a configuration and a saved one, as "lr_peak 5e-05 (was 0.0001)"."""
    now = dataclasses.asdict(config)
    names = [*now, *(name for name in saved if name not in now)]
    return [
        f"{name} {now.get(name)} (was {saved.get(name)})"
        for name in names
        if now.get(name) != saved.get(name)
    ]


def _at_least(config: PretrainConfig, name: str, least: int) -> None:
    if getattr(config, name) < least:
        raise ConfigError(f"{name} is {getattr(config, name)}; give {least} or more")


def _among(config: PretrainConfig, name: str) -> None:
    if getattr(config, name) not in CHOICES[name]:
        raise ConfigError(f"{name} is {getattr(config, name)!r}; give one of {', '.join(CHOICES[name])}")
