"""The forward pass on a packed row: logits, loss and scores at masked positions only.

The head is 31 % of roberta-base's arithmetic when it runs on every token, for 15 % of them to matter.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from biolm.errors import ModelError
from biolm.model.attention import PACKED, has_varlen
from biolm.model.families import family_of, first_position, shortens
from biolm.model.passages import PassageLengths, send

IGNORED = -100
"""A label that counts for nothing: torch's `ignore_index`."""


class Row(Protocol):
    """What the forward pass reads of a packed row (`biolm.batches.packing.PackedRow`)."""

    @property
    def input_ids(self) -> NDArray[np.int64]:
        """(tokens,)."""

    @property
    def segments(self) -> NDArray[np.int64]:
        """(slots,): tokens of each passage, then of padding, then zeros; they add up to `tokens`."""

    @property
    def masked_positions(self) -> NDArray[np.int64]:
        """(masked,): ascending; behind them, in a row of fixed shape, places whose labels are IGNORED."""


@dataclass(frozen=True, slots=True)
class AskedRow:
    """A row of passages and the places where logits are wanted: what `Row` says and nothing else."""

    input_ids: NDArray[np.int64]
    segments: NDArray[np.int64]
    masked_positions: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RowTensors:
    """A row on the model's device."""

    input_ids: torch.Tensor
    """(1, tokens) int64."""
    position_ids: torch.Tensor
    """(1, tokens) int64: from the family's first position on, anew in each passage."""
    masked: torch.Tensor
    """(masked,) int64."""
    passages: PassageLengths


@dataclass(frozen=True, slots=True)
class Scores:
    """How the model did at each masked position of a row; every array is (masked,)."""

    loss: NDArray[np.float64]
    """Negative log-probability of the original token, in nats."""
    rank: NDArray[np.int64]
    """Tokens before the original by logit (by id where logits are equal): 0 is a hit."""
    predicted: NDArray[np.int64]
    """The likeliest token."""
    confidence: NDArray[np.float64]
    """The probability that the model gives to the likeliest token."""


def row_tensors(model: Any, row: Row) -> RowTensors:
    """A row on the device of a model from `load_model`, without waiting for the device.

    One without masked positions goes whole through the last layer: DDP and FSDP2 want gradients, of zeros here, of
    every weight, its keys' and values' too.
    """
    device = model.device
    positions = np.asarray(row.masked_positions)
    labels = getattr(row, "labels", None)
    if labels is not None:  # padding asks for the last token, so that places stay in order
        positions = np.where(labels == IGNORED, len(row.input_ids) - 1, positions)
    arrays, build = PassageLengths.planned(
        row.segments,
        queries=positions if shortens(model) and len(positions) else None,
        bucketed=device.type == "cuda" and not _varlen(model),
    )
    places = _positions(row.segments, first_position(model.config))
    input_ids, position_ids, masked, *others = send([row.input_ids, places, positions, *arrays], device)
    return RowTensors(input_ids[None], position_ids[None], masked, build(iter(others)))


def logits_at_masked(model: Any, row: RowTensors) -> torch.Tensor:
    """Logits (masked, vocabulary) at the row's masked positions, of a stock masked language model."""
    logits: torch.Tensor = model.get_output_embeddings()(features_at_masked(model, row))
    return logits


def features_at_masked(model: Any, row: RowTensors) -> torch.Tensor:
    """What the decoder makes logits of, (masked, width)."""
    hidden = model.base_model(input_ids=row.input_ids, position_ids=row.position_ids, passages=row.passages)[
        0
    ][0]
    if row.passages.queries is None:
        hidden = hidden.index_select(0, row.masked)
    return family_of(model.config).features(model, hidden)


def packed_logits(model: Any, row: Row) -> torch.Tensor:
    """Logits (masked, vocabulary) at the row's masked positions, of a stock masked language model."""
    if model.config._attn_implementation != PACKED:
        raise ValueError(
            f"the model's attention is {model.config._attn_implementation}; load it with load_model"
        )
    return logits_at_masked(model, row_tensors(model, row))


def cross_entropy_sum(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Cross-entropy (in fp32 or float64) summed over the (masked,) targets that are not IGNORED.

    The caller divides by the step's global count.
    """
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(wide, target, reduction="sum", ignore_index=IGNORED)


@torch.no_grad()
def score_row(model: Any, row: Row, labels: NDArray[np.int64], chunk: int = 64) -> Scores:
    """Loss, rank and prediction at each masked position; fp32, `chunk` positions at a time, which a cache can hold."""
    logits = packed_logits(model, row)
    losses, ranks, predictions, confidences = [], [], [], []
    for part, target in zip(
        logits.split(chunk), torch.from_numpy(labels).to(logits.device).split(chunk), strict=True
    ):
        part = part.float()
        own = part.gather(1, target[:, None])
        if not torch.isfinite(own).all():
            raise ModelError(
                "the model gives logits that are not finite: its weights are damaged, or diverged"
            )
        largest, likeliest = part.max(1)
        total = part.logsumexp(1)
        losses.append((total - own[:, 0]).clamp_min(0))
        ranks.append(_ranks(part, own, target))
        predictions.append(likeliest)
        confidences.append((largest - total).exp())
    return Scores(
        loss=torch.cat(losses).double().cpu().numpy() if losses else np.empty(0),
        rank=torch.cat(ranks).cpu().numpy() if ranks else np.empty(0, np.int64),
        predicted=torch.cat(predictions).cpu().numpy() if predictions else np.empty(0, np.int64),
        confidence=torch.cat(confidences).double().cpu().numpy() if confidences else np.empty(0),
    )


def _ranks(logits: torch.Tensor, own: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """(n,) how many of (n, vocabulary) come before the logit `own` (n, 1) of the id `target` (n,)."""
    ranks = (logits > own).sum(1)
    equal = logits == own
    if (equal.sum(1) > 1).any():  # rarely; of equal logits the lower id comes first
        before = torch.arange(logits.shape[1], device=logits.device) < target[:, None]
        ranks += (equal & before).sum(1)
    return ranks


def _varlen(model: Any) -> bool:
    """Whether the layers of a model on CUDA will find their varlen kernel: half precision, no attention dropout."""
    return (
        has_varlen(model.device)
        and torch.is_autocast_enabled("cuda")
        and not (model.training and family_of(model.config).attention_dropout(model))
    )


def _positions(segments: NDArray[np.int64], first: int) -> NDArray[np.int64]:
    starts = np.cumsum(segments) - segments
    return np.arange(first, first + int(segments.sum()), dtype=np.int64) - np.repeat(starts, segments)
