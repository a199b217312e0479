"""Attention in which a packed row's passages do not see each other.

Registered with transformers under the name PACKED. Two traps that this file exists for: with the stock names
("sdpa", "eager", "flex_attention") transformers lets a flattened row attend across its passages silently;
and a name that transformers does not know drops a 2-D padding mask silently. So this function raises
whenever it is not told the passages' lengths.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface

PACKED = "biolm_packed"


@dataclass(frozen=True, slots=True)
class PassageLengths:
    """How a packed row is divided; built once a row, read by every layer."""

    lengths: tuple[int, ...]
    """Tokens of each passage, in the order of the row."""
    boundaries: torch.Tensor
    """(passages + 1,) int32 on the model's device: running sum from 0, as varlen kernels want it."""

    @classmethod
    def of(cls, lengths: "list[int] | tuple[int, ...]", device: torch.device) -> "PassageLengths":
        """From the plain lengths."""
        ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
        return cls(tuple(lengths), ends.to(device, non_blocking=True))


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    passages: PassageLengths | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Bidirectional attention within each passage of a row.

    query, key, value: (1, heads, tokens, head size); returns (1, tokens, heads, head size). On CUDA in
    bf16 or fp16 without dropout, one varlen kernel (torch.nn.attention.varlen; it has no dropout); elsewhere one
    scaled_dot_product_attention for each passage. Not yet run on a GPU.
    """
    if passages is None or attention_mask is not None:
        raise ValueError(
            "packed attention needs the passages' lengths and no padding mask; "
            "call biolm.model.masked_lm, or set another attn_implementation"
        )
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and dropout == 0.0:
        return _varlen(query, key, value, scaling, passages), None
    parts = [
        F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling)
        for q, k, v in zip(
            query.split(passages.lengths, dim=2),
            key.split(passages.lengths, dim=2),
            value.split(passages.lengths, dim=2),
            strict=True,
        )
    ]
    return torch.cat([part.transpose(1, 2) for part in parts], dim=1), None


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    passages: PassageLengths,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    longest = max(passages.lengths)
    out = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        passages.boundaries,
        passages.boundaries,
        longest,
        longest,
        scale=scaling,
    )
    assert isinstance(out, torch.Tensor)
    return out[None]


AttentionInterface.register(PACKED, packed_attention)
