"""The arithmetic of training, against torch's own counter and against counting by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from biolm.model.families import family_of, shortens
from biolm.model.loading import load_model
from biolm.model.masked_lm import cross_entropy_sum, packed_logits
from biolm.tokens.tokenizer import load_tokenizer
from biolm.training.flops import Amount, Shape, forward_flops, layer_flops, training_flops
from conftest import rows_of, sentences

SMALL = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "pad_token_id": 1,
}
MODELS: dict[str, Any] = {
    "roberta": lambda: RobertaForMaskedLM(
        RobertaConfig(**SMALL, attn_implementation="eager", hidden_dropout_prob=0.1)
    ),
    "bert": lambda: BertForMaskedLM(BertConfig(**SMALL, attn_implementation="eager")),
    "modernbert": lambda: ModernBertForMaskedLM(
        ModernBertConfig(
            **SMALL,
            local_attention=8,
            bos_token_id=2,
            eos_token_id=3,
            cls_token_id=2,
            sep_token_id=3,
            attn_implementation="eager",
        )
    ),
}


def whole(lengths: list[int], masked: list[int], shape: Shape) -> Amount:
    return Amount.of(np.array(lengths), np.array(masked), shape)


@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_a_whole_training_step_is_what_torch_counts(family: str):
    """One window, everything masked: stock model, eager attention, loss and backward."""
    model = MODELS[family]().train()
    length = 21
    ids = torch.randint(5, 100, (1, length), generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids).loss.backward()
    shape = Shape.of(model.config)
    ours = training_flops(shape, whole([length], [length], shape), last_layer_at_masked=False)
    assert ours == counter.get_total_flops()


def test_modernbert_within_its_local_reach_is_what_torch_counts():
    """Five tokens with a reach of four: local layers see everything, so eager attention does not compute too much."""
    model = MODELS["modernbert"]().train()
    ids = torch.randint(5, 100, (1, 5), generator=torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids).loss.backward()
    shape = Shape.of(model.config)
    assert shape.reaches == (None, 4, 4)
    turns = counter.get_flop_counts().get("ModernBertForMaskedLM.model.rotary_emb", {})
    ours = training_flops(shape, whole([5], [5], shape), last_layer_at_masked=False)
    assert ours == counter.get_total_flops() - sum(turns.values())


@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_a_packed_step_is_what_torch_counts(family: str, tiny_roberta: Path, tiny_bert: Path):
    """What biolm trains: windows of many lengths, the last layer and the head at masked positions."""
    folder = tiny_roberta if family == "roberta" else tiny_bert
    model = load_model(folder).train()
    (row,) = rows_of(load_tokenizer(str(folder)), sentences(30), max_tokens=50, max_row_tokens=100_000)
    for layer in family_of(model.config).layers(model)[:-1]:
        layer.forward = layer.unfused  # torch's counter does not know the CPU's attention kernel
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        cross_entropy_sum(packed_logits(model, row), torch.from_numpy(row.labels)).backward()
    shape = Shape.of(model.config)
    amount = Amount.of(row.lengths, row.masked_per_window, shape)
    assert shortens(model)
    assert training_flops(shape, amount, last_layer_at_masked=True) == counter.get_total_flops()


def test_pairs_of_a_local_layer_are_counted_one_by_one():
    shape = Shape.of(MODELS["modernbert"]().config)
    for length in range(1, 30):
        by_hand = sum(abs(i - j) <= 4 for i in range(length) for j in range(length))
        assert whole([length], [0], shape).near_pairs == by_hand


def test_the_last_layer_at_masked_positions_by_hand():
    """Two layers of width 2 and inner width 3, windows of 2 and 5 tokens with 1 and 2 masked."""
    shape = Shape(width=2, inner=3, mlp_matrices=2, reaches=(None, None), vocabulary=10)
    amount = whole([2, 5], [1, 2], shape)
    square, mlp = 2 * 2, 2 * 2 * 3
    first = 7 * (4 * square + mlp) + 2 * 2 * (4 + 25)
    last = 7 * 2 * square + 3 * (2 * square + mlp) + 2 * 2 * (1 * 2 + 2 * 5)
    head = 3 * (square + 2 * 10)
    assert forward_flops(shape, amount) == 2 * (first + last + head)
    assert training_flops(shape, amount) == 6 * (first + last + head)
    assert training_flops(shape, amount, activation_checkpointing=True) == 8 * (first + last) + 6 * head


def test_a_local_last_layer_stays_whole():
    """As biolm.model.families leaves it."""
    shape = Shape.of(MODELS["modernbert"]().config)
    amount = whole([30, 9], [4, 1], shape)
    assert layer_flops(shape, amount, last_layer_at_masked=True) == layer_flops(
        shape, amount, last_layer_at_masked=False
    )


def test_sums_give_what_windows_give():
    """With as many masked tokens in each window as its length says."""
    shape = Shape.of(MODELS["roberta"]().config)
    lengths = np.array([10, 40, 50])
    windows = Amount.of(lengths, 0.2 * lengths, shape)
    sums = Amount.of_sums(tokens=100, squares=100 + 1600 + 2500, masked=20)
    assert training_flops(shape, sums) == pytest.approx(training_flops(shape, windows), rel=1e-12)
    assert training_flops(shape, windows.times(3)) == pytest.approx(3 * training_flops(shape, windows))
    assert training_flops(shape, Amount.of_sums(tokens=0, squares=0, masked=0)) == 0


def test_roberta_base_is_of_the_known_size():
    """6 x 85 million weights a token in its layers, 6 x 39 million a masked token in its head, attention besides."""
    shape = Shape.of(RobertaConfig(vocab_size=50265))
    amount = Amount.of(np.array([512]), np.array([512]), shape)
    flops = training_flops(shape, amount, last_layer_at_masked=False) / 512
    attention = 12 * 12 * 512 * 768
    assert flops == pytest.approx(6 * (84_934_656 + 768 * 768 + 50265 * 768) + attention)
