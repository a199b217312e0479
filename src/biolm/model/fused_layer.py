"""A BERT layer's forward and backward pass written out for a CPU: the same arithmetic in fewer passes over memory.

Autograd, which sees one operation at a time, copies each bias before it adds to it, gathers the gradients of passages
and of queries, keys and values from tensors of their own, and adds up at the end. Here every matrix product writes, or
adds, to where its result belongs. Values and gradients are those of the stock layer (`tests/model/test_parity.py`).
"""

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from biolm.model.dropout import Dropout, draw_kept, drop
from biolm.model.families import family_of
from biolm.model.passages import PassageLengths

_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_attention_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class _Weights(NamedTuple):
    """Of one layer; matrices are (out, in), as torch.nn.Linear keeps them."""

    query: torch.Tensor
    query_bias: torch.Tensor
    key: torch.Tensor
    key_bias: torch.Tensor
    value: torch.Tensor
    value_bias: torch.Tensor
    mix: torch.Tensor
    mix_bias: torch.Tensor
    up: torch.Tensor
    up_bias: torch.Tensor
    down: torch.Tensor
    down_bias: torch.Tensor
    mix_norm: torch.Tensor
    mix_norm_bias: torch.Tensor
    down_norm: torch.Tensor
    down_norm_bias: torch.Tensor


def fuse_layers(model: Any) -> None:
    """Let a RoBERTa or BERT model's layers compute as this module does, wherever they can (`_can`).

    Not a last one that `shorten_last_layer` has changed. What a layer did before is its `unfused`.
    """
    if model.config.model_type not in ("roberta", "bert"):
        return
    layers: Iterable[Any] = family_of(model.config).layers(model)
    for layer in layers:
        if not getattr(layer, "shortened", False):
            layer.unfused = layer.forward
            layer.forward = functools.partial(_forward, layer)


def _forward(layer: Any, hidden_states: torch.Tensor, *arguments: Any, **named: Any) -> torch.Tensor:
    passages, own, mix = named.get("passages"), layer.attention.self, layer.attention.output
    drops = (mix.dropout, layer.output.dropout)
    if (
        passages is None
        or not _can(hidden_states, passages)
        or (own.dropout.training and own.dropout.p)
        or _changed(layer)
    ):
        unfused: torch.Tensor = layer.unfused(hidden_states, *arguments, **named)
        return unfused
    linear = (own.query, own.key, own.value, mix.dense, layer.intermediate.dense, layer.output.dense)
    norms = (mix.LayerNorm, layer.output.LayerNorm)
    shape = (own.num_attention_heads, float(norms[0].eps), tuple(n for n in passages.lengths if n))
    rates = tuple(part.p if part.training else 0.0 for part in drops)
    weights = [each for part in (*linear, *norms) for each in (part.weight, part.bias)]
    out: torch.Tensor = _Layer.apply(hidden_states, *shape, rates, *weights)
    return out


def _can(hidden: torch.Tensor, passages: PassageLengths) -> bool:
    """In full precision on a CPU, one passage at a time."""
    return (
        hidden.device.type == "cpu"
        and hidden.shape[0] == 1
        and hidden.dtype in (torch.float32, torch.float64)
        and not passages.buckets
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def _changed(layer: Any) -> bool:
    """Whether a part is not the stock one (an adapter, another activation, no bias), or somebody listens to it."""
    plain = (torch.nn.Linear, torch.nn.LayerNorm, torch.nn.Dropout, Dropout)
    for part in layer.modules():
        if part is layer:
            continue
        kind = type(part)
        hooks = part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks
        if any(hooks) or "forward" in vars(part):
            return True
        if kind not in plain and not kind.__module__.startswith("transformers."):
            return True
        if kind in plain[:2] and part.bias is None:
            return True
    return getattr(layer.intermediate.intermediate_act_fn, "act", None) is not F.gelu


def _heads(states: torch.Tensor, heads: int) -> torch.Tensor:
    """A view (1, heads, tokens, head size) of (tokens, width)."""
    return states.view(1, states.shape[0], heads, -1).transpose(1, 2)


def _add(
    states: torch.Tensor,
    inputs: torch.Tensor,
    matrix: torch.Tensor,
    bias: torch.Tensor,
    drawn: tuple[torch.Tensor, float] | None,
) -> torch.Tensor:
    """states + dropout(linear(inputs)), in a tensor of its own."""
    if drawn is None:
        return (states + bias).addmm_(inputs, matrix.t())
    kept, factor = drawn
    return torch.mm(inputs, matrix.t()).add_(bias).mul_(kept).mul_(factor).add_(states)


class _Layer(torch.autograd.Function):
    """(1, tokens, width) to (1, tokens, width)."""

    @staticmethod
    def forward(
        ctx: Any,
        states: torch.Tensor,
        heads: int,
        eps: float,
        lengths: tuple[int, ...],
        rates: tuple[float, float],
        *weights: torch.Tensor,
    ) -> torch.Tensor:
        w, hidden, width = _Weights(*weights), states[0], states.shape[2]
        draws = [draw_kept(hidden.shape, rate) if rate else None for rate in rates]
        projected = hidden.new_empty(hidden.shape[0], 3 * width)  # queries, keys and values beside each other
        for part, matrix in zip(projected.split(width, 1), (w.query, w.key, w.value), strict=True):
            torch.mm(hidden, matrix.t(), out=part)
        projected += torch.cat([w.query_bias, w.key_bias, w.value_bias])
        query, key, value = (_heads(part, heads).split(lengths, 2) for part in projected.split(width, 1))
        attended = torch.empty_like(hidden)
        totals = []
        for q, k, v, place in zip(query, key, value, _heads(attended, heads).split(lengths, 2), strict=True):
            out, total = _attention(q, k, v)
            place.copy_(out)
            totals.append(total)
        mixed = _add(hidden, attended, w.mix, w.mix_bias, draws[0])
        middle, *mixed_by = torch.native_layer_norm(mixed, [width], w.mix_norm, w.mix_norm_bias, eps)
        raised = torch.mm(middle, w.up.t()).add_(w.up_bias)
        active = F.gelu(raised)
        lowered = _add(middle, active, w.down, w.down_bias, draws[1])
        # With the row's first dimension here already: FSDP2 wants no view for an output.
        out, *lowered_by = torch.native_layer_norm(lowered[None], [width], w.down_norm, w.down_norm_bias, eps)
        inner = (projected, attended, mixed, *mixed_by, middle, raised, active, lowered, *lowered_by)
        ctx.save_for_backward(
            hidden, *weights, *inner, *(drawn[0] if drawn else None for drawn in draws), *totals
        )
        ctx.heads, ctx.lengths, ctx.factors = heads, lengths, [drawn[1] if drawn else 1.0 for drawn in draws]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden, *saved = ctx.saved_tensors
        weights, saved = saved[: len(_Weights._fields)], saved[len(_Weights._fields) :]
        projected, attended, mixed, mean, deviation, middle, *saved = saved
        raised, active, lowered, mean_below, deviation_below, mix_kept, down_kept, *totals = saved
        w, width, heads, lengths = _Weights(*weights), hidden.shape[1], ctx.heads, ctx.lengths
        found: dict[str, torch.Tensor] = {}
        wanted = dict(zip(_Weights._fields, ctx.needs_input_grad[5:], strict=True))

        def linear(name: str, out: torch.Tensor, inputs: torch.Tensor) -> None:
            if wanted[name]:
                found[name] = torch.mm(out.t(), inputs)
            if wanted[f"{name}_bias"]:
                found[f"{name}_bias"] = out.sum(0)

        below, found["down_norm"], found["down_norm_bias"] = torch.ops.aten.native_layer_norm_backward(
            gradient[0],
            lowered,
            [width],
            mean_below[0],
            deviation_below[0],
            w.down_norm,
            w.down_norm_bias,
            [True] * 3,
        )
        dropped = below if down_kept is None else drop(below, down_kept, ctx.factors[1])
        linear("down", dropped, active)
        inner = torch.mm(dropped, w.down)
        torch.ops.aten.gelu_backward.grad_input(inner, raised, grad_input=inner)
        linear("up", inner, middle)
        below.addmm_(inner, w.up)
        above, found["mix_norm"], found["mix_norm_bias"] = torch.ops.aten.native_layer_norm_backward(
            below, mixed, [width], mean, deviation, w.mix_norm, w.mix_norm_bias, [True] * 3
        )
        dropped = above if mix_kept is None else drop(above, mix_kept, ctx.factors[0])
        linear("mix", dropped, attended)
        outward = _heads(torch.mm(dropped, w.mix), heads).split(lengths, 2)
        query, key, value = (_heads(part, heads).split(lengths, 2) for part in projected.split(width, 1))
        change = torch.empty_like(projected)
        places = [_heads(part, heads).split(lengths, 2) for part in change.split(width, 1)]
        results = _heads(attended, heads).split(lengths, 2)
        for i, total in enumerate(totals):
            passage = (query[i], key[i], value[i], results[i], total)
            for part, place in zip(
                _attention_backward(outward[i], *passage, 0.0, False), places, strict=True
            ):
                place[i].copy_(part)
        for name, part in zip(("query", "key", "value"), change.split(width, 1), strict=True):
            linear(name, part, hidden)
            above.addmm_(part, getattr(w, name))
        return (above[None], None, None, None, None, *(found.get(name) for name in _Weights._fields))
