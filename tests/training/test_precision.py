"""Half precision: bf16 and scaled fp16 train, and give the gradients of fp32 but for their rounding."""

import math
from pathlib import Path

import pytest
import torch
from engine import CPU, FAMILIES, Gradients, config_of, gradients_of, passages, steps_of, trainer_of
from hypothesis import given
from hypothesis import strategies as st

from biolm.model.device import resolve_precision, resolve_row_tokens
from biolm.model.masked_lm import cross_entropy_sum
from biolm.model.training_forward import aligned_logits
from biolm.training.guard import Guard, LossScale


def error(found: Gradients, wanted: Gradients) -> float:
    """|found - wanted| / |wanted| of all gradients as one."""
    difference = math.sqrt(sum(float((found[name] - wanted[name]).square().sum()) for name in wanted))
    return difference / math.sqrt(sum(float(wanted[name].square().sum()) for name in wanted))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_in_half_precision_are_those_of_fp32_but_for_rounding(
    family: str, precision: str, request: pytest.FixtureRequest
):
    folder = request.getfixturevalue(f"tiny_{family}")
    config = config_of(max_row_tokens=400)
    rows = steps_of(folder, passages(), config).rows(0)
    whole = trainer_of(folder, config)
    half = trainer_of(folder, config_of(max_row_tokens=400, precision=precision))
    wanted, found = whole.step(0, rows, rate=0.0), half.step(0, rows, rate=0.0)
    bound = {"bf16": 2e-2, "fp16": 3e-3}[precision]  # 8 and 11 bits
    assert found.loss == pytest.approx(wanted.loss, rel=bound)
    assert found.loss != wanted.loss
    assert found.gradient_norm == pytest.approx(wanted.gradient_norm, rel=bound)
    assert error(gradients_of(half), gradients_of(whole)) < 2 * bound
    for parameter in half.parallel.parameters.values():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_as_fp32_does(precision: str, tiny_roberta: Path):
    losses = {}
    for name in ("fp32", precision):
        config = config_of(precision=name, examples_per_step=32, clip_norm=1.0)
        trainer = trainer_of(tiny_roberta, config)
        rows = steps_of(tiny_roberta, passages(32), config).rows(0)
        losses[name] = [trainer.step(0, rows, rate=5e-3).loss for _ in range(12)]
        assert not trainer.guard.skipped
    assert losses["fp32"][-1] < losses["fp32"][0] - 1.0
    assert losses[precision] == pytest.approx(losses["fp32"], rel=2e-2)


def test_a_scale_keeps_gradients_that_fp16_would_lose(tiny_roberta: Path):
    """With the head's output scaled down, gradients behind it are below fp16's smallest number, 6e-8."""
    found = {}
    for name, precision, scale in (
        ("fp32", "fp32", 1.0),
        ("plain", "fp16", 1.0),
        ("scaled", "fp16", 2.0**16),
    ):
        config = config_of(precision=precision)
        trainer = trainer_of(tiny_roberta, config)
        trainer.guard.scale.value = scale
        with torch.no_grad():
            trainer.model.lm_head.layer_norm.weight.mul_(1e-4)
        trainer.step(0, steps_of(tiny_roberta, passages(), config).rows(0), rate=0.0)
        found[name] = {
            key: gradient for key, gradient in gradients_of(trainer).items() if "encoder.layer.0" in key
        }
    assert error(found["plain"], found["fp32"]) > 0.2
    assert error(found["scaled"], found["fp32"]) < 0.02


def test_a_scale_that_is_too_large_is_halved_until_gradients_fit_and_then_training_goes_on(
    tiny_roberta: Path,
):
    config = config_of(precision="fp16", examples_per_step=32, clip_norm=1.0)
    trainer = trainer_of(tiny_roberta, config)
    rows = steps_of(tiny_roberta, passages(32), config).rows(0)
    other = trainer_of(tiny_roberta, config)
    trainer.guard.scale.value = start = 2.0**32
    before = {name: weight.clone() for name, weight in trainer.parallel.parameters.items()}
    skipped = 0
    while trainer.step(0, rows, rate=1e-3).skipped == "overflow":
        skipped += 1
        assert trainer.guard.scale.value == start / 2**skipped
        assert all(torch.equal(before[name], w) for name, w in trainer.parallel.parameters.items())
        assert trainer.guard.in_a_row == 0  # not the model's fault
    assert 5 < skipped < 25
    assert trainer.guard.skipped == {"overflow": skipped}
    assert trainer.guard.scale.clean_steps == 1
    assert trainer.guard.in_a_row == 0
    # The step that was done is the one that a run at another scale does.
    other.step(0, rows, rate=1e-3)
    for name, weight in trainer.parallel.parameters.items():
        moved, expected = weight - before[name], other.parallel.parameters[name] - before[name]
        if "key.bias" not in name:
            assert (moved - expected).norm() < 0.1 * expected.norm(), name


@given(st.lists(st.sampled_from(["clean", "overflow"]), max_size=40), st.integers(1, 2500))
def test_a_scale_doubles_after_every_2000_clean_steps_and_halves_at_each_overflow(
    ends: list[str], clean: int
):
    scale = LossScale.of("fp16")
    value, since = 65536.0, 0
    for end in ends:
        if end == "overflow":
            assert scale.overflowed() == (value > 1)
            if value > 1:
                value, since = value / 2, 0
        else:
            for _ in range(clean):
                scale.was_clean()
                since += 1
                value *= 2 if since % 2000 == 0 else 1
        assert scale.value == value >= 1


def test_a_scale_doubles_at_the_2000th_clean_step_and_not_before():
    scale = LossScale.of("fp16")
    seen = []
    for _ in range(4001):
        scale.was_clean()
        seen.append(scale.value / 65536)
    assert seen == [1.0] * 1999 + [2.0] * 2000 + [4.0] * 2


def test_at_the_smallest_scale_it_is_the_model_that_is_broken():
    guard = Guard(None, LossScale(1.0, fixed=False))
    assert guard.judge(1.0, math.inf) == "not_finite"
    assert guard.in_a_row == 1
    guard = Guard(None, LossScale.of("fp16"))
    assert guard.judge(math.nan, 1.0) == "not_finite"  # the loss is not scaled
    assert guard.scale.value == 65536.0


def test_other_precisions_are_not_scaled():
    for precision in ("fp32", "bf16"):
        scale = LossScale.of(precision)
        assert not scale.overflowed()
        for _ in range(2000):
            scale.was_clean()
        assert scale.value == 1.0


def test_the_automatic_precision_of_a_cpu_is_fp32():
    assert resolve_precision("auto", CPU) == "fp32"
    for given_precision in ("fp32", "bf16", "fp16"):
        assert resolve_precision(given_precision, CPU) == given_precision


@pytest.mark.parametrize("bias", [True, False])
def test_a_decoder_whose_columns_are_filled_up_gives_the_same_loss_and_gradients(bias: bool):
    torch.manual_seed(0)
    decoder = torch.nn.Linear(16, 101, bias=bias)
    features, labels = torch.randn(7, 16, requires_grad=True), torch.randint(0, 101, (7,))
    plain, filled = decoder(features), aligned_logits(decoder, features, torch.float32)
    assert filled.shape == (7, 128)
    torch.testing.assert_close(filled[:, :101], plain)
    wanted = [features, *decoder.parameters()]
    found = torch.autograd.grad(cross_entropy_sum(filled, labels), wanted)
    expected = torch.autograd.grad(cross_entropy_sum(plain, labels), wanted)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert (filled.argmax(1) == plain.argmax(1)).all()


def test_rows_are_larger_on_a_gpu_unless_given():
    assert resolve_row_tokens(None, CPU) == 4096
    assert resolve_row_tokens(None, torch.device("cuda")) == 16384
    assert resolve_row_tokens(300, torch.device("cuda")) == 300
