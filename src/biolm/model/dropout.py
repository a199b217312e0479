"""Dropout whose random bits a CPU draws fast: torch's own takes about a tenth of a training step there."""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

_LEVELS = 1 << 16
"""A rate is a whole number of this many parts; 16 random bits decide about an element."""


class Dropout(torch.nn.Dropout):
    """torch.nn.Dropout; on a CPU, uncompiled, with the draws of `draw_kept`."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Of any shape."""
        if not self.training or self.p == 0.0 or states.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(states)
        dropped: torch.Tensor = _Dropped.apply(states, self.p)
        return dropped


def draw_kept(shape: Sequence[int], rate: float) -> tuple[torch.Tensor, float]:
    """Which elements dropout keeps, as bool of `shape`, and the factor of those.

    They follow from one draw of torch's generator, which seeds numpy's SFC64.
    """
    lost, count = round(rate * _LEVELS), prod(shape)
    seed = int(torch.randint(2**63 - 1, ()))
    words = np.random.SFC64(seed).random_raw(-(-count // 4))
    kept = words.view(np.uint16)[:count] >= lost
    return torch.from_numpy(kept).view(*shape), _LEVELS / (_LEVELS - lost)


def drop(states: torch.Tensor, kept: torch.Tensor, factor: float) -> torch.Tensor:
    """States, or their gradient, without what is not kept, scaled."""
    return (states * kept).mul_(factor)


def fast_dropout(model: torch.nn.Module) -> None:
    """Put Dropout in the place of every torch.nn.Dropout of a model."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is torch.nn.Dropout:
                setattr(module, name, Dropout(child.p))


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, rate: float) -> torch.Tensor:
        kept, ctx.factor = draw_kept(states.shape, rate)
        ctx.save_for_backward(kept)
        return drop(states, kept, ctx.factor)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (kept,) = ctx.saved_tensors
        return drop(gradient, kept, ctx.factor), None
