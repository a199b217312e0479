"""Steps that would do harm are left out, wholly, and counted; a run that can only skip ends and keeps what it had."""

import json
import logging
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from engine import Trainer, config_of, passages, steps_of, trainer_of, weights_of
from hypothesis import given
from hypothesis import strategies as st

from biolm.errors import ModelError
from biolm.model.loading import load_model
from biolm.progress import Silent
from biolm.training.checkpoint import find_checkpoint
from biolm.training.config import PretrainConfig
from biolm.training.guard import Guard, LossScale
from biolm.training.loop import train
from biolm.training.metrics import read_metrics
from biolm.training.optimizer import optimizer_state

# What the guard decides


norms = st.sampled_from([0.5, 0.9, 1.0, 1.1, 2.0, 4.0, 7.0, 15.0, 40.0, 1000.0, math.nan, math.inf])


@given(
    st.tuples(st.lists(norms, min_size=20, max_size=40), st.integers(1, 6)).map(
        lambda part: part[0] * part[1]
    ),
    st.one_of(st.none(), st.floats(1.5, 20)),
)
def test_a_step_is_skipped_where_its_norm_is_not_finite_or_far_above_the_median_of_the_last_100(
    found: list[float], factor: float | None
):
    guard, done, counts = Guard(factor, LossScale()), [], {"spike": 0, "not_finite": 0}
    in_a_row = 0
    for norm in found:
        expected = None
        if not math.isfinite(norm):
            expected = "not_finite"
        elif factor is not None and len(done) >= 20 and norm > factor * statistics.median(done[-100:]):
            expected = "spike"
        assert guard.judge(1.0, norm) == expected
        if expected is None:
            done.append(norm)
            in_a_row = 0
        else:
            counts[expected] += 1
            in_a_row += 1
        assert guard.in_a_row == in_a_row
    assert guard.norms == done[-100:]
    assert guard.skipped == {reason: count for reason, count in counts.items() if count}


def test_a_small_step_may_have_a_larger_norm():
    """The last step of an epoch: a hundredth of the tokens, ten times the noise."""
    guard = Guard(10.0, LossScale())
    for _ in range(30):
        assert guard.judge(1.0, 1.0, tokens=10_000) is None
    assert guard.judge(1.0, 90.0, tokens=100) is None
    assert guard.judge(1.0, 110.0, tokens=100) == "spike"
    assert guard.judge(1.0, 11.0, tokens=10_000) == "spike"
    assert guard.judge(1.0, 11.0, tokens=100_000) == "spike"  # a large one may not have a smaller norm only


def test_a_resumed_run_in_another_precision_begins_with_that_ones_scale():
    for before, after in (("bf16", "fp16"), ("fp32", "fp16"), ("fp16", "bf16")):
        first, second = Guard(None, LossScale.of(before)), Guard(None, LossScale.of(after))
        first.judge(1.0, 1.0)
        second.restore(first.state())
        assert second.scale == LossScale.of(after)
    same = Guard(None, LossScale.of("fp16"))
    same.judge(1.0, math.inf)
    again = Guard(None, LossScale.of("fp16"))
    again.restore(same.state())
    assert again.scale.value == 32768


def test_a_loss_that_is_not_finite_is_enough():
    guard = Guard(None, LossScale())
    assert guard.judge(math.nan, 1.0) == "not_finite"
    assert guard.judge(math.inf, 1.0) == "not_finite"
    assert guard.judge(1.0, 1.0) is None
    assert guard.skipped == {"not_finite": 2}


@given(st.lists(norms, max_size=150), st.integers(0, 150), st.sampled_from(["fp32", "fp16"]))
def test_a_guard_that_was_saved_decides_as_one_that_was_not(found: list[float], at: int, precision: str):
    whole, first = (Guard(5.0, LossScale.of(precision)) for _ in range(2))
    decided = [(whole.judge(1.0, norm), whole.scale.value) for norm in found]
    again = [(first.judge(1.0, norm), first.scale.value) for norm in found[:at]]
    second = Guard(5.0, LossScale.of(precision))
    second.restore(json.loads(json.dumps(first.state())))
    again += [(second.judge(1.0, norm), second.scale.value) for norm in found[at:]]
    assert again == decided
    assert second.state() == whole.state()


# What a skipped step leaves


def everything(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Weights, the optimizer's state and the average, as they are now."""
    state, _ = optimizer_state(trainer.parallel.parameters, trainer.optimizer)
    found = {**weights_of(trainer), **{name: tensor.clone() for name, tensor in state.items()}}
    if trainer.average:
        found |= {f"mean of {name}": mean.clone() for name, mean in trainer.average.tensors().items()}
    return found


def with_gradient(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Trainer], Any]:
    """Let one weight's gradient be another, from now on until what is returned is removed."""

    def begin(trainer: Trainer) -> Any:
        return trainer.model.lm_head.dense.weight.register_hook(change)

    return begin


HARM = {
    "a gradient that is not a number": ("not_finite", with_gradient(lambda g: g * math.nan)),
    "a gradient of infinity": ("not_finite", with_gradient(lambda g: g + math.inf)),
    "a gradient that is far too large": ("spike", with_gradient(lambda g: g * 1e6)),
}


@pytest.mark.parametrize("optimizer", ["adamw", "stable-adamw"])
@pytest.mark.parametrize("harm", HARM)
def test_a_skipped_step_leaves_weights_optimizer_and_average_as_they_were(
    harm: str, optimizer: str, tiny_roberta: Path
):
    config = config_of(
        optimizer=optimizer, spike_factor=10.0, clip_norm=1.0, examples_per_step=2, ema_decay=0.9
    )
    steps = steps_of(tiny_roberta, passages(60), config)
    reason, begin = HARM[harm]
    harmed, other = (trainer_of(tiny_roberta, config) for _ in range(2))
    for number in range(21):
        assert harmed.step(number, steps.rows(number), rate=1e-3).skipped is None
        other.step(number, steps.rows(number), rate=1e-3)
    before, known = everything(harmed), list(harmed.guard.norms)
    hook = begin(harmed)
    facts = harmed.step(21, steps.rows(21), rate=1e-3)
    hook.remove()
    assert facts.skipped == reason
    assert harmed.guard.skipped == {reason: 1}
    after = everything(harmed)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert harmed.guard.norms == known
    # and what follows is as if the step had never been
    harmed.step(22, steps.rows(22), rate=1e-3)
    other.step(22, steps.rows(22), rate=1e-3)
    later = everything(other)
    assert all(torch.equal(tensor, later[name]) for name, tensor in everything(harmed).items())


def test_a_first_step_that_is_skipped_leaves_no_state(tiny_roberta: Path):
    config = config_of(examples_per_step=2)
    trainer = trainer_of(tiny_roberta, config)
    with torch.no_grad():
        trainer.model.lm_head.dense.weight[0, 0] = math.nan
    before = everything(trainer)
    facts = trainer.step(0, steps_of(tiny_roberta, passages(2), config).rows(0), rate=1e-3)
    assert facts.skipped == "not_finite"
    after = everything(trainer)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) or "lm_head.dense.weight" in name for name in before)


# What a run makes of it


class Harm(Silent):
    """Does something to the model when so many steps are done."""

    def __init__(self, model: Any, step: int, until: int) -> None:
        self._model, self._step, self._until = model, step, until
        self._hook: Any = None

    def update(self, done: float, note: str = "", **_: Any) -> None:
        if done == self._step:
            self._hook = self._model.lm_head.dense.weight.register_hook(lambda g: g * math.nan)
        elif done == self._until:
            self._hook.remove()


SETTINGS = {
    "examples_per_step": 8,
    "lr_peak": 1e-3,
    "validate_every": 4,
    "checkpoint_every": 4,
    "max_skipped": 3,
    "threads": 1,
}


def test_skipped_steps_are_counted_by_reason_and_a_run_that_recovers_goes_on(
    tiny_roberta: Path, roberta_tokens, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    model = load_model(tiny_roberta)
    trained = train(
        model, roberta_tokens, tmp_path / "run", PretrainConfig(**SETTINGS), Harm(model, step=5, until=7)
    )
    assert trained.counters.step == trained.steps == 16
    assert trained.counters.skipped == {"not_finite": 2}
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line[:7] for line in warned] == ["step 6 ", "step 7 "]
    assert all("not_finite" in line for line in warned)
    lines = {line["step"]: line for line in read_metrics(tmp_path / "run") if "train/loss" in line}
    assert "train/skipped" not in lines[5]
    assert [lines[step]["train/skipped"] for step in (6, 7, 8, 16)] == [1, 2, 2, 2]
    assert trained.mean_loss is not None
    assert math.isfinite(trained.mean_loss)


def test_a_run_that_can_only_skip_ends_with_one_line_and_keeps_its_checkpoint(
    tiny_roberta: Path, roberta_tokens, tmp_path: Path
):
    model, run = load_model(tiny_roberta), tmp_path / "run"
    with pytest.raises(ModelError) as error:
        train(model, roberta_tokens, run, PretrainConfig(**SETTINGS), Harm(model, step=5, until=99))
    line = str(error.value)
    assert "\n" not in line
    assert line.startswith("3 steps in a row had to be skipped, step 8 as not_finite")
    assert "--lr-peak" in line
    newest = find_checkpoint(run / "checkpoints")
    assert newest is not None
    assert str(newest.path) in line
    assert newest.counters.step == 4
    assert newest.counters.skipped == {}


def test_metrics_of_a_step_that_is_not_finite_are_json_that_others_can_read(
    tiny_roberta: Path, roberta_tokens, tmp_path: Path
):
    """RFC 8259 has no NaN."""
    model = load_model(tiny_roberta)
    train(
        model,
        roberta_tokens,
        tmp_path / "run",
        PretrainConfig(**SETTINGS, max_steps=4),
        Harm(model, step=1, until=2),
    )

    def refuse(name: str) -> None:
        raise AssertionError(f"metrics.jsonl holds {name}")

    for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)
