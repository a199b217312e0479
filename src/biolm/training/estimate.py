"""What a run will be, before it is run: steps, tokens, arithmetic, and seconds where a speed is known."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from biolm.batches.examples import BLOCK, Examples
from biolm.batches.masking import EVALUATION_MASKING
from biolm.batches.steps import TrainingSteps
from biolm.model.device import resolve_row_tokens
from biolm.tokens.store import TokenStore
from biolm.training.config import PretrainConfig
from biolm.training.flops import Amount, Shape, forward_flops, training_flops
from biolm.training.probe import ProbeResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run's amounts: exact for whole epochs; masked tokens and parts of an epoch are expectations."""

    passages: int
    """Of the training split."""
    windows: int
    """That they are cut into."""
    epoch_tokens: int
    """Of all windows, special tokens included."""
    truncated_tokens: int
    """That no window holds."""
    steps_per_epoch: int
    steps: int
    epochs: float
    """That `steps` make."""
    windows_seen: int
    tokens_seen: int
    masked_tokens: int
    training_flops: float
    validations: int
    validation_flops: float
    """Of all of them."""
    mean_window: Amount
    """Of an epoch."""

    @property
    def tokens_per_step(self) -> float:
        """Mean."""
        return self.tokens_seen / self.steps

    @property
    def windows_per_step(self) -> float:
        """Mean."""
        return self.windows_seen / self.steps

    @property
    def flops(self) -> float:
        """Training and validation."""
        return self.training_flops + self.validation_flops


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """A predicted time."""

    value: float
    low: float
    """At the fastest of the probe's samples."""
    high: float
    """At the slowest."""


def plan_run(
    store: TokenStore,
    steps: TrainingSteps,
    validation: Examples | None,
    shape: Shape,
    config: PretrainConfig,
    *,
    last_layer_at_masked: bool,
) -> Plan:
    """The amounts of a run with `steps`, over all ranks. `validation`: that split's windows, if there is one."""
    examples = steps.examples
    maskable = 1.0 - _unknown_share(store)
    epoch = _amount(examples, len(examples), mean_mask_rate(config, steps.total) * maskable, shape)
    seen = _windows_seen(steps, config)
    run = epoch.times(seen / len(examples))
    validations, each = 0, 0.0
    if validation is not None and len(validation):
        count = min(config.validation_examples, len(validation))
        once = _amount(validation, count, EVALUATION_MASKING.mask_rate * maskable, shape)
        each = forward_flops(shape, once, last_layer_at_masked=last_layer_at_masked)
        validations = 1 + -(
            -steps.total // config.validate_every
        )  # before the first step, and after the last
    return Plan(
        passages=len(examples.split),
        windows=len(examples),
        epoch_tokens=round(epoch.tokens),
        truncated_tokens=examples.truncated_tokens,
        steps_per_epoch=steps.per_epoch,
        steps=steps.total,
        epochs=seen / len(examples),
        windows_seen=seen,
        tokens_seen=round(run.tokens),
        masked_tokens=round(run.masked),
        training_flops=training_flops(
            shape,
            run,
            last_layer_at_masked=last_layer_at_masked,
            activation_checkpointing=config.activation_checkpointing,
        ),
        validations=validations,
        validation_flops=validations * each,
        mean_window=epoch.times(1 / len(examples)),
    )


def mean_mask_rate(config: PretrainConfig, total_steps: int) -> float:
    """The share to predict, over all steps of a run (what `MaskingConfig.rate_at` gives, on the mean)."""
    if config.mask_rate_end is None:
        return config.mask_rate
    end = 0.5
    if config.mask_rate_change == "step":
        end = min(1.0, max(1, round(config.decay_fraction * total_steps)) / total_steps)
    return (1 - end) * config.mask_rate + end * config.mask_rate_end


def largest_row(plan: Plan, config: PretrainConfig, device: torch.device) -> Amount:
    """What goes through the model in the largest micro-batch, at the highest mask rate of the run."""
    tokens = min(resolve_row_tokens(config.max_row_tokens, device), plan.tokens_per_step)
    share = config.masking.largest_rate / mean_mask_rate(config, plan.steps)
    row = plan.mean_window.times(max(1.0, tokens / plan.mean_window.tokens))
    return replace(row, masked=share * row.masked, masked_pairs=share * row.masked_pairs)


def seconds_here(plan: Plan, probe: ProbeResult) -> Seconds:
    """Steps and validations at the probe's speed; starting, checkpoints and the final measurement not counted."""

    def at(flops_per_second: float) -> float:
        return plan.flops / flops_per_second + plan.steps * probe.fixed_seconds

    return Seconds(
        value=at(probe.flops_per_second),
        low=at(probe.fastest_flops_per_second),
        high=at(probe.slowest_flops_per_second),
    )


def _amount(examples: Examples, count: int, rate: float, shape: Shape) -> Amount:
    """Of the first `count` windows, a share `rate` of the tokens between special ones masked."""
    total = Amount(tokens=0, pairs=0, near_pairs=0, masked=0, masked_pairs=0)
    for first in range(0, count, BLOCK):
        index: NDArray[np.int64] = np.arange(first, min(first + BLOCK, count), dtype=np.int64)
        lengths = examples.lengths(index)
        total = total.plus(Amount.of(lengths, rate * (lengths - examples.vocabulary.around), shape))
    return total


def _unknown_share(store: TokenStore) -> float:
    """Of the tokens of the text, those that are never masked: unknown ones."""
    counts = store.unigram_counts()
    return float(counts[list(store.vocabulary.special_ids)].sum() / max(1, counts.sum()))


def _windows_seen(steps: TrainingSteps, config: PretrainConfig) -> int:
    windows = len(steps.examples)
    epochs, rest = divmod(steps.total, steps.per_epoch)
    part = rest * windows / steps.per_epoch if config.tokens_per_step else rest * config.examples_per_step
    return epochs * windows + min(windows, round(part))
