"""The loss of a tied decoder, its gradient, and the embedding's, for a CPU: one matrix of the vocabulary's size less.

Autograd makes the gradient of the decoder's matrix, another of the same size for the lookup of the same matrix, and
their sum; and three matrices (masked, vocabulary) on the way from logits to their gradient. Here the logits become
their own gradient in place, and the lookup adds its rows to the decoder's gradient before anything else sees it.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from biolm.model.families import family_of


@dataclass(slots=True)
class _Meetings:
    """Shared by all heads of one model."""

    meeting: list[torch.Tensor]
    """Where the last lookup expects the decoder's gradient."""


class FusedHead:
    """Decoder, cross-entropy and lookup of a model whose embedding and decoder are one matrix."""

    def __init__(self, model: Any, ignored: int) -> None:
        """From now on the model's lookup leaves its gradient to this head; a label of `ignored` counts for nothing."""
        embedding: Any = family_of(model.config).embedding(model)
        self.decoder: Any = model.get_output_embeddings()
        self.ignored = ignored
        self.embedding = embedding
        before = getattr(vars(embedding).get("forward"), "__self__", None)
        self._now: _Meetings = before._now if isinstance(before, FusedHead) else _Meetings([])
        embedding.forward = self._lookup

    @staticmethod
    def fits(model: Any) -> bool:
        """Whether embedding and decoder are one trained matrix, with a bias behind it."""
        embedding, decoder = family_of(model.config).embedding(model), model.get_output_embeddings()
        return (
            embedding.weight is decoder.weight and embedding.weight.requires_grad and decoder.bias is not None
        )

    def loss(self, features: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What `PackedMaskedLM.forward` returns, of features (masked, width)."""
        loss, hits = _Loss.apply(
            features, self.decoder.weight, self.decoder.bias, labels, self.ignored, self._now.meeting
        )
        return loss, hits

    def _lookup(self, ids: torch.Tensor) -> torch.Tensor:
        meeting = self._now.meeting = []
        out: torch.Tensor = _Lookup.apply(ids, self.embedding.weight, self.embedding.padding_idx, meeting)
        return out


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        labels: torch.Tensor,
        ignored: int,
        meeting: list[torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logits = torch.mm(features, weight.t()).add_(bias)
        counts = labels != ignored
        target = labels.where(counts, 0)[:, None]
        largest, likeliest = logits.max(1, keepdim=True)
        own = logits.gather(1, target)
        logits.sub_(largest).exp_()
        sums = logits.sum(1, keepdim=True)
        loss = (sums.log() + largest - own)[counts].sum()
        logits.mul_(counts[:, None] / sums)
        logits.scatter_add_(1, target, -counts[:, None].to(logits.dtype))
        ctx.save_for_backward(features, weight, logits)
        ctx.meeting = meeting
        hits = (likeliest[:, 0] == labels).sum()
        ctx.mark_non_differentiable(hits)
        return loss, hits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, _: Any) -> tuple[torch.Tensor | None, ...]:
        features, weight, change = ctx.saved_tensors
        ctx.meeting.append(torch.mm(change.t(), features * gradient))
        return torch.mm(change, weight).mul_(gradient), None, change.sum(0).mul_(gradient), None, None, None


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, ids: torch.Tensor, weight: torch.Tensor, padding: int | None, meeting: list[torch.Tensor]
    ) -> torch.Tensor:
        ctx.save_for_backward(ids)
        ctx.rows, ctx.padding, ctx.meeting = len(weight), padding, meeting
        return F.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (ids,) = ctx.saved_tensors
        if ctx.padding is not None:
            gradient = gradient.masked_fill((ids == ctx.padding)[..., None], 0.0)
        # The decoder's came before, since it lies behind everything; there is none where logits were asked for.
        whole = ctx.meeting.pop() if ctx.meeting else gradient.new_zeros(ctx.rows, gradient.shape[-1])
        return None, whole.index_add_(0, ids.flatten(), gradient.flatten(0, -2)), None, None
