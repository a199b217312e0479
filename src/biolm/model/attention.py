"""Attention in which a packed row's passages do not see each other.

Registered with transformers under the name PACKED. Two traps that this file exists for: with the stock names
("sdpa", "eager", "flex_attention") transformers lets a flattened row attend across its passages silently;
and a name that transformers does not know drops a 2-D padding mask silently. So this function raises
whenever it is not told the passages' lengths.
"""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from transformers import AttentionInterface

from biolm.model.passages import Bucket, PassageLengths

PACKED = "biolm_packed"


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    passages: PassageLengths | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Bidirectional attention within each passage of a row.

    query, key, value: (1, heads, tokens, head size); returns (1, tokens, heads, head size). With a
    `sliding_window` of w a token sees those at most w - 1 away (ModernBERT's local layers).
    """
    if passages is None or attention_mask is not None:
        raise ValueError(
            "packed attention needs the passages' lengths and no padding mask; "
            "call biolm.model.masked_lm, or set another attn_implementation"
        )
    return attend(query, key, value, passages, dropout=dropout, scaling=scaling, window=sliding_window), None


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    passages: PassageLengths,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    window: int | None = None,
    at_queries: bool = False,
) -> torch.Tensor:
    """What `packed_attention` returns. `at_queries`: `query` holds the row's `passages.queries` alone.

    On CUDA in bf16 or fp16 without dropout, one varlen kernel (torch.nn.attention.varlen; compute capability 8.0);
    elsewhere on CUDA one scaled_dot_product_attention for passages of about the same length; on a CPU one for each
    passage.
    """
    half = query.dtype in (torch.bfloat16, torch.float16)
    if query.is_cuda and half and dropout == 0.0 and has_varlen(query.device):
        return _varlen(query, key, value, passages, scaling, window, at_queries)
    if passages.buckets and not at_queries:
        return _by_length(query, key, value, passages, dropout, scaling, window)
    return _one_by_one(query, key, value, passages, dropout, scaling, window, at_queries)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def has_varlen(device: torch.device) -> bool:
    """Whether a device has the kernel that takes passages of any lengths."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


# Compiled, both would be so anew for each row's lengths, until torch.compile gives up after eight.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def _one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    passages: PassageLengths,
    dropout: float,
    scaling: float | None,
    window: int | None,
    at_queries: bool,
) -> torch.Tensor:
    counts = passages.lengths
    if at_queries:
        assert passages.queries is not None
        assert window is None
        counts = passages.queries.counts
    parts = []
    for q, k, v in zip(
        query.split(counts, dim=2),
        key.split(passages.lengths, dim=2),
        value.split(passages.lengths, dim=2),
        strict=True,
    ):
        if q.shape[2] == 0:
            continue
        length = k.shape[2]
        band = None if window is None or length <= window else _band(length, window, q.device)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=band, dropout_p=dropout, scale=scaling)
        parts.append(out.transpose(1, 2))
    return torch.cat(parts, dim=1)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _by_length(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    passages: PassageLengths,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> torch.Tensor:
    """Passages of about the same length together, the shorter ones padded and their padding hidden."""
    assert passages.from_buckets is not None

    def gather(tensor: torch.Tensor, bucket: Bucket) -> torch.Tensor:
        return tensor[0][:, bucket.tokens].transpose(0, 1)  # (passages, heads, longest, head size)

    parts = []
    for bucket in passages.buckets:
        mask = bucket.real[:, None, None, :]
        longest = bucket.tokens.shape[1]
        if window is not None and longest > window:
            mask = mask & _band(longest, window, query.device)
        out = F.scaled_dot_product_attention(
            gather(query, bucket),
            gather(key, bucket),
            gather(value, bucket),
            attn_mask=mask,
            dropout_p=dropout,
            scale=scaling,
        )
        parts.append(out.transpose(1, 2).flatten(0, 1).index_select(0, bucket.kept))
    return torch.cat(parts).index_select(0, passages.from_buckets)[None]


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    passages: PassageLengths,
    scaling: float | None,
    window: int | None,
    at_queries: bool,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    boundaries, longest = passages.boundaries, passages.longest
    if at_queries:
        assert passages.queries is not None
        boundaries, longest = passages.queries.boundaries, passages.queries.longest
    out = varlen_attn(
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        boundaries,
        passages.boundaries,
        longest,
        passages.longest,
        scale=scaling,
        window_size=(-1, -1) if window is None else (window - 1, window - 1),
    )
    assert isinstance(out, torch.Tensor)
    return out[None]


@functools.lru_cache(maxsize=8)
def _band(length: int, window: int, device: torch.device) -> torch.Tensor:
    """(length, length) bool: which tokens are at most window - 1 apart."""
    place = torch.arange(length, device=device)
    return (place[:, None] - place[None, :]).abs() < window


AttentionInterface.register(PACKED, packed_attention)
