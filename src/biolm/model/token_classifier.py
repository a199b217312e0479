"""Token classification on packed rows: stock models in, scores of labels at the asked places out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file

from biolm.errors import ModelError, first_line
from biolm.hub import read_config
from biolm.model.crf import LinearChain
from biolm.model.families import family_of
from biolm.model.loading import check_folder, incomplete, read_stock, ready
from biolm.model.masked_lm import IGNORED, Row, RowTensors, row_tensors

CRF_FILE = "crf.safetensors"
"""The transition scores of a model that was trained with some; the stock weights beside it have no place for them."""


def load_token_classifier(
    folder: Path,
    *,
    labels: Sequence[str] | None = None,
    seed: int = 0,
    crf: bool = False,
    hidden_dropout: float | None = None,
    attention_dropout: float | None = None,
) -> Any:
    """The token classifier in a folder, in fp32, its attention set to packed rows.

    With `labels` it is a base to be trained: it gets a new head for them (with `crf` also transition scores, all 0),
    whose first weights follow from `seed`. Without, the folder must hold a whole token classifier, whose labels are in
    `model.config.id2label`. Only safetensors are read and no code of the folder runs. Raises ModelError.
    """
    from transformers import AutoModelForTokenClassification

    family = check_folder(folder)
    settings: dict[str, Any] = {}
    if labels is not None:
        settings = {
            "num_labels": len(labels),
            "id2label": dict(enumerate(labels)),
            "label2id": {label: number for number, label in enumerate(labels)},
            "ignore_mismatched_sizes": True,
        }
    with torch.random.fork_rng(devices=[]):  # what is drawn for a head that is not there reaches nobody
        model, missing = read_stock(folder, AutoModelForTokenClassification, **settings)
    of_head = {key for key in missing if key.startswith(family.classifier)}
    if missing - of_head:
        raise incomplete(folder, missing - of_head)
    if labels is None and of_head:
        architecture = (read_config(folder).get("architectures") or ["a model without labels"])[0]
        raise ModelError(
            f"{folder} is no token classifier ({architecture}); make one of it with `biolm finetune`"
        )
    count = model.config.num_labels
    if labels is not None:
        _start_classifier(model, seed)
    if crf:
        model.crf = LinearChain(count)
    elif labels is None and (folder / CRF_FILE).is_file():
        model.crf = _read_crf(folder / CRF_FILE, count)
    ready(model, hidden_dropout, attention_dropout)
    if hidden_dropout is not None and hasattr(model, "drop"):  # ModernBERT's, before the classifier
        model.drop.p = hidden_dropout
    return model


def token_scores(model: Any, row: RowTensors) -> torch.Tensor:
    """Unnormalized scores (asked, labels) at the row's `masked` places, of a model from `load_token_classifier`."""
    hidden = model.base_model(input_ids=row.input_ids, position_ids=row.position_ids, passages=row.passages)[
        0
    ][0]
    if row.passages.queries is None:
        hidden = hidden.index_select(0, row.masked)
    scores: torch.Tensor = family_of(model.config).classify(model, hidden)
    return scores


@torch.inference_mode()
def row_scores(model: Any, row: Row) -> torch.Tensor:
    """`token_scores` of a plain row, in fp32 on the CPU."""
    return token_scores(model, row_tensors(model, row)).float().cpu()


class PackedTokenClassifier(torch.nn.Module):
    """A model from `load_token_classifier`, from a packed row to its loss and hits."""

    def __init__(
        self,
        model: Any,
        *,
        fused: bool = False,  # layers see to that themselves
        class_weights: torch.Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        """`class_weights` (labels,): of each token's loss by its label. Neither they nor smoothing go with a CRF."""
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing
        self.class_weights: torch.Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, row: RowTensors, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(loss summed over the (asked,) labels that are not IGNORED, how many of them have the highest score)."""
        scores = token_scores(self.model, row)
        wide = scores if scores.dtype == torch.float64 else scores.float()
        hits = (wide.detach().argmax(1) == labels).sum()
        crf = getattr(self.model, "crf", None)
        if crf is not None:
            passage = torch.bucketize(row.masked, row.passages.boundaries[1:].long(), right=True)
            real = labels != IGNORED
            return crf.loss(wide[real], labels[real], passage[real]), hits
        return F.cross_entropy(
            wide,
            labels,
            weight=self.class_weights,
            reduction="sum",
            ignore_index=IGNORED,
            label_smoothing=self.label_smoothing,
        ), hits


def _start_classifier(model: Any, seed: int) -> None:
    """Draw the new head's weights anew from `seed` alone: what was drawn before them depends on the base's files."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        weight = model.classifier.weight
        weight.copy_(torch.randn(weight.shape, generator=generator) * model.config.initializer_range)
        model.classifier.bias.zero_()


def _read_crf(path: Path, labels: int) -> LinearChain:
    chain = LinearChain(labels)
    try:
        chain.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path} cannot be used: {first_line(error)}; train the model again") from None
    return chain
