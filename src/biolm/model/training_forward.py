"""What is trained: a stock model behind one forward pass that ends in a sum of losses.

A module of its own, so that DistributedDataParallel, FSDP2 and torch.compile have one forward to take hold of.
"""

import functools
from typing import Any

import torch
import torch.nn.functional as F

from biolm.model.families import family_of
from biolm.model.masked_lm import RowTensors, cross_entropy_sum, logits_at_masked


class PackedMaskedLM(torch.nn.Module):
    """A model from `load_model`, from a packed row to its loss and hits."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, row: RowTensors, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(loss summed over the (masked,) labels that are not IGNORED, how many of them are the likeliest token)."""
        logits = logits_at_masked(self.model, row)
        hits = (logits.detach().argmax(1) == labels).sum()
        return cross_entropy_sum(logits, labels), hits


def accumulate_embedding_sparsely(model: Any) -> bool:
    """Let a tied embedding's lookup give a sparse gradient; returns whether it was done.

    Autograd adds it in place to the decoder's dense gradient of the same matrix, which comes first. Without, a second
    matrix of the vocabulary's size is filled, written and added in every micro-step (154 MB for roberta-base), which
    costs a CPU 2 to 3 % of a step. Nothing changes where embedding and decoder are not one matrix.
    """
    embedding = family_of(model.config).embedding(model)
    if embedding.weight is not model.get_output_embeddings().weight:
        return False
    embedding.forward = functools.partial(_lookup, embedding)  # type: ignore[method-assign]
    return True


def _lookup(embedding: torch.nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
    return F.embedding(ids, embedding.weight, embedding.padding_idx, sparse=True)
