"""What is trained: a stock model behind one forward pass that ends in a sum of losses.

A module of its own, so that DistributedDataParallel, FSDP2 and torch.compile have one forward to take hold of.
"""

from typing import Any

import torch
import torch.nn.functional as F

from biolm.model.fused_head import FusedHead
from biolm.model.masked_lm import (
    IGNORED,
    RowTensors,
    cross_entropy_sum,
    features_at_masked,
    logits_at_masked,
)


class PackedMaskedLM(torch.nn.Module):
    """A model from `load_model`, from a packed row to its loss and hits."""

    def __init__(self, model: Any, *, fused: bool = False) -> None:
        """`fused`: gradients of a tied decoder and of its embedding in one go, where the model allows it."""
        super().__init__()
        self.model = model
        self.head = FusedHead(model, IGNORED) if fused and FusedHead.fits(model) else None

    def forward(self, row: RowTensors, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(loss summed over the (masked,) labels that are not IGNORED, how many of them are the likeliest token)."""
        if self.head is not None and torch.is_grad_enabled():
            return self.head.loss(features_at_masked(self.model, row), labels)
        if torch.is_autocast_enabled("cuda") and self.model.device.type == "cuda":
            decoder = self.model.get_output_embeddings()
            logits = aligned_logits(
                decoder, features_at_masked(self.model, row), torch.get_autocast_dtype("cuda")
            )
        else:
            logits = logits_at_masked(self.model, row)
        hits = (logits.detach().argmax(1) == labels).sum()
        return cross_entropy_sum(logits, labels), hits


_ALIGNED = 64
"""Columns that matrix units want a product to have a multiple of."""


_NEVER = -3e4
"""A logit of half precision that leaves no probability."""


def aligned_logits(decoder: Any, features: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What a decoder makes of (masked, width), and columns that never win until there are a multiple of 64 of them.

    A vocabulary of 50,265 fits no matrix unit of a GPU: cuBLAS then takes kernels written for older ones, and two
    of the decoder's products took 7 % of the GPU's time in a step of roberta-base on an H100.
    """
    if type(decoder) is not torch.nn.Linear or decoder.out_features % _ALIGNED == 0:
        logits: torch.Tensor = decoder(features)
        return logits
    extra = -decoder.out_features % _ALIGNED
    weight = F.pad(decoder.weight.to(dtype), (0, 0, 0, extra))
    bias = weight.new_zeros(decoder.out_features) if decoder.bias is None else decoder.bias.to(dtype)
    return F.linear(features.to(dtype), weight, F.pad(bias, (0, extra), value=_NEVER))
