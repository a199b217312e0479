"""The model families that biolm knows, and what it must know of each: head, positions, last layer.

Models stay stock; what a family says here is checked against the stock forward pass in `tests/model/test_parity.py`.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from biolm.model.attention import attend
from biolm.model.passages import PassageLengths

LastLayer = Callable[[Any, torch.Tensor, PassageLengths, Any], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Family:
    """One `model_type`."""

    head: tuple[str, ...]
    """Names of the head's weights begin with one of these."""
    features: Callable[[Any, torch.Tensor], torch.Tensor]
    """(model, hidden states (n, width)) to what the decoder takes (n, width)."""
    transform: Callable[[Any], Any]
    """The head's square layer."""
    bias: Callable[[Any], torch.nn.Parameter]
    """The head's bias (vocabulary,)."""
    layers: Callable[[Any], torch.nn.ModuleList]
    embedding: Callable[[Any], torch.nn.Embedding]
    """The token embedding."""
    last_layer: LastLayer
    """(layer, hidden (1, tokens, width), passages, rotary embedding) to (1, queries, width)."""
    set_dropout: Callable[[Any, float | None, float | None], None]
    """(model, hidden rate, attention rate): replace the layers' rates where given."""
    attention_dropout: Callable[[Any], float]
    """The rate at which a model drops attention weights in training."""
    classify: Callable[[Any, torch.Tensor], torch.Tensor]
    """(token classifier, hidden states (n, width)) to scores (n, labels), as the stock model makes them."""
    classifier: tuple[str, ...]
    """Names of the weights that only a token classifier has begin with one of these."""


def family_of(config: Any) -> Family:
    """The family of a transformers configuration. Raises KeyError for one that biolm does not know."""
    return FAMILIES[config.model_type]


def first_position(config: Any) -> int:
    """The position id of a passage's first token: RoBERTa starts behind its padding id, the others at 0."""
    return int(config.pad_token_id) + 1 if config.model_type == "roberta" else 0


def token_limit(config: Any) -> int:
    """Tokens that one passage may have, special tokens included: 512 for roberta-base's 514 positions."""
    return int(config.max_position_embeddings) - first_position(config)


def shorten_last_layer(model: Any) -> None:
    """Let the last layer compute only the tokens that `PassageLengths.queries` names, where a row names any.

    The loss looks at masked positions only, and nothing behind the last layer looks at others: of its
    arithmetic only keys and values are needed everywhere. A local last layer (sliding window) stays whole.
    """
    family = family_of(model.config)
    layer: Any = family.layers(model)[-1]
    if getattr(getattr(layer, "attn", None), "sliding_window", None) is not None:
        return
    layer.forward = functools.partial(_last_forward, layer, family.last_layer)
    layer.shortened = True


def shortens(model: Any) -> bool:
    """Whether `shorten_last_layer` was done to a model."""
    return getattr(family_of(model.config).layers(model)[-1], "shortened", False)


def compute_again(model: Any) -> None:
    """Let each layer keep its input alone, and compute its activations again in the backward pass.

    transformers' own switch has another name in each release, and from 5.23 on passes over a shortened last layer.
    """
    for layer in family_of(model.config).layers(model):
        layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False)


def _last_forward(
    layer: Any, last_layer: LastLayer, hidden_states: torch.Tensor, *arguments: Any, **named: Any
) -> torch.Tensor:
    passages = named.get("passages")
    if passages is None or passages.queries is None:
        whole: torch.Tensor = type(layer).forward(layer, hidden_states, *arguments, **named)
        return whole
    return last_layer(layer, hidden_states, passages, named.get("position_embeddings"))


def _bert_last_layer(
    layer: Any, hidden: torch.Tensor, passages: PassageLengths, _rotary: None
) -> torch.Tensor:
    own, wanted = layer.attention.self, passages.queries
    assert wanted is not None
    picked = hidden.index_select(1, wanted.at)

    def heads(states: torch.Tensor) -> torch.Tensor:
        return states.view(1, states.shape[1], -1, own.attention_head_size).transpose(1, 2)

    out = attend(
        heads(own.query(picked)),
        heads(own.key(hidden)),
        heads(own.value(hidden)),
        passages,
        dropout=own.dropout.p if layer.training else 0.0,
        scaling=own.scaling,
        at_queries=True,
    )
    attended = layer.attention.output(out.reshape(1, picked.shape[1], -1), picked)
    result: torch.Tensor = layer.feed_forward_chunk(attended)
    return result


def _modernbert_last_layer(
    layer: Any, hidden: torch.Tensor, passages: PassageLengths, rotary: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    from transformers.models.modernbert.modeling_modernbert import rotate_half

    own, wanted = layer.attn, passages.queries
    assert wanted is not None
    picked = hidden.index_select(1, wanted.at)
    width = hidden.shape[-1]
    weight, bias = own.Wqkv.weight, own.Wqkv.bias  # queries first, then keys and values

    def project(states: torch.Tensor, first: int, last: int) -> torch.Tensor:
        part = F.linear(states, weight[first:last], None if bias is None else bias[first:last])
        return part.view(1, states.shape[1], -1, own.head_dim).transpose(1, 2)

    def turned(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        wide = states if states.dtype == torch.float64 else states.float()
        return ((wide * cos[:, None]) + (rotate_half(wide) * sin[:, None])).to(states.dtype)

    normed, cos, sin = layer.attn_norm(hidden), *rotary
    chosen = normed.index_select(1, wanted.at)
    out = attend(
        turned(project(chosen, 0, width), cos.index_select(1, wanted.at), sin.index_select(1, wanted.at)),
        turned(project(normed, width, 2 * width), cos, sin),
        project(normed, 2 * width, 3 * width),
        passages,
        dropout=own.attention_dropout if layer.training else 0.0,
        scaling=own.head_dim**-0.5,
        at_queries=True,
    )
    attended = picked + own.out_drop(own.Wo(out.reshape(1, picked.shape[1], -1)))
    result: torch.Tensor = attended + layer.mlp(layer.mlp_norm(attended))
    return result


def _set_bert_dropout(model: Any, hidden: float | None, attention: float | None) -> None:
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Dropout):
            rate = attention if name.endswith("attention.self.dropout") else hidden
            module.p = module.p if rate is None else rate


def _set_modernbert_dropout(model: Any, hidden: float | None, attention: float | None) -> None:
    body = model.model
    for layer in body.layers:
        if attention is not None:
            layer.attn.attention_dropout = attention
        if hidden is not None:
            layer.attn.out_drop = torch.nn.Dropout(hidden)  # an Identity where the base has none
            layer.mlp.drop.p = hidden
    if hidden is not None:
        body.embeddings.drop.p = hidden


FAMILIES: dict[str, Family] = {
    "roberta": Family(
        head=("lm_head.",),
        features=lambda model, hidden: model.lm_head.layer_norm(F.gelu(model.lm_head.dense(hidden))),
        transform=lambda model: model.lm_head.dense,
        bias=lambda model: model.lm_head.bias,
        layers=lambda model: model.roberta.encoder.layer,
        embedding=lambda model: model.roberta.embeddings.word_embeddings,
        last_layer=_bert_last_layer,
        set_dropout=_set_bert_dropout,
        attention_dropout=lambda model: model.roberta.encoder.layer[0].attention.self.dropout.p,
        classify=lambda model, hidden: model.classifier(model.dropout(hidden)),
        classifier=("classifier.",),
    ),
    "bert": Family(
        head=("cls.predictions.",),
        features=lambda model, hidden: model.cls.predictions.transform(hidden),
        transform=lambda model: model.cls.predictions.transform.dense,
        bias=lambda model: model.cls.predictions.bias,
        layers=lambda model: model.bert.encoder.layer,
        embedding=lambda model: model.bert.embeddings.word_embeddings,
        last_layer=_bert_last_layer,
        set_dropout=_set_bert_dropout,
        attention_dropout=lambda model: model.bert.encoder.layer[0].attention.self.dropout.p,
        classify=lambda model, hidden: model.classifier(model.dropout(hidden)),
        classifier=("classifier.",),
    ),
    "modernbert": Family(
        head=("head.", "decoder."),
        features=lambda model, hidden: model.head(hidden),
        transform=lambda model: model.head.dense,
        bias=lambda model: model.decoder.bias,
        layers=lambda model: model.model.layers,
        embedding=lambda model: model.model.embeddings.tok_embeddings,
        last_layer=_modernbert_last_layer,
        set_dropout=_set_modernbert_dropout,
        attention_dropout=lambda model: model.model.layers[0].attn.attention_dropout,
        classify=lambda model, hidden: model.classifier(model.drop(model.head(hidden))),
        classifier=("classifier.", "head."),
    ),
}
"""model_type → what biolm knows of it."""
