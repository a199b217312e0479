"""How a row is divided for each way of computing attention, and that the ways agree, for any lengths."""

import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from biolm.model import attention
from biolm.model.attention import attend, has_varlen, packed_attention
from biolm.model.passages import PassageLengths, lay_together, take_apart

CPU = torch.device("cpu")
HEADS, SIZE = 2, 4
lengths_of_a_row = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)
windows = st.one_of(st.none(), st.integers(1, 45))


@given(lengths_of_a_row, st.data())
def test_boundaries_and_queries_add_up(lengths: list[int], data: st.DataObject):
    total = sum(lengths)
    queries = np.array(sorted(data.draw(st.lists(st.integers(0, total - 1), max_size=30))), np.int64)
    passages = PassageLengths.of(lengths, CPU, queries=queries)
    assert passages.lengths == tuple(lengths)
    assert passages.boundaries.dtype == torch.int32
    assert passages.boundaries.tolist() == [0, *np.cumsum(lengths)]
    assert passages.longest >= max(lengths)
    assert passages.longest % 128 == 0
    assert passages.queries is not None
    assert passages.queries.at.tolist() == queries.tolist()
    assert passages.queries.boundaries.tolist() == [0, *np.cumsum(passages.queries.counts)]
    passage_of = np.repeat(np.arange(len(lengths)), lengths)
    expected = np.bincount(passage_of[queries], minlength=len(lengths))
    assert passages.queries.counts == tuple(expected)
    assert passages.queries.longest >= max(expected)


def test_a_passage_may_be_asked_for_more_than_it_has_tokens():
    """As the last one of a fixed row is; a kernel that is told fewer leaves the others' memory as it was."""
    passages = PassageLengths.of([3, 20], CPU, queries=np.array([1] + [22] * 300, np.int64))
    assert passages.longest == 128
    assert passages.queries is not None
    assert passages.queries.longest == 384


@given(lengths_of_a_row)
def test_each_token_is_in_one_bucket_beside_passages_of_about_its_own_length(lengths: list[int]):
    passages = PassageLengths.of(lengths, CPU, bucketed=True)
    assert passages.from_buckets is not None
    passage_of = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    places = []
    for bucket in passages.buckets:
        assert bucket.tokens.shape == bucket.real.shape
        own = bucket.real.sum(1).tolist()
        assert max(own) == bucket.real.shape[1] <= 1.25 * min(own)
        assert torch.equal(bucket.real.flatten().nonzero().flatten(), bucket.kept)
        for row in bucket.tokens:
            assert len(passage_of[row].unique()) == 1  # padding too is of the passage
        places.append(bucket.tokens[bucket.real])
    assert torch.cat(places)[passages.from_buckets].tolist() == list(range(sum(lengths)))


def inputs(tokens: int, queries: int | None = None) -> list[torch.Tensor]:
    """query, key and value of a row."""
    generator = torch.Generator().manual_seed(tokens)
    return [
        torch.randn(1, HEADS, count, SIZE, dtype=torch.float64, generator=generator, requires_grad=True)
        for count in (tokens if queries is None else queries, tokens, tokens)
    ]


def plain(
    inputs: Sequence[torch.Tensor],
    lengths: Sequence[int],
    window: int | None,
    at: Sequence[int] | None = None,
) -> torch.Tensor:
    """The whole (tokens x tokens) square, from the definition."""
    query, key, value = inputs
    passage = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    place = torch.arange(len(passage))
    seen = passage[:, None] == passage[None, :]
    if window is not None:
        seen &= (place[:, None] - place[None, :]).abs() <= window - 1
    if at is not None:
        seen = seen[list(at)]
    scores = (query @ key.transpose(2, 3) / SIZE**0.5).masked_fill(~seen, -torch.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2)


def gradients(out: torch.Tensor, of: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    weights = torch.arange(out.numel(), dtype=out.dtype).reshape(out.shape).sin()
    return list(torch.autograd.grad((out * weights).sum(), of))


def assert_same(
    ours: torch.Tensor, wanted: torch.Tensor, mine: Sequence[torch.Tensor], others: Sequence[torch.Tensor]
) -> None:
    torch.testing.assert_close(ours, wanted, rtol=1e-9, atol=1e-10)
    for found, expected in zip(gradients(ours, mine), gradients(wanted, others), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("bucketed", [False, True])
@given(lengths=lengths_of_a_row, window=windows)
@settings(deadline=None)
def test_tokens_see_their_own_passage_within_the_window_and_no_more(
    bucketed: bool, lengths: list[int], window: int | None
):
    passages = PassageLengths.of(lengths, CPU, bucketed=bucketed)
    mine, others = inputs(sum(lengths)), inputs(sum(lengths))
    out, _ = packed_attention(
        torch.nn.Module(), *mine, None, sliding_window=window, passages=passages, scaling=SIZE**-0.5
    )
    assert_same(out, plain(others, lengths, window), mine, others)


@given(lengths=lengths_of_a_row, data=st.data())
@settings(deadline=None)
def test_some_queries_alone_see_what_they_see_among_all(lengths: list[int], data: st.DataObject):
    at = sorted(data.draw(st.lists(st.integers(0, sum(lengths) - 1), min_size=1, max_size=20)))
    passages = PassageLengths.of(lengths, CPU, queries=np.array(at, np.int64))
    mine, others = inputs(sum(lengths), len(at)), inputs(sum(lengths), len(at))
    out = attend(*mine, passages, at_queries=True)
    assert_same(out, plain(others, lengths, None, at), mine, others)


# Dropout


@pytest.mark.parametrize("bucketed", [False, True])
def test_dropout_drops_attention_weights_at_its_rate_and_keeps_their_sum(bucketed: bool):
    """Where all values are 1, a token's output is the sum of its weights that were kept."""
    lengths = [30, 25, 28, 7, 40]
    query, key, _ = (part.detach() for part in inputs(sum(lengths)))
    value = torch.ones_like(key)
    passages = PassageLengths.of(lengths, CPU, bucketed=bucketed)
    torch.manual_seed(0)
    sums = torch.stack([attend(query, key, value, passages, dropout=0.25) for _ in range(400)])
    assert sums.std() > 0.1
    torch.testing.assert_close(sums.mean(), torch.tensor(1.0, dtype=sums.dtype), rtol=2e-3, atol=0)
    assert (sums.mean(0) - 1).abs().max() < 0.25
    assert torch.equal(attend(query, key, value, passages), attend(query, key, value, passages, dropout=0.0))
    torch.manual_seed(1)
    first = attend(query, key, value, passages, dropout=0.25)
    torch.manual_seed(1)
    assert torch.equal(first, attend(query, key, value, passages, dropout=0.25))


@pytest.mark.parametrize("bucketed", [False, True])
def test_dropout_lets_no_passage_see_another(bucketed: bool):
    lengths = [30, 25, 28, 7]
    query, key, value = (part.detach() for part in inputs(sum(lengths)))
    passages = PassageLengths.of(lengths, CPU, bucketed=bucketed)
    torch.manual_seed(0)
    before = attend(query, key, value, passages, dropout=0.25, window=9)
    value[:, :, 30:55] += 100.0
    torch.manual_seed(0)
    after = attend(query, key, value, passages, dropout=0.25, window=9)
    same = (before == after).all(-1).all(-1)[0]
    assert same[:30].all()
    assert not same[30:55].any()
    assert same[55:].all()


# The varlen kernel, as far as a machine without a GPU goes


class PlainKernel(TorchDispatchMode):
    """Computes torch's varlen operators from their documentation, and remembers how they were called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.torch_attn._varlen_attn.default:
            named = self._named(func, args, kwargs)
            self.calls.append(tuple(named[key] for key in ("max_q", "max_k", "window_size", "scale")))
            out = torch.zeros_like(named["query"])
            for queries, keys, weights in self._weights(named):
                out[queries] = torch.einsum("hqk,khd->qhd", weights, named["value"][keys])
            return out, torch.zeros(out.shape[1], out.shape[0]), torch.zeros(2, dtype=torch.uint64)
        if func is torch.ops.torch_attn._varlen_attn_backward.default:
            named = self._named(func, args, kwargs)
            q, k, v, given = (named[key] for key in ("query", "key", "value", "grad_out"))
            of_q, of_k, of_v = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
            for queries, keys, weights in self._weights(named):
                of_v[keys] = torch.einsum("hqk,qhd->khd", weights, given[queries])
                of_weights = torch.einsum("qhd,khd->hqk", given[queries], v[keys])
                of_scores = weights * (of_weights - (weights * of_weights).sum(-1, keepdim=True))
                of_q[queries] = named["scale"] * torch.einsum("hqk,khd->qhd", of_scores, k[keys])
                of_k[keys] = named["scale"] * torch.einsum("hqk,qhd->khd", of_scores, q[queries])
            return of_q, of_k, of_v
        return func(*args, **kwargs)

    @staticmethod
    def _named(func: Any, args: Any, kwargs: Any) -> dict[str, Any]:
        given = [argument.name for argument in func._schema.arguments]
        defaults = {
            argument.name: argument.default_value
            for argument in func._schema.arguments
            if argument.has_default_value()
        }
        return {**defaults, **dict(zip(given, args, strict=False)), **kwargs}

    @staticmethod
    def _weights(named: dict[str, Any]) -> Iterator[tuple[slice, slice, torch.Tensor]]:
        """Of each passage: its queries, its keys, and (heads, queries, keys) what is seen of them."""
        assert not named["is_causal"]
        ends = named["cu_seq_q"], named["cu_seq_k"]
        assert all(boundaries.dtype == torch.int32 for boundaries in ends)
        left, right = named["window_size"] or (-1, -1)
        for queries, keys in zip(*(pairwise(boundaries.tolist()) for boundaries in ends), strict=True):
            q, k = named["query"][slice(*queries)], named["key"][slice(*keys)]
            assert len(q) <= named["max_q"]
            assert len(k) <= named["max_k"]
            apart = torch.arange(len(q))[:, None] - torch.arange(len(k))[None, :]
            hidden = (left >= 0) & (apart > left) | (right >= 0) & (-apart > right)
            scores = torch.einsum("qhd,khd->hqk", q, k) * named["scale"]
            yield slice(*queries), slice(*keys), scores.masked_fill(hidden, -torch.inf).softmax(-1)


@given(lengths=lengths_of_a_row, window=windows, data=st.data())
@settings(deadline=None, max_examples=50)
def test_the_varlen_kernel_is_asked_for_the_same_attention(
    lengths: list[int], window: int | None, data: st.DataObject
):
    pytest.importorskip("torch.nn.attention.varlen")
    total, at = sum(lengths), None
    if data.draw(st.booleans(), label="at queries"):
        at = sorted(data.draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=20)))
        window = None  # a local last layer is computed whole
    passages = PassageLengths.of(lengths, CPU, queries=None if at is None else np.array(at, np.int64))
    mine, others = (inputs(total, None if at is None else len(at)) for _ in range(2))
    with PlainKernel() as kernel:
        out = attention._varlen(*mine, passages, SIZE**-0.5, window, at is not None)
        wanted = plain(others, lengths, window, at)
        assert_same(out, wanted, mine, others)
    sides = [-1, -1] if window is None else [window - 1, window - 1]
    assert kernel.calls == [(128, 128, sides, SIZE**-0.5)]


def test_the_varlen_kernel_is_given_shapes_that_torch_itself_accepts():
    """On the meta device, through torch's own shape functions, forward and backward, in bf16."""
    lengths = [200, 3, 0, 57]
    passages = PassageLengths.of(lengths, torch.device("meta"), queries=np.array([0, 7, 259]))
    assert passages.longest == 256
    for count, at_queries in ((260, False), (3, True)):
        shape = (1, 12, count, 64)
        query = torch.empty(shape, device="meta", dtype=torch.bfloat16, requires_grad=True)
        key, value = torch.empty(2, 1, 12, 260, 64, device="meta", dtype=torch.bfloat16).unbind()
        out = attention._varlen(query, key, value, passages, 0.125, None, at_queries)
        assert out.shape == (1, count, 12, 64)
        assert out.dtype == torch.bfloat16
        out.float().sum().backward()
        assert query.grad is not None
        assert query.grad.shape == shape


def test_whether_there_is_a_kernel_is_a_constant_to_the_compiler():
    """No cache that it warns of, no call to the driver in the middle of a graph."""

    def choose(x: torch.Tensor) -> torch.Tensor:
        return x + 1 if has_varlen(x.device) else x - 1

    torch.compiler.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = torch.compile(choose, backend="eager", fullgraph=True)
        assert compiled(torch.zeros(2)).tolist() == [-1, -1]


def test_arrays_that_go_together_arrive_as_they_were():
    arrays = [
        np.arange(5, dtype=np.int32),
        np.arange(12).reshape(3, 4)[:, ::2],
        np.array([[True, False, True]]),
        np.empty((0, 3), np.int64),
        np.linspace(0, 1, 7, dtype=np.float32),
    ]
    buffer = torch.empty(16 * 100, dtype=torch.uint8)
    lay_together(arrays, buffer)
    for array, tensor in zip(arrays, take_apart(buffer, arrays), strict=True):
        assert tensor.dtype == torch.from_numpy(array.copy()).dtype
        np.testing.assert_array_equal(tensor.numpy(), array)
