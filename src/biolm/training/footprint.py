"""How much memory and disk a run takes, before it is run."""

from dataclasses import dataclass

from biolm.training.config import PretrainConfig
from biolm.training.flops import Amount, Shape

FP32 = 4
"""Bytes. Weights, gradients and the optimizer's state are fp32 in every precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes on one device; Python, torch's libraries and the allocator's slack not counted (about 0.5 GB on a CPU)."""

    weights: int
    gradients: int
    optimizer: int
    average: int
    """The exponential mean, and a copy of the weights while it is in their place."""
    half_copies: int
    """Of the matrices, which autocast keeps through a step."""
    activations: int
    """What the layers save for the backward pass of one micro-batch: an estimate."""
    logits: int
    """Logits, their log-softmax and its gradient: an estimate."""

    @property
    def peak(self) -> int:
        """All of it at once, at the end of a micro-batch's forward pass."""
        return (
            self.weights
            + self.gradients
            + self.optimizer
            + self.average
            + self.half_copies
            + self.activations
            + self.logits
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """Bytes in the run's folder; metrics are small beside them."""

    checkpoint: int
    checkpoints: int
    """The most that lie there: those kept, the best one, and one that is being written."""
    model: int

    @property
    def total(self) -> int:
        """Of checkpoints and model."""
        return self.checkpoints + self.model


def memory_of(
    shape: Shape,
    heads: int,
    parameters: int,
    row: Amount,
    config: PretrainConfig,
    *,
    precision: str,
    cuda: bool,
) -> Memory:
    """An estimate for micro-batches as large as `row`. `precision`: fp32, bf16 or fp16."""
    half = precision != "fp32"
    fused = not cuda and not half and config.compile == "off"  # biolm.model.fused_head
    return Memory(
        weights=FP32 * parameters,
        gradients=FP32 * parameters,
        optimizer=2 * FP32 * parameters,
        average=2 * FP32 * parameters if config.ema_decay else 0,
        half_copies=2 * parameters if half else 0,
        activations=round(_activations(shape, heads, row, config, half=half, cuda=cuda)),
        logits=round(4 * (1 if fused else 3) * row.masked * shape.vocabulary),
    )


def disk_of(parameters: int, config: PretrainConfig) -> Disk:
    """Weights, twice as much of the optimizer, and the mean where there is one, in each checkpoint."""
    each = FP32 * parameters * (4 if config.ema_decay else 3)
    return Disk(checkpoint=each, checkpoints=each * (config.keep_checkpoints + 2), model=FP32 * parameters)


def _activations(
    shape: Shape, heads: int, row: Amount, config: PretrainConfig, *, half: bool, cuda: bool
) -> float:
    """Bytes. Coefficients counted with torch.autograd.graph.saved_tensors_hooks on torch 2.13, transformers 5.23.

    Per token and layer in fp32 9 values of the width and 2 of the inner width (gated: 11 and 4); under autocast 28
    bytes of the width, norms being fp32, and 2 of each inner value. Dropout adds 4 bytes of the width; on attention
    weights, where no kernel hides them (CPU), 12 bytes of each pair and head.
    """
    gated = shape.mlp_matrices == 3
    across, within = (11, 4) if gated else (9, 2)
    token = (
        28 * shape.width + 2 * within * shape.inner
        if half
        else 4 * (across * shape.width + within * shape.inner)
    )
    if config.hidden_dropout:
        token += 4 * shape.width
    layer = token * row.tokens
    if config.attention_dropout and not cuda:
        layer += 12 * heads * row.pairs
    embeddings = 8 * shape.width * row.tokens
    layers = len(shape.reaches)
    if config.activation_checkpointing:
        return embeddings + layers * FP32 * shape.width * row.tokens + layer
    return embeddings + layers * layer
