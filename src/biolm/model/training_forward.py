"""What is trained: a stock model behind one forward pass that ends in a sum of losses.

A module of its own, so that DistributedDataParallel, FSDP2 and torch.compile have one forward to take hold of.
"""

from typing import Any

import torch

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
        logits = logits_at_masked(self.model, row)
        hits = (logits.detach().argmax(1) == labels).sum()
        return cross_entropy_sum(logits, labels), hits
