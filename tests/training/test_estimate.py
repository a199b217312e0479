"""What a run is said to take, against what it is: amounts by counting, the probe on a clock of its own."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ModernBertConfig, ModernBertForMaskedLM, RobertaConfig, RobertaForMaskedLM

from biolm.batches.examples import cut_examples
from biolm.batches.masking import Masker
from biolm.batches.packing import PackedRow
from biolm.batches.steps import TrainingSteps
from biolm.model.attention import PACKED
from biolm.model.device import autocast, resolve_row_tokens
from biolm.model.families import family_of
from biolm.model.loading import load_model
from biolm.model.masked_lm import packed_logits
from biolm.training import probe as probing
from biolm.training.config import PretrainConfig
from biolm.training.estimate import largest_row, mean_mask_rate, plan_run, seconds_here
from biolm.training.flops import Amount, Shape, training_flops
from biolm.training.footprint import disk_of, memory_of
from biolm.training.probe import ProbeResult, Work, measure
from biolm.training.published import BERT_LARGE, machines

CPU = torch.device("cpu")
SHAPE = Shape(width=8, inner=16, mlp_matrices=2, reaches=(None, None), vocabulary=50)


def plan_and_steps(store, **changes: object):
    config = PretrainConfig(**{"examples_per_step": 8, "max_tokens": 40, **changes})
    examples = cut_examples(
        store.split("train"), store.vocabulary, max_tokens=40, long_passages=config.long_passages
    )
    steps = TrainingSteps(
        examples,
        Masker(store.vocabulary, config.masking, purpose="train mask", seed=1),
        seed=1,
        examples_per_step=config.examples_per_step,
        tokens_per_step=config.tokens_per_step,
        max_row_tokens=resolve_row_tokens(config.max_row_tokens, CPU),
        epochs=config.epochs,
        max_steps=config.max_steps,
    )
    validation = cut_examples(store.split("validation"), store.vocabulary, max_tokens=128)
    plan = plan_run(store, steps, validation, SHAPE, config, last_layer_at_masked=True)
    return plan, steps, config


@pytest.mark.parametrize("changes", [{}, {"tokens_per_step": 300}, {"long_passages": "truncate"}])
def test_a_plan_is_what_the_steps_hold(roberta_tokens, changes: dict[str, object]):
    plan, steps, config = plan_and_steps(roberta_tokens, epochs=2, **changes)
    rows = [row for step in range(steps.total) for row in steps.rows(step)]
    lengths = np.concatenate([row.lengths for row in rows])
    masked = np.concatenate([row.masked_per_window for row in rows])
    assert plan.steps == steps.total == 2 * plan.steps_per_epoch
    assert plan.windows_seen == len(lengths) == 2 * plan.windows
    assert plan.tokens_seen == lengths.sum() == 2 * plan.epoch_tokens
    assert plan.tokens_per_step * plan.steps == pytest.approx(plan.tokens_seen)
    assert plan.epochs == 2
    assert plan.masked_tokens == pytest.approx(masked.sum(), rel=0.05)
    done = training_flops(SHAPE, Amount.of(lengths, masked, SHAPE))
    assert plan.training_flops == pytest.approx(done, rel=0.03)
    assert (plan.truncated_tokens > 0) is (config.long_passages == "truncate")


def test_a_run_that_stops_early_is_a_part_of_an_epoch(roberta_tokens):
    plan, steps, _ = plan_and_steps(roberta_tokens, epochs=3, max_steps=5)
    seen = sum(len(steps.examples_of(step)) for step in range(5))
    assert (plan.steps, plan.windows_seen) == (5, seen) == (5, 40)
    assert plan.epochs == pytest.approx(40 / plan.windows)
    whole, _, _ = plan_and_steps(roberta_tokens)
    assert plan.training_flops == pytest.approx(whole.training_flops * plan.epochs)


def test_validations_are_counted_with_the_first_and_the_last(roberta_tokens):
    for every, validations in ((1, 6), (2, 4), (5, 2), (100, 2)):
        plan, _, _ = plan_and_steps(roberta_tokens, max_steps=5, validate_every=every)
        assert plan.validations == validations
        assert plan.flops == plan.training_flops + plan.validation_flops > plan.training_flops


@pytest.mark.parametrize("change", ["linear", "step"])
@pytest.mark.parametrize("total", [1, 2, 7, 100])
def test_the_mean_mask_rate_is_that_of_the_steps(change: str, total: int):
    config = PretrainConfig(mask_rate=0.3, mask_rate_end=0.15, mask_rate_change=change, decay_fraction=0.2)
    rates = [config.masking.rate_at(step, total) for step in range(total)]
    if total > 1:
        assert mean_mask_rate(config, total) == pytest.approx(np.mean(rates))
    assert mean_mask_rate(PretrainConfig(mask_rate=0.4), total) == 0.4


class Clock:
    """Steps that take what they are said to take, on a clock that nothing else moves."""

    def __init__(self, fixed: float, speed: float) -> None:
        self.now, self.fixed, self.speed = 0.0, fixed, speed
        self.ran: list[int] = []

    def __call__(self) -> float:
        return self.now

    def work(self, number: int, windows: int) -> Work:
        flops = 100.0 * windows

        def run() -> None:
            self.now += self.fixed + flops / self.speed
            self.ran.append(windows)

        return Work(tokens=10 * windows, flops=flops, run=run)

    def peak(self, seconds: float) -> float:
        self.now += seconds
        return 2 * self.speed


def timed(clock: Clock, whole: int, seconds: float, monkeypatch: pytest.MonkeyPatch) -> ProbeResult:
    monkeypatch.setattr(probing.time, "perf_counter", clock)
    return measure(clock.work, whole_windows=whole, peak=clock.peak, seconds=seconds)


@pytest.mark.parametrize(
    ("fixed", "speed", "whole"),
    [(0.0, 1000.0, 64), (0.3, 1000.0, 64), (0.3, 100.0, 64), (0.01, 1e6, 4096), (0.0, 50.0, 1)],
)
def test_a_probe_finds_what_a_step_costs_within_its_time(
    fixed: float, speed: float, whole: int, monkeypatch: pytest.MonkeyPatch
):
    clock = Clock(fixed, speed)
    result = timed(clock, whole, 20.0, monkeypatch)
    assert clock.now <= 20 + fixed + 100 * max(clock.ran) / speed
    assert result.seconds == clock.now
    step = 100 * whole / result.flops_per_second + result.fixed_seconds
    assert step == pytest.approx(fixed + 100 * whole / speed)
    assert result.slowest_flops_per_second <= result.flops_per_second <= result.fastest_flops_per_second
    assert result.peak_flops_per_second == 2 * speed


def test_a_probe_takes_whole_steps_where_they_fit_and_ends_early(monkeypatch: pytest.MonkeyPatch):
    clock = Clock(0.0, 1e6)
    result = timed(clock, 100, 20.0, monkeypatch)
    assert result.sample_tokens == 1000
    assert result.samples == probing.MOST_SAMPLES
    assert clock.now < 5


def test_a_probe_of_noisy_steps_never_beats_the_matrix_product(monkeypatch: pytest.MonkeyPatch):
    """The one small step that was slow by chance must not make the others fast."""
    clock = Clock(0.0, 100.0)
    plain = clock.work

    def work(number: int, windows: int) -> Work:
        one = plain(number, windows)

        def run() -> None:
            one.run()
            clock.now += 2.0 * (windows == 1)

        return dataclasses.replace(one, run=run)

    monkeypatch.setattr(clock, "work", work)
    result = timed(clock, 64, 40.0, monkeypatch)
    assert result.fastest_flops_per_second <= result.peak_flops_per_second


def test_a_probe_without_time_gives_the_one_step_it_took(monkeypatch: pytest.MonkeyPatch):
    clock = Clock(7.0, 100.0)
    result = timed(clock, 64, 10.0, monkeypatch)
    assert result.samples == 1
    assert clock.ran == [1, 1]


def test_seconds_are_those_of_steps_and_validations(roberta_tokens):
    plan, _, _ = plan_and_steps(roberta_tokens)
    result = ProbeResult(
        flops_per_second=100.0,
        slowest_flops_per_second=50.0,
        fastest_flops_per_second=200.0,
        fixed_seconds=0.5,
        tokens_per_second=1.0,
        peak_flops_per_second=1.0,
        samples=3,
        sample_tokens=1.0,
        seconds=1.0,
    )
    seconds = seconds_here(plan, result)
    assert seconds.value == pytest.approx(plan.flops / 100 + plan.steps * 0.5)
    assert seconds.low < seconds.value < seconds.high


def test_a_checkpoint_takes_what_was_said(tiny_roberta: Path, roberta_tokens, tmp_path: Path):
    from biolm.progress import Silent
    from biolm.training.loop import train

    config = PretrainConfig(max_steps=1, ema_decay=0.9, validation_examples=4)
    model = load_model(tiny_roberta)
    train(model, roberta_tokens, tmp_path, config, Silent())
    files = (tmp_path / "checkpoints/step-00000001").glob("*.safetensors")
    disk = disk_of(sum(p.numel() for p in model.parameters()), config)
    assert sum(file.stat().st_size for file in files) == pytest.approx(disk.checkpoint, rel=0.2)  # headers
    assert disk.total == disk.checkpoints + disk.model


FAMILIES = {
    "roberta": (RobertaForMaskedLM, RobertaConfig, {"max_position_embeddings": 514}),
    "modernbert": (
        ModernBertForMaskedLM,
        ModernBertConfig,
        {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3, "local_attention": 1000},
    ),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("family", "dropout"),
    [("roberta", (0.0, 0.0)), ("roberta", (0.1, 0.0)), ("roberta", (0.1, 0.1)), ("modernbert", (0.0, 0.0))],
)
def test_saved_activations_are_about_as_estimated(family: str, dropout: tuple[float, float], precision: str):
    """What autograd keeps, counted: four layers, hardly anything masked."""
    kind, configuration, more = FAMILIES[family]
    model = kind(
        configuration(
            vocab_size=50,
            hidden_size=64,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=128,
            pad_token_id=1,
            **more,
        )
    )
    model.set_attn_implementation(PACKED)
    family_of(model.config).set_dropout(model, *dropout)
    lengths = np.array([200, 100, 300, 400])
    ids = np.random.default_rng(0).integers(5, 50, 1000)
    place = np.array([7])
    row = PackedRow(ids, lengths, place, ids[place], np.array([1, 0, 0, 0]), np.arange(4))
    kept: dict[int, torch.Tensor] = {}
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, autocast(model.device, precision):
        packed_logits(model.train(), row)
    measured = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    shape = Shape.of(model.config)
    amount = Amount.of(lengths, row.masked_per_window, shape)
    config = PretrainConfig(hidden_dropout=dropout[0], attention_dropout=dropout[1])
    memory = memory_of(shape, 4, 1000, amount, config, precision=precision, cuda=False)
    assert memory.activations == pytest.approx(measured, rel=0.15)


def test_memory_adds_up(roberta_tokens):
    plan, _, config = plan_and_steps(roberta_tokens, ema_decay=0.99, max_row_tokens=200)
    row = largest_row(plan, config, CPU)
    assert row.tokens == 200
    memory = memory_of(SHAPE, 4, 1000, row, config, precision="bf16", cuda=True)
    parts = [getattr(memory, field.name) for field in dataclasses.fields(memory)]
    assert memory.peak == sum(parts)
    assert (memory.weights, memory.gradients, memory.optimizer) == (4000, 4000, 8000)
    assert (memory.average, memory.half_copies) == (8000, 2000)
    lean = dataclasses.replace(config, activation_checkpointing=True)
    assert memory_of(SHAPE, 4, 1000, row, lean, precision="bf16", cuda=True).activations < memory.activations


def test_published_speeds_are_below_what_the_cards_can_and_say_where_they_are_from():
    peaks = {"4 x V100": 125e12, "1 x A100": 312e12, "8 x H100": 989e12}  # NVIDIA's data sheets, dense
    assert {machine.name for machine in machines()} == peaks.keys()
    for machine in machines():
        for speed in filter(None, (machine.half, machine.fp32)):
            assert 0.02 < speed.flops_per_second / machine.gpus / peaks[machine.name] < 0.5
            assert speed.address.startswith("https://")
            assert speed.title
            assert speed.read
        assert (machine.half is None or machine.fp32 is None) is bool(machine.missing)
    v100 = machines()[0]
    assert v100.fp32 is not None
    assert v100.fp32.flops_per_second / v100.gpus < 15.7e12


def test_bert_large_is_of_the_known_size():
    """24 layers of 12.6 million weights each, 31 million in embeddings or head."""
    windows = np.array([512])
    amount = Amount.of(windows, windows, BERT_LARGE)
    flops = training_flops(BERT_LARGE, amount, last_layer_at_masked=False)
    weights = 24 * 12 * 1024**2 + 1024 * (1024 + 30522)
    assert flops == 6 * 512 * weights + 12 * 24 * 1024 * 512**2


def test_machines_have_keys_of_one_word():
    keys = [machine.key for machine in machines()]
    assert keys == ["4xV100", "1xA100", "8xH100"]
    assert all(first != second for first, second in pairwise(keys))
