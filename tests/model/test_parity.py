"""packed = one by one = stock transformers: logits, loss, gradients. The test that protects everything."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM
from transformers.models.modernbert import modeling_modernbert

from biolm.batches.packing import PackedRow
from biolm.errors import ModelError
from biolm.model import families
from biolm.model.attention import packed_attention
from biolm.model.families import token_limit
from biolm.model.folder import save_model
from biolm.model.loading import has_head, load_model
from biolm.model.masked_lm import cross_entropy_sum, logits_at_masked, packed_logits, row_tensors, score_row
from biolm.model.passages import PassageLengths
from biolm.tokens.tokenizer import load_tokenizer
from conftest import MINILM_REASON, minilm_folder, rows_of, save_tiny, sentences


def stock_logits(model: torch.nn.Module, row: PackedRow) -> torch.Tensor:
    """Passage by passage through the stock model, as a reader of its documentation would."""
    found = []
    ends = np.cumsum(row.lengths)
    for first, last in zip(ends - row.lengths, ends, strict=True):
        ids = torch.from_numpy(row.input_ids[first:last])[None]
        inside = (row.masked_positions >= first) & (row.masked_positions < last)
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        found.append(logits[row.masked_positions[inside] - first])
    return torch.cat(found)


FAMILIES = ("roberta", "bert", "modernbert")
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference, as a share of the stock tensor's norm."""


def distance(ours: torch.Tensor, stock: torch.Tensor) -> float:
    """|ours - stock| / |stock|."""
    return float((ours - stock).detach().norm() / stock.detach().norm())


def rotate_in_full_precision(q, k, cos, sin, unsqueeze_dim=1):
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    turn = modeling_modernbert.rotate_half
    return q * cos + turn(q) * sin, k * cos + turn(k) * sin


def check_parity(folder: Path, dtype: torch.dtype, *, way: str = "one by one") -> None:
    """`way`: how our attention goes through the passages, as on a CPU or as on a GPU without a varlen kernel."""
    tokenizer = load_tokenizer(str(folder))
    ours = load_model(folder).to(dtype).eval()
    stock = AutoModelForMaskedLM.from_pretrained(folder).to(dtype).eval()
    (row,) = rows_of(tokenizer, sentences(8), token_limit(ours.config), max_row_tokens=100_000)
    tensors = row_tensors(ours, row)
    assert tensors.passages.queries is not None  # the last layer runs at masked positions only
    if way == "by length":
        lengths = PassageLengths.of(row.segments, torch.device("cpu"), bucketed=True)
        tensors = replace(tensors, passages=lengths)
        assert 1 < len(lengths.buckets) < len(row.lengths)
    logits, expected = logits_at_masked(ours, tensors), stock_logits(stock, row)
    assert distance(logits, expected) < TOLERANCE[dtype]
    labels = torch.from_numpy(row.labels)
    loss = cross_entropy_sum(logits, labels) / len(row.labels)
    wanted = torch.nn.functional.cross_entropy(expected, labels)
    assert distance(loss, wanted) < TOLERANCE[dtype]
    loss.backward()
    wanted.backward()
    theirs = dict(stock.named_parameters())
    compared = 0
    for name, parameter in ours.named_parameters():
        if name.endswith("key.bias"):
            continue  # exactly zero but for rounding: a constant added to all scores of a query
        assert distance(parameter.grad, theirs[name].grad) < TOLERANCE[dtype], name
        compared += 1
    assert compared > 20


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("way", ["one by one", "by length"])
@pytest.mark.parametrize("family", FAMILIES)
def test_packed_equals_stock_one_by_one(
    family: str, way: str, dtype: torch.dtype, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
):
    if dtype == torch.float64:  # stock ModernBERT rounds to float32 here, whatever the model's precision
        monkeypatch.setattr(modeling_modernbert, "apply_rotary_pos_emb", rotate_in_full_precision)
    check_parity(request.getfixturevalue(f"tiny_{family}"), dtype, way=way)


@pytest.mark.network
@pytest.mark.slow
def test_packed_equals_stock_on_the_pretrained_minilm(tmp_path: Path):
    base = minilm_folder()
    if base is None:
        pytest.skip(MINILM_REASON)
    tokenizer = load_tokenizer(str(base))
    model = load_model(base, unigram_counts=np.ones(tokenizer.vocabulary.size, np.int64))
    save_model(model, tokenizer.stock, tmp_path / "m", tokenizer_hash=tokenizer.vocabulary.hash)
    check_parity(tmp_path / "m", torch.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_passage_does_not_see_its_neighbours_in_the_row(family: str, request: pytest.FixtureRequest):
    folder = request.getfixturevalue(f"tiny_{family}")
    tokenizer, model = load_tokenizer(str(folder)), load_model(folder).eval()
    texts = sentences(5)
    (row,) = rows_of(tokenizer, texts, token_limit(model.config), max_row_tokens=100_000)
    first = int(row.lengths[0])
    before = packed_logits(model, row)
    changed = PackedRow(
        input_ids=row.input_ids.copy(),
        lengths=row.lengths,
        masked_positions=row.masked_positions,
        labels=row.labels,
        masked_per_window=row.masked_per_window,
        examples=row.examples,
    )
    changed.input_ids[first + 1] = (changed.input_ids[first + 1] + 7) % 100 + 10
    after = packed_logits(model, changed)
    own = row.masked_positions < first
    assert own.any()
    assert torch.equal(before[own], after[own])
    assert not torch.equal(before[~own], after[~own])


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_do_not_depend_on_the_split_into_rows(family: str, request: pytest.FixtureRequest):
    folder = request.getfixturevalue(f"tiny_{family}")
    tokenizer = load_tokenizer(str(folder))

    def gradients(max_row_tokens: int) -> dict[str, torch.Tensor]:
        model = load_model(folder).train()
        rows = rows_of(tokenizer, sentences(12), token_limit(model.config), max_row_tokens)
        masked = sum(len(row.labels) for row in rows)
        for row in rows:
            (cross_entropy_sum(packed_logits(model, row), torch.from_numpy(row.labels)) / masked).backward()
        return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}

    whole, parts = gradients(100_000), gradients(130)
    for name, gradient in whole.items():
        torch.testing.assert_close(gradient, parts[name], atol=2e-6, rtol=1e-4, msg=name)


def test_scores_are_those_of_a_plain_softmax(tiny_roberta: Path):
    tokenizer, model = load_tokenizer(str(tiny_roberta)), load_model(tiny_roberta).eval()
    (row,) = rows_of(tokenizer, sentences(6), token_limit(model.config), 100_000)
    scores = score_row(model, row, row.labels, chunk=7)
    probabilities = packed_logits(model, row).softmax(-1).detach()
    own = probabilities[torch.arange(len(row.labels)), torch.from_numpy(row.labels)]
    np.testing.assert_allclose(scores.loss, -own.log().numpy(), atol=1e-5)
    assert np.array_equal(scores.rank, (probabilities > own[:, None]).sum(1).numpy())
    assert np.array_equal(scores.predicted, probabilities.argmax(1).numpy())


def test_equal_logits_are_no_hit_for_the_later_token_and_broken_ones_no_hit_at_all(tiny_roberta: Path):
    tokenizer, model = load_tokenizer(str(tiny_roberta)), load_model(tiny_roberta).eval()
    (row,) = rows_of(tokenizer, sentences(3), token_limit(model.config), 100_000)
    with torch.no_grad():
        model.lm_head.decoder.weight.zero_()
        model.lm_head.decoder.bias.zero_()
    scores = score_row(model, row, row.labels)
    assert np.array_equal(scores.rank, row.labels)
    with torch.no_grad():
        model.lm_head.decoder.bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        score_row(model, row, row.labels)


def test_an_adapter_and_a_partial_head_are_refused(tiny_roberta: Path, tmp_path: Path):
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny_roberta / "model.safetensors")
    del weights["lm_head.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((tiny_roberta / "config.json").read_text())
    with pytest.raises(ModelError, match=r"head .* is incomplete"):
        load_model(tmp_path, unigram_counts=np.ones(10, np.int64))
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="adapter"):
        load_model(tmp_path)


def test_a_config_that_names_a_kernel_to_fetch_is_refused(tiny_roberta: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_roberta, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["attn_implementation"] = "kernels-community/flash-attn"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="may fetch code"):
        load_model(folder)


def test_attention_refuses_to_run_without_lengths_or_with_a_padding_mask():
    q = torch.randn(1, 2, 6, 4)
    lengths = PassageLengths.of([2, 4], torch.device("cpu"))
    with pytest.raises(ValueError, match="lengths"):
        packed_attention(torch.nn.Module(), q, q, q, None)
    with pytest.raises(ValueError, match="padding mask"):
        packed_attention(torch.nn.Module(), q, q, q, torch.ones(1, 6), passages=lengths)


def test_stock_forward_of_our_model_raises_instead_of_leaking(tiny_roberta: Path):
    model = load_model(tiny_roberta)
    with pytest.raises(ValueError, match="lengths"):
        model(input_ids=torch.zeros(1, 4, dtype=torch.long))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_without_head_starts_from_the_unigrams(family: str, tmp_path: Path):
    folder = save_tiny(tmp_path / "base", family, head=False)
    tokenizer = load_tokenizer(str(folder))
    assert not has_head(folder)
    with pytest.raises(ModelError, match="no language-model head"):
        load_model(folder)
    counts = np.arange(tokenizer.vocabulary.size)
    model = load_model(folder, unigram_counts=counts)
    decoder = model.get_output_embeddings()
    assert decoder.weight is model.get_input_embeddings().weight
    expected = np.log((counts + 1) / (counts + 1).sum())
    np.testing.assert_allclose(decoder.bias.detach().numpy(), expected, atol=1e-5)
    save_model(model, tokenizer.stock, tmp_path / "m", tokenizer_hash="x")
    stock = AutoModelForMaskedLM.from_pretrained(tmp_path / "m")
    torch.testing.assert_close(stock.get_output_embeddings().bias, decoder.bias)


def test_dropout_given_reaches_the_layers_and_not_the_saved_configuration(tiny_roberta: Path):
    model = load_model(tiny_roberta, hidden_dropout=0.25, attention_dropout=0.5)
    rates = {name: m.p for name, m in model.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert {p for n, p in rates.items() if n.endswith("attention.self.dropout")} == {0.5}
    assert {p for n, p in rates.items() if not n.endswith("attention.self.dropout")} == {0.25}
    assert model.config.hidden_dropout_prob == 0.0


def test_pickled_weights_are_refused(tiny_roberta: Path, tmp_path: Path):
    (tmp_path / "config.json").write_text((tiny_roberta / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match="never reads pickled"):
        load_model(tmp_path)


def test_another_family_is_refused_by_name(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ModelError, match="gpt2"):
        load_model(tmp_path)


def test_incomplete_weights_are_refused(tiny_roberta: Path, tmp_path: Path):
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny_roberta / "model.safetensors")
    del weights["roberta.encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text((tiny_roberta / "config.json").read_text())
    with pytest.raises(ModelError, match="incomplete"):
        load_model(tmp_path)


def test_a_decoder_is_refused(tiny_bert: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_bert, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "is_decoder": True}))
    with pytest.raises(ModelError, match="is a decoder"):
        load_model(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_that_would_not_be_tied_is_not_started(family: str, tmp_path: Path):
    folder = save_tiny(tmp_path / "base", family, head=False)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    with pytest.raises(ModelError, match="not tied to the embeddings"):
        load_model(folder, unigram_counts=np.ones(config["vocab_size"], np.int64))


@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_an_untied_model_trains_what_it_uses(family: str, tmp_path: Path, request: pytest.FixtureRequest):
    tied = request.getfixturevalue(f"tiny_{family}")
    config = AutoConfig.from_pretrained(tied, tie_word_embeddings=False)
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path / "m")
    model, tokenizer = load_model(tmp_path / "m"), load_tokenizer(str(tied))
    (row,) = rows_of(tokenizer, sentences(4), token_limit(model.config), max_row_tokens=100_000)
    cross_entropy_sum(packed_logits(model, row), torch.from_numpy(row.labels)).backward()
    assert all(weight.grad is not None for weight in model.parameters() if weight.requires_grad)


@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_who_listens_to_a_part_of_a_layer_hears_it(family: str, request: pytest.FixtureRequest):
    """A fused layer does not call its parts; one that somebody has hooked or replaced does."""
    folder = request.getfixturevalue(f"tiny_{family}")
    model, tokenizer = load_model(folder), load_tokenizer(str(folder))
    (row,) = rows_of(tokenizer, sentences(4), token_limit(model.config), max_row_tokens=100_000)
    expected = packed_logits(model, row)
    layers = families.family_of(model.config).layers(model)
    assert all(hasattr(layer, "unfused") for layer in layers[:-1])
    heard = []
    handle = layers[0].intermediate.register_forward_hook(lambda *_: heard.append(1))
    torch.testing.assert_close(packed_logits(model, row), expected, atol=1e-5, rtol=1e-5)
    assert heard == [1]
    handle.remove()
    packed_logits(model, row)
    assert heard == [1]

    class Adapter(torch.nn.Linear):
        def forward(self, inputs):
            return 2 * super().forward(inputs)

    old = layers[0].output.dense
    layers[0].output.dense = Adapter(old.in_features, old.out_features)
    layers[0].output.dense.load_state_dict(old.state_dict())
    assert distance(packed_logits(model, row), expected) > 1e-3


@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_weights_that_are_frozen_get_no_gradient_and_change_no_other(
    family: str, request: pytest.FixtureRequest
):
    folder = request.getfixturevalue(f"tiny_{family}")
    tokenizer, found = load_tokenizer(str(folder)), []
    for frozen in (False, True):
        model = load_model(folder).double()
        layer = families.family_of(model.config).layers(model)[0]
        assert hasattr(layer, "unfused")
        for weight in (
            layer.attention.self.key.weight,
            layer.output.dense.bias,
            layer.output.LayerNorm.weight,
        ):
            weight.requires_grad_(not frozen)
        (row,) = rows_of(tokenizer, sentences(4), token_limit(model.config), max_row_tokens=100_000)
        cross_entropy_sum(packed_logits(model, row), torch.from_numpy(row.labels)).backward()
        found.append({name: weight.grad for name, weight in model.named_parameters()})
    absent = [name for name, gradient in found[1].items() if gradient is None]
    assert len(absent) == 3
    for name, gradient in found[1].items():
        if gradient is not None:
            torch.testing.assert_close(gradient, found[0][name], atol=1e-12, rtol=1e-9)
