"""The settings that every training has: what a step is, the optimizer, the run's folder, the machine."""

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import Literal

from biolm.errors import ConfigError

TRACKERS = ("wandb", "mlflow")


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineConfig:
    """What the training engine reads. A kind of training extends it, with defaults of its own."""

    seed: int = 1
    """Decides order, new weights, dropout, and in pretraining masks."""
    epochs: int = 1
    """Passes over the training split; every window is seen once in each."""
    max_steps: int | None = None
    """Stop after so many optimizer steps, whatever the epochs (the schedule ends there too)."""
    examples_per_step: int = 64
    """Windows behind each optimizer step, over all ranks."""
    tokens_per_step: int | None = None
    """Tokens behind each optimizer step, over all ranks; takes the place of examples_per_step."""
    max_tokens: int = 512
    """Longest window in tokens, special tokens included; the model's own limit where that is lower."""
    max_row_tokens: int | None = None
    """Tokens of a packed micro-batch, which bounds memory; none: 4,096 on a CPU, 16,384 on a GPU. Without dropout it
    changes no result beyond rounding."""
    optimizer: Literal["adamw", "stable-adamw"] = "adamw"
    """stable-adamw: AdamW that shortens updates larger than its second moment expects (Wortsman 2023)."""
    lr_peak: float = 5e-5
    """Learning rate after warm-up."""
    schedule: Literal["linear", "cosine", "wsd"] = "linear"
    """How the rate falls to 0 after warm-up. wsd: it stays at the peak, then falls linearly (Hu 2024, MiniCPM)."""
    warmup_fraction: float = 0.06
    """Share of the steps over which the rate rises from 0. Gururangan 2020."""
    decay_fraction: float = 0.1
    """Share of the steps, at the end, over which wsd falls to 0. Hu 2024."""
    layer_lr_decay: float | None = None
    """Factor on the rate from each layer to the one below it; none: all layers learn alike."""
    weight_decay: float = 0.01
    """On matrices only; biases and layer norms have none."""
    adam_beta1: float = 0.9
    """Decay of the gradient's mean."""
    adam_beta2: float = 0.98
    """Decay of the gradient's square. 0.98: Liu 2019 (RoBERTa)."""
    adam_epsilon: float = 1e-6
    """Liu 2019 (RoBERTa)."""
    clip_norm: float | None = 1.0
    """Largest gradient norm of a step; none leaves gradients as they are."""
    ema_decay: float | None = None
    """Keep an exponential mean of the weights, by this factor a step: what is validated and left as the model."""
    spike_factor: float | None = 10.0
    """A step whose gradient norm exceeds the median of the last 20 to 100 by this factor is skipped; none: never."""
    max_skipped: int = 10
    """The run ends when so many steps in a row had to be skipped (spikes, or numbers that are not finite)."""
    hidden_dropout: float | None = None
    """Dropout after embeddings and blocks; none: the base's own."""
    attention_dropout: float = 0.0
    """Dropout on attention weights; above 0 it costs the fused kernels."""
    validate_every: int | None = None
    """Steps between validations (and one at the end)."""
    checkpoint_every: int | None = None
    """Steps between checkpoints (and one at the end)."""
    keep_checkpoints: int = 2
    """How many of the newest stay on disk, and beside them the best one."""
    final_weights: Literal["last", "best"] = "last"
    """Which weights become the model: those of the last step, or of the best checkpoint."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """auto: bf16 autocast on a GPU that has it, fp16 with scaled gradients on one that has not, fp32 on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: CUDA where there is one."""
    threads: int | None = None
    """CPU threads of torch, on each rank; none: an equal share of the cores. Bits of the result depend on it."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """On several ranks: a whole model on each, or (FSDP2) weights, gradients and optimizer divided among them."""
    compile: Literal["off", "default", "reduce-overhead"] = "off"
    """torch.compile's mode (reduce-overhead: CUDA graphs). Give row_shape fixed with it; on a CPU it does not pay."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass: a third more arithmetic for a fraction of the memory."""
    prepare_ahead: int = 2
    """Steps whose batches are prepared in the background (a process beside a GPU, else a thread); 0: none."""
    track: tuple[str, ...] = ()
    """Where metrics go besides metrics.jsonl and TensorBoard: wandb, mlflow (through their own clients)."""

    def __post_init__(self) -> None:
        """Refuse what cannot be, at once."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"{field.name} is {value}; give a finite number")
        if self.seed >= 1 << 63:
            raise ConfigError(f"seed is {self.seed}; give one below 2^63")
        for name in ("epochs", "examples_per_step", "keep_checkpoints", "max_skipped"):
            self.at_least(name, 1)
        for name in ("seed", "prepare_ahead"):
            self.at_least(name, 0)
        self.at_least("max_tokens", 8)
        for name in ("max_steps", "max_row_tokens", "threads", "validate_every", "checkpoint_every"):
            if getattr(self, name) is not None:
                self.at_least(name, 1)
        for name in ("hidden_dropout", "attention_dropout", "adam_beta1", "adam_beta2", "warmup_fraction"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ConfigError(f"{name} is {value}; give a number from 0 to below 1")
        for name in ("lr_peak", "adam_epsilon"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a number above 0")
        for name in ("ema_decay", "layer_lr_decay"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ConfigError(f"{name} is {value}; give a number between 0 and 1, or none")
        if self.schedule == "wsd" and self.warmup_fraction + self.decay_fraction > 1:
            raise ConfigError("warmup_fraction and decay_fraction add up to more than 1")
        if self.spike_factor is not None and self.spike_factor <= 1:
            raise ConfigError(f"spike_factor is {self.spike_factor}; give a number above 1, or none")
        if self.tokens_per_step is not None and self.tokens_per_step < self.max_tokens:
            raise ConfigError(
                f"tokens_per_step is {self.tokens_per_step}, less than one passage may have (max_tokens "
                f"{self.max_tokens}); give more"
            )
        if self.weight_decay < 0:
            raise ConfigError(f"weight_decay is {self.weight_decay}; give 0 or more")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ConfigError(f"clip_norm is {self.clip_norm}; give a number above 0, or none")
        for name, words in choices_of(type(self)).items():
            if getattr(self, name) not in words:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; give one of {', '.join(words)}")
        if len(set(self.track)) < len(self.track):
            raise ConfigError("track names a tracker twice")
        unknown = [name for name in self.track if name not in TRACKERS]
        if unknown:
            raise ConfigError(f"track names {unknown[0]!r}; biolm knows {' and '.join(TRACKERS)}")

    def rate_factor(self, name: str) -> float | None:
        """On the learning rate of a parameter that is no part of the stock model, and has no weight decay; None for
        the others."""
        return None

    def at_least(self, name: str, least: int) -> None:
        """Raise ConfigError where a setting is below `least`."""
        if getattr(self, name) < least:
            raise ConfigError(f"{name} is {getattr(self, name)}; give {least} or more")


def choices_of(config: type) -> dict[str, tuple[str, ...]]:
    """The fields of a configuration that take one of a few words, and the words."""
    return {
        name: typing.get_args(hint)
        for name, hint in typing.get_type_hints(config).items()
        if typing.get_origin(hint) is Literal
    }


def changed(config: EngineConfig, saved: dict[str, object]) -> list[str]:
    """What differs between a configuration and a saved one, as "lr_peak 5e-05 (was 0.0001)"."""
    now = dataclasses.asdict(config)
    names = [*now, *(name for name in saved if name not in now)]
    return [
        f"{name} {now.get(name)} (was {saved.get(name)})"
        for name in names
        if now.get(name) != saved.get(name)
    ]
