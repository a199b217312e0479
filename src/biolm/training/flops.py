"""Floating-point operations of training on packed windows: what the mathematics asks for, not what a kernel does.

A multiply-add counts as 2. With d the width, f the MLP's inner width, g its matrices of d x f (2; 3 with a gated
linear unit), V the vocabulary, T the tokens, M the masked ones, and sums over windows of length L:

    a layer        2 (4 d² + g d f) T  +  4 d sum L²
    last layer     2 · 2 d² T  +  2 (2 d² + g d f) M  +  4 d sum (masked of the window) L
    head           2 (d² + d V) M
    forward        all layers and the head
    backward       2 x forward: each matrix product gives two
    a step         3 x forward; with activation checkpointing 1 x the layers more

Two products of attention (queries with keys, weights with values) cost 2 d each for a pair of tokens: 4 d. In a layer
with a sliding window, sum L² becomes the number of pairs that see each other. The last layer is the short one above
where only masked positions leave it (`biolm.model.families.shorten_last_layer`), else as the others.

Not counted: embedding look-ups, norms, biases, activations, softmax, dropout, rotary turns, the loss and the
optimizer's update (all of them together a few thousandths of roberta-base's, though not of its time); nor what a kernel
does besides, such as attention that computes its scores again in the backward pass, or padding.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a masked language model's arithmetic depends on."""

    width: int
    inner: int
    """Inner width of the MLP, behind the gate where it has one."""
    mlp_matrices: int
    """2, or 3 where a gated linear unit has two ways in."""
    reaches: tuple[int | None, ...]
    """For each layer how far it sees to each side (64 tokens in ModernBERT's local layers); None: all of the window."""
    vocabulary: int

    @classmethod
    def of(cls, config: Any) -> "Shape":
        """From a transformers configuration of RoBERTa, BERT or ModernBERT."""
        gated = config.model_type == "modernbert"
        kinds = config.layer_types if gated else ["full_attention"] * config.num_hidden_layers
        return cls(
            width=config.hidden_size,
            inner=config.intermediate_size,
            mlp_matrices=3 if gated else 2,
            reaches=tuple(
                config.local_attention // 2 if kind == "sliding_attention" else None for kind in kinds
            ),
            vocabulary=config.vocab_size,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """What goes through a model, summed over windows; expectations need not be whole numbers."""

    tokens: float
    """Special tokens included."""
    pairs: float
    """Of tokens of the same window: the sum of squared lengths."""
    near_pairs: float
    """Of these, those within the reach of local layers (all, where there are none)."""
    masked: float
    """Positions to predict."""
    masked_pairs: float
    """Of a masked position and a token of its window."""

    @classmethod
    def of(cls, lengths: NDArray[np.int64], masked: NDArray[Any], shape: Shape) -> "Amount":
        """From the windows' lengths and numbers of masked positions (expected ones will do), both (windows,)."""
        long = lengths.astype(np.float64)
        reach = next((reach for reach in shape.reaches if reach is not None), None)
        near = long**2 if reach is None else _near_pairs(long, reach)
        return cls(
            tokens=float(long.sum()),
            pairs=float((long**2).sum()),
            near_pairs=float(near.sum()),
            masked=float(masked.sum()),
            masked_pairs=float((masked * long).sum()),
        )

    @classmethod
    def of_sums(cls, *, tokens: float, squares: float, masked: float) -> "Amount":
        """From the sums of lengths, of squared lengths and of masked positions, of a model without local layers.

        Masked positions are taken to be spread evenly over the tokens.
        """
        share = masked / tokens if tokens else 0.0
        return cls(
            tokens=tokens, pairs=squares, near_pairs=squares, masked=masked, masked_pairs=share * squares
        )

    def plus(self, other: "Amount") -> "Amount":
        """Both together."""
        return Amount(
            tokens=self.tokens + other.tokens,
            pairs=self.pairs + other.pairs,
            near_pairs=self.near_pairs + other.near_pairs,
            masked=self.masked + other.masked,
            masked_pairs=self.masked_pairs + other.masked_pairs,
        )

    def times(self, factor: float) -> "Amount":
        """So many times as much."""
        return Amount(
            tokens=self.tokens * factor,
            pairs=self.pairs * factor,
            near_pairs=self.near_pairs * factor,
            masked=self.masked * factor,
            masked_pairs=self.masked_pairs * factor,
        )


def layer_flops(shape: Shape, amount: Amount, *, last_layer_at_masked: bool) -> float:
    """One forward pass through all layers."""
    square, mlp = shape.width**2, shape.mlp_matrices * shape.width * shape.inner
    total = 0.0
    for place, reach in enumerate(shape.reaches):
        if last_layer_at_masked and place == len(shape.reaches) - 1 and reach is None:
            total += 2 * square * amount.tokens + (2 * square + mlp) * amount.masked
            total += 2 * shape.width * amount.masked_pairs
        else:
            total += (4 * square + mlp) * amount.tokens
            total += 2 * shape.width * (amount.pairs if reach is None else amount.near_pairs)
    return 2 * total


def head_flops(shape: Shape, amount: Amount) -> float:
    """One forward pass through the language-model head, at masked positions."""
    return 2 * (shape.width**2 + shape.width * shape.vocabulary) * amount.masked


def forward_flops(shape: Shape, amount: Amount, *, last_layer_at_masked: bool = True) -> float:
    """One forward pass, as in validation."""
    return layer_flops(shape, amount, last_layer_at_masked=last_layer_at_masked) + head_flops(shape, amount)


def training_flops(
    shape: Shape,
    amount: Amount,
    *,
    last_layer_at_masked: bool = True,
    activation_checkpointing: bool = False,
) -> float:
    """Forward and backward; with activation checkpointing the layers' second forward pass too."""
    layers = layer_flops(shape, amount, last_layer_at_masked=last_layer_at_masked)
    return (4 if activation_checkpointing else 3) * layers + 3 * head_flops(shape, amount)


def _near_pairs(lengths: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """(windows,) ordered pairs (i, j) of a window with |i - j| <= reach."""
    inside = np.minimum(lengths - 1, reach)
    return lengths * (2 * inside + 1) - inside * (inside + 1)
