"""What only a CUDA device can show. Skipped without one."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine import (
    CPU,
    FAMILIES,
    Gradients,
    assert_alike,
    config_of,
    gradients_of,
    passages,
    rotate_in_full_precision,
    start_ranks,
    steps_of,
    stock_step,
    trainer_of,
)
from rank_cases import CASES, do
from safetensors.torch import load_file
from torch._dynamo.utils import counters
from transformers.models.modernbert import modeling_modernbert

from biolm.model.attention import attend, has_varlen
from biolm.model.passages import PassageLengths
from biolm.progress import Silent
from biolm.training.config import PretrainConfig
from biolm.training.loop import train
from biolm.training.ranks import Ranks
from biolm.training.step import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
GPU = torch.device("cuda", 0) if torch.cuda.is_available() else CPU
needs_varlen = pytest.mark.skipif(not has_varlen(GPU), reason="no varlen kernel on this device")
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.fixture
def folder(family: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(modeling_modernbert, "apply_rotary_pos_emb", rotate_in_full_precision)
    return request.getfixturevalue(f"tiny_{family}")


def error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.detach().float() - wanted.detach()).norm() / wanted.detach().norm())


def whole_error(found: Gradients, wanted: Gradients) -> float:
    """Of all gradients as one."""
    assert found.keys() == wanted.keys()
    return error(
        torch.cat([found[name].cpu().flatten() for name in wanted]),
        torch.cat([wanted[name].cpu().flatten().float() for name in wanted]),
    )


# Attention


def one_by_one(
    inputs: list[torch.Tensor], lengths: list[int], window: int | None, at: list[int] | None
) -> torch.Tensor:
    """Each passage through scaled_dot_product_attention."""
    query, key, value = inputs
    ends, parts = np.cumsum(lengths), []
    for first, last in zip(ends - lengths, ends, strict=True):
        place = torch.arange(first, last, device=query.device)
        wanted = place if at is None else torch.tensor([i for i in at if first <= i < last], device=GPU)
        own = wanted if at is None else torch.searchsorted(torch.tensor(at, device=GPU), wanted)
        near = (wanted[:, None] - place[None, :]).abs() < (window or 1 << 20)
        if len(wanted) and len(place):
            parts.append(
                F.scaled_dot_product_attention(
                    query[:, :, own], key[:, :, first:last], value[:, :, first:last], attn_mask=near
                )
            )
    return torch.cat(parts, 2).transpose(1, 2)


LENGTHS = [200, 3, 0, 57, 1, 511, 128]


@needs_varlen
@pytest.mark.parametrize("window", [None, 1, 64])
@pytest.mark.parametrize("at_queries", [False, True])
@pytest.mark.parametrize("precision", HALF)
def test_the_varlen_kernel_is_scaled_dot_product_attention_passage_by_passage(
    precision: str, at_queries: bool, window: int | None
):
    if at_queries and window:
        pytest.skip("a local last layer is computed whole")
    total = sum(LENGTHS)
    at = sorted({*range(0, 200, 7), 202, *range(300, total, 11)}) if at_queries else None  # some have none
    torch.manual_seed(0)
    counts = (total if at is None else len(at), total, total)
    exact = [torch.randn(1, 12, count, 64, device=GPU, requires_grad=True) for count in counts]
    half = [part.detach().to(HALF[precision]).requires_grad_() for part in exact]
    plain = [part.detach().clone().requires_grad_() for part in half]
    queries = None if at is None else np.array(at, np.int64)
    lengths = PassageLengths.of(LENGTHS, GPU, queries=queries)
    found = attend(*half, lengths, window=window, scaling=0.125, at_queries=at_queries)
    results = {
        "varlen": (found, half),
        "half": (one_by_one(plain, LENGTHS, window, at), plain),
        "fp32": (one_by_one(exact, LENGTHS, window, at), exact),
    }
    weights = torch.randn_like(results["fp32"][0])
    for out, _ in results.values():
        (out.float() * weights).sum().backward()
    wanted, inputs = results["fp32"]
    allowed = 2 * error(results["half"][0], wanted) + 1e-4
    assert error(found, wanted) <= allowed
    for ours, others, expected in zip(half, plain, inputs, strict=True):
        assert expected.grad is not None
        assert error(ours.grad, expected.grad) <= 2 * error(others.grad, expected.grad) + 1e-4


@needs_varlen
def test_a_last_passage_asked_for_more_than_it_has_tokens_answers_each_time():
    """As in rows of fixed shape, where places that count for nothing ask for the last token."""
    torch.manual_seed(0)
    at = np.array([0, 3, *[209] * 1000], np.int64)
    query = torch.randn(1, 12, 3, 64, device=GPU, dtype=torch.bfloat16)[:, :, [0, 1] + [2] * 1000]
    key, value = torch.randn(2, 1, 12, 210, 64, device=GPU, dtype=torch.bfloat16).unbind()
    inputs = [part.detach().clone().requires_grad_() for part in (query, key, value)]
    out = attend(*inputs, PassageLengths.of([200, 10], GPU, queries=at), scaling=0.125, at_queries=True)
    assert (out[:, 2:] == out[:, 2:3]).all()
    out[:, :3].sum().backward()
    assert all(part.grad is not None and torch.isfinite(part.grad).all() for part in inputs)


@pytest.mark.parametrize("window", [None, 9])
def test_passages_by_length_are_passages_one_by_one(window: int | None):
    torch.manual_seed(0)
    mine = [
        torch.randn(1, 4, sum(LENGTHS), 16, device=GPU, dtype=torch.float64, requires_grad=True)
        for _ in "qkv"
    ]
    other = [part.detach().clone().requires_grad_() for part in mine]
    found = attend(*mine, PassageLengths.of(LENGTHS, GPU, bucketed=True), window=window, scaling=0.25)
    wanted = one_by_one(other, LENGTHS, window, None)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)
    found.sin().sum().backward()
    wanted.sin().sum().backward()
    for ours, theirs in zip(mine, other, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-10)


# Steps


@pytest.mark.parametrize("shape", ["free", "fixed"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_gives_the_gradients_of_stock_transformers_on_a_cpu(family: str, shape: str, folder):
    """In float64, where attention goes by length; ModernBERT's sines are float32, and not the same on a GPU."""
    (whole,) = steps_of(folder, passages(), config_of()).rows(0)
    loss, wanted = stock_step(folder, [whole], torch.float64)
    config = config_of(max_row_tokens=400, row_shape=shape, precision="fp32")
    trainer = trainer_of(folder, config, dtype=torch.float64, ranks=Ranks(GPU))
    facts = trainer.step(0, steps_of(folder, passages(), config).rows(0), rate=0.0)
    tolerance = 1e-6 if family == "modernbert" else 1e-9
    assert facts.loss == pytest.approx(loss, rel=tolerance)
    assert_alike(gradients_of(trainer), wanted, tolerance)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("precision", HALF)
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_gives_the_gradients_of_fp32_and_trains(
    family: str, precision: str, dropout: float, folder
):
    """With dropout attention goes by length, without by the varlen kernel."""
    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("no bf16 on this device")
    config = config_of(max_row_tokens=400, precision=precision)
    rows = steps_of(folder, passages(), config).rows(0)
    if dropout == 0.0:
        half = trainer_of(folder, config, ranks=Ranks(GPU))
        exact = trainer_of(folder, replace(config, precision="fp32"))
        found, wanted = half.step(0, rows, rate=0.0), exact.step(0, rows, rate=0.0)
        bound = {"bf16": 3e-2, "fp16": 5e-3}[precision]
        assert found.loss == pytest.approx(wanted.loss, rel=bound)
        assert whole_error(gradients_of(half), gradients_of(exact)) < 2 * bound
    config = replace(config, hidden_dropout=dropout, attention_dropout=dropout, clip_norm=1.0)
    trainer = trainer_of(folder, config, ranks=Ranks(GPU))
    losses = [trainer.step(number, rows, rate=5e-3).loss for number in range(20)]
    assert losses[-1] < losses[0] - 0.5
    assert not trainer.guard.skipped
    assert all(weight.dtype == torch.float32 for weight in trainer.parallel.parameters.values())


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # torch's, of the watch itself
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_waits_for_the_device_only_where_it_must(family: str, folder):
    """Not while rows are sent and their gradients added up: torch raises where anything waits then."""
    config = config_of(max_row_tokens=400, precision="auto")
    trainer = trainer_of(folder, config, ranks=Ranks(GPU))
    rows = steps_of(folder, passages(), config).rows(0)
    trainer.step(0, rows, rate=1e-3)
    forward = trainer.parallel.forward

    def watched(*arguments):
        torch.cuda.set_sync_debug_mode("error")
        return forward(*arguments)

    def backward_done(*_):
        torch.cuda.set_sync_debug_mode("default")

    trainer.parallel.forward = watched
    trainer._norm = _before(backward_done, trainer._norm)  # type: ignore[method-assign]
    try:
        trainer.step(1, rows, rate=1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _before(first, then):
    def both():
        first()
        return then()

    return both


# Compiled


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own, of many kinds
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
@pytest.mark.parametrize("family", ["roberta", "modernbert"])
def test_compiled_gives_the_same_gradients_and_compiles_once_for_rows_of_one_shape(
    family: str, mode: str, folder
):
    """Several rows a step: CUDA graphs must not write over the gradients of those before."""
    config = config_of(row_shape="fixed", max_row_tokens=300, examples_per_step=20, precision="auto")
    steps = steps_of(folder, passages(60), config)
    exact = trainer_of(folder, replace(config, precision="fp32"))
    plain = trainer_of(folder, config, ranks=Ranks(GPU))
    compiled = trainer_of(folder, replace(config, compile=mode), ranks=Ranks(GPU))
    counters.clear()
    graphs = []
    for number in range(4):
        rows = steps.rows(number % 3)
        assert len(rows) > 2
        for trainer in (exact, plain, compiled):
            facts = trainer.step(0, rows, rate=0.0)
            assert facts.skipped is None
        wanted = gradients_of(exact)
        allowed = 2 * whole_error(gradients_of(plain), wanted) + 1e-4
        assert whole_error(gradients_of(compiled), wanted) <= allowed
        graphs.append((counters["stats"]["unique_graphs"], counters["frames"]["total"]))
    assert graphs[0][0] > 0
    assert graphs[0] == graphs[-1]


# Runs and ranks


@pytest.mark.parametrize("ahead", [0, 3])
def test_batches_that_a_process_prepares_are_those_of_a_cpu(
    ahead: int, tiny_roberta: Path, roberta_tokens, tmp_path: Path
):
    settings = {"examples_per_step": 16, "validate_every": 4, "checkpoint_every": 4, "max_steps": 6}
    found = {}
    for device in (GPU, CPU):
        config = PretrainConfig(**settings, prepare_ahead=ahead, device=device.type, precision="fp32")
        model = trainer_of(tiny_roberta, config).model
        trained = train(model, roberta_tokens, tmp_path / device.type, config, Silent(), ranks=Ranks(device))
        found[device.type] = trained
    gpu, cpu = found["cuda"], found["cpu"]
    assert gpu.counters == cpu.counters
    assert gpu.mean_loss == pytest.approx(cpu.mean_loss, rel=1e-3)


@pytest.fixture
def nccl_alone(monkeypatch: pytest.MonkeyPatch):
    """A process group of one rank over NCCL."""
    import torch.distributed as dist

    store = dist.HashStore()
    dist.init_process_group("cpu:gloo,cuda:nccl", store=store, rank=0, world_size=1, device_id=GPU)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("family", FAMILIES)
def test_ddp_over_nccl_with_one_gpu_gives_the_gradients_of_no_ddp(family: str, folder, nccl_alone):
    """One of two ranks, as far as the step knows: what it multiplies by two, no second rank divides again."""
    config = config_of(max_row_tokens=400, precision="fp32")
    rows = steps_of(folder, passages(), config).rows(0)
    alone = trainer_of(folder, config, dtype=torch.float64, ranks=Ranks(GPU))
    both = trainer_of(folder, config, dtype=torch.float64, ranks=Ranks(GPU, rank=0, count=2))
    assert isinstance(both.parallel.forward, torch.nn.parallel.DistributedDataParallel)
    wanted, found = alone.step(0, rows, rate=0.0), both.step(0, rows, rate=0.0)
    assert found.loss == pytest.approx(wanted.loss, rel=1e-9)
    assert found.gradient_norm == pytest.approx(2 * wanted.gradient_norm, rel=1e-9)
    doubled = {name: 2 * gradient for name, gradient in gradients_of(alone).items()}
    assert_alike(gradients_of(both), doubled, 1e-9)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices")
def test_two_gpus_give_the_gradients_and_weights_of_one(
    tiny_roberta: Path, tiny_bert: Path, tiny_modernbert: Path, roberta_tokens, tmp_path: Path, monkeypatch
):
    """By DDP and FSDP2 over NCCL, in float64, all of `rank_cases.py`."""
    monkeypatch.setattr(modeling_modernbert, "apply_rotary_pos_emb", rotate_in_full_precision)
    folders = {"roberta": tiny_roberta, "bert": tiny_bert, "modernbert": tiny_modernbert}
    given = {name: str(folder) for name, folder in folders.items()}
    given |= {"tokens": str(roberta_tokens.folder), "ports": [], "device": "cuda"}
    (tmp_path / "where.json").write_text(json.dumps(given))
    tests = Path(__file__).parents[1]
    path = os.pathsep.join(filter(None, (str(tests), os.environ.get("PYTHONPATH"))))
    script = str(Path(__file__).with_name("rank_cases.py"))
    start_ranks(
        ["env", f"PYTHONPATH={path}", sys.executable, script, str(tmp_path / "where.json")], 2, tmp_path
    )
    for name, case in CASES.items():
        for way in ("ddp", "fsdp"):
            _, wanted = do(case, way, Ranks(GPU), folders[case.family])
            found = load_file(tmp_path / f"{way} {name} 0.safetensors")
            if any(tensor.any() for tensor in wanted.values()):
                tolerance = 1e-4 if case.dtype == torch.float32 else 1e-7
                tolerance = 3e-2 if "precision" in case.settings else tolerance
                assert_alike(found, {key: tensor.cpu() for key, tensor in wanted.items()}, tolerance)


def test_a_trainer_moves_its_model_to_its_device(tiny_roberta: Path):
    trainer: Trainer = trainer_of(tiny_roberta, config_of(), ranks=Ranks(GPU))
    assert all(weight.device == GPU for weight in trainer.parallel.parameters.values())
