"""Updates as their papers write them: AdamW, StableAdamW, decay, schedules, clipping, rates by layer, averages."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from engine import FAMILIES, config_of, gradients_of, passages, steps_of, trainer_of, weights_of
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from biolm.errors import ConfigError
from biolm.model.loading import load_model
from biolm.progress import Silent
from biolm.tokens.tokenizer import load_tokenizer
from biolm.training.config import PretrainConfig
from biolm.training.metrics import read_metrics
from biolm.training.optimizer import learning_rate, make_optimizer, set_rate
from biolm.training.run import pretrain
from biolm.training.step import Trainer
from biolm.training.validation import Validation

Tensors = dict[str, torch.Tensor]


def plain_adamw(stable: bool) -> Callable[[Tensors, Tensors, float, PretrainConfig, dict[str, Any]], None]:
    """Loshchilov 2019, algorithm 2; with `stable`, Wortsman 2023, algorithm 2 (one rate for each tensor)."""

    def update(
        weights: Tensors, gradients: Tensors, rate: float, config: PretrainConfig, state: dict[str, Any]
    ) -> None:
        step = state["step"] = state.get("step", 0) + 1
        first, second, epsilon = config.adam_beta1, config.adam_beta2, config.adam_epsilon
        for name, weight in weights.items():
            gradient = gradients[name]
            m = state[name, 1] = first * state.get((name, 1), 0) + (1 - first) * gradient
            v = state[name, 2] = second * state.get((name, 2), 0) + (1 - second) * gradient**2
            m_hat, v_hat = m / (1 - first**step), v / (1 - second**step)
            own = rate
            if stable:
                rms = (gradient**2 / v_hat.clamp(min=epsilon**2)).mean().sqrt()
                own = rate / max(1.0, float(rms))
            decay = config.weight_decay if weight.dim() > 1 else 0.0
            weights[name] = weight - own * decay * weight - own * m_hat / (v_hat.sqrt() + epsilon)

    return update


def clipped(gradients: Tensors, limit: float | None) -> tuple[Tensors, float]:
    """The gradients as torch's clip_grad_norm_ leaves them, and their norm before."""
    norm = math.sqrt(sum(float((gradient**2).sum()) for gradient in gradients.values()))
    parameters = []
    for gradient in gradients.values():
        parameter = torch.nn.Parameter(torch.zeros_like(gradient))
        parameter.grad = gradient.clone()
        parameters.append(parameter)
    if limit is not None:
        torch.nn.utils.clip_grad_norm_(parameters, limit)
    return dict(zip(gradients, (p.grad for p in parameters if p.grad is not None), strict=True)), norm


@pytest.mark.parametrize("clip_norm", [None, 1e-2, 1e9])
@pytest.mark.parametrize("optimizer", ["adamw", "stable-adamw"])
def test_updates_are_those_of_the_paper_on_gradients_that_torch_has_clipped(
    optimizer: str, clip_norm: float | None, tiny_roberta: Path
):
    config = config_of(
        optimizer=optimizer, clip_norm=clip_norm, weight_decay=0.3, examples_per_step=8, adam_beta2=0.9
    )
    free = config_of(examples_per_step=8)
    steps = steps_of(tiny_roberta, passages(48), config)
    trainer = trainer_of(tiny_roberta, config, dtype=torch.float64)
    other = trainer_of(tiny_roberta, free, dtype=torch.float64)  # gives gradients at our weights
    ours, state = weights_of(trainer), {}
    plain, shortened = plain_adamw(stable=optimizer == "stable-adamw"), 0
    for number in range(6):
        rate = 0.01 * (number + 1)
        put(other, ours)
        raw = other.step(number, steps.rows(number), rate=0.0)
        gradients, norm = clipped(gradients_of(other), clip_norm)
        assert raw.gradient_norm == pytest.approx(norm, rel=1e-12)
        shortened += clip_norm is not None and norm > clip_norm
        plain(ours, gradients, rate, config, state)
        facts = trainer.step(number, steps.rows(number), rate=rate)
        assert facts.gradient_norm == pytest.approx(norm, rel=1e-6)  # before clipping
        found = weights_of(trainer)
        for name, weight in ours.items():
            torch.testing.assert_close(found[name], weight, rtol=1e-7, atol=1e-9, msg=name)
    assert shortened == (6 if clip_norm == 1e-2 else 0)


def put(trainer: Trainer, weights: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in trainer.parallel.parameters.items():
            parameter.copy_(weights[name])


def test_stable_adamw_does_shorten_a_step_whose_gradient_is_larger_than_expected(tiny_roberta: Path):
    """Else the test above could not tell it from AdamW."""
    moved = []
    for optimizer in ("adamw", "stable-adamw"):
        model = load_model(tiny_roberta)
        parameters = dict(model.named_parameters())
        made = make_optimizer(model, parameters, config_of(optimizer=optimizer, weight_decay=0.0))
        set_rate(made, 1e-3)
        for size in (1e-3, 1e-3, 1.0):
            for parameter in parameters.values():
                parameter.grad = torch.full_like(parameter, size)
            before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
            made.step()
        moved.append(
            {name: (parameter - before[name]).norm().item() for name, parameter in parameters.items()}
        )
    root_mean_square = math.sqrt(
        1 + 0.98 + 0.98**2
    )  # of the gradient by its expected size, at the third step
    for name, distance in moved[0].items():
        assert distance == pytest.approx(root_mean_square * moved[1][name], rel=1e-3), name


@pytest.mark.parametrize("optimizer", ["adamw", "stable-adamw"])
@pytest.mark.parametrize("family", FAMILIES)
def test_matrices_decay_and_norms_and_biases_do_not(
    family: str, optimizer: str, request: pytest.FixtureRequest
):
    """Of a step whose gradients are all zero, decay is what remains."""
    trainer = trainer_of(
        request.getfixturevalue(f"tiny_{family}"), config_of(optimizer=optimizer, weight_decay=0.5)
    )
    before = weights_of(trainer)
    for parameter in trainer.parallel.parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    set_rate(trainer.optimizer, 0.1)
    trainer.optimizer.step()
    kinds = {True: 0, False: 0}
    for name, weight in weights_of(trainer).items():
        still = "bias" in name or "norm" in name.lower()
        kinds[still] += 1
        torch.testing.assert_close(weight, before[name] * (1.0 if still else 0.95), msg=name)
        if still:
            assert torch.equal(weight, before[name])
    assert min(kinds.values()) > 5


LAYERS_ABOVE = {
    "roberta": {
        "roberta.embeddings.word_embeddings.weight": 3,
        "roberta.embeddings.LayerNorm.bias": 3,
        "roberta.encoder.layer.0.attention.self.query.weight": 2,
        "roberta.encoder.layer.1.output.dense.bias": 1,
        "lm_head.dense.weight": 0,
        "lm_head.bias": 0,
    },
    "bert": {
        "bert.embeddings.position_embeddings.weight": 3,
        "bert.encoder.layer.0.output.LayerNorm.weight": 2,
        "bert.encoder.layer.1.attention.output.dense.weight": 1,
        "cls.predictions.transform.dense.weight": 0,
        "cls.predictions.bias": 0,
    },
    "modernbert": {
        "model.embeddings.tok_embeddings.weight": 4,
        "model.embeddings.norm.weight": 4,
        "model.layers.0.attn.Wqkv.weight": 3,
        "model.layers.1.mlp.Wi.weight": 2,
        "model.layers.2.mlp_norm.weight": 1,
        "model.final_norm.weight": 0,
        "head.dense.weight": 0,
        "decoder.bias": 0,
    },
}
"""Two layers, three in ModernBERT; the tied decoder learns as the embedding that it is."""


@pytest.mark.parametrize("optimizer", ["adamw", "stable-adamw"])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_layer_learns_by_a_factor_less_than_the_one_above_it(
    family: str, optimizer: str, request: pytest.FixtureRequest
):
    """Of equal gradients, a first step is the rate in every weight."""
    config = config_of(optimizer=optimizer, layer_lr_decay=0.5, weight_decay=0.0)
    trainer = trainer_of(request.getfixturevalue(f"tiny_{family}"), config, dtype=torch.float64)
    before = weights_of(trainer)
    for parameter in trainer.parallel.parameters.values():
        parameter.grad = torch.ones_like(parameter)
    set_rate(trainer.optimizer, 0.1)
    trainer.optimizer.step()
    moved = {name: before[name] - weight for name, weight in weights_of(trainer).items()}
    steps = {name: change.flatten()[0].item() for name, change in moved.items()}
    assert all(torch.allclose(change, change.flatten()[0]) for change in moved.values())
    for name, above in LAYERS_ABOVE[family].items():
        assert steps[name] == pytest.approx(0.1 * 0.5**above, rel=1e-5), name
    for name, step in steps.items():
        parts = [part for part in name.split(".") if part.isdigit()]
        layers = len(trainer.model.base_model.config.layer_types) if family == "modernbert" else 2
        above = layers - int(parts[0]) if parts else layers + 1 if "embeddings" in name else 0
        assert step == pytest.approx(0.1 * 0.5**above, rel=1e-5), name


# Schedules


def expected_rate(step: int, total: int, config: PretrainConfig) -> float:
    """Where a line or half a cosine would stand after `step` + 1 steps of warm-up, and at `step` behind it."""
    warm = round(config.warmup_fraction * total)
    if step < warm:
        return config.lr_peak * (step + 1) / warm
    if config.schedule == "linear":
        return config.lr_peak * (total - step) / (total - warm)
    if config.schedule == "cosine":
        return config.lr_peak * (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2
    last = max(1, round(config.decay_fraction * total))
    return config.lr_peak * min(1.0, (total - step) / last)


schedules = st.builds(
    lambda schedule, warm, decay, peak: config_of(
        schedule=schedule, warmup_fraction=warm, decay_fraction=min(decay, 1 - warm), lr_peak=peak
    ),
    st.sampled_from(["linear", "cosine", "wsd"]),
    st.floats(0, 0.98),
    st.floats(0.01, 1.0),
    st.floats(1e-6, 1e-2),
)


@given(schedules, st.integers(1, 500))
def test_a_rate_rises_to_its_peak_and_falls_to_zero_after_the_last_step(config: PretrainConfig, total: int):
    rates = [learning_rate(step, total, config) for step in range(total)]
    assert rates == pytest.approx([expected_rate(step, total, config) for step in range(total)])
    assert min(rates) > 0
    assert max(rates) == pytest.approx(config.lr_peak)
    assert max(rates) <= config.lr_peak * (1 + 1e-12)
    top = rates.index(max(rates))
    assert all(a <= b for a, b in pairwise(rates[: top + 1]))
    assert all(a >= b * (1 - 1e-12) for a, b in pairwise(rates[top:]))
    assert learning_rate(total, total, config) == pytest.approx(0, abs=1e-9 * config.lr_peak)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("linear", [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        ("wsd", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]),
        ("cosine", [0.5, 1.0, *((1 + math.cos(math.pi * i / 8)) / 2 for i in range(8))]),
    ],
)
def test_ten_steps_by_hand(schedule: str, rates: list[float]):
    config = config_of(schedule=schedule, warmup_fraction=0.2, decay_fraction=0.2, lr_peak=1.0)
    assert [learning_rate(step, 10, config) for step in range(10)] == pytest.approx(rates)


def test_a_warm_up_and_a_decay_that_overlap_are_refused():
    with pytest.raises(ConfigError, match="add up to more than 1"):
        config_of(schedule="wsd", warmup_fraction=0.6, decay_fraction=0.5)


# The average of the weights


def test_the_average_follows_its_recurrence_and_leaves_training_alone(tiny_roberta: Path):
    config = config_of(ema_decay=0.75, examples_per_step=8)
    steps = steps_of(tiny_roberta, passages(32), config)
    with_average = trainer_of(tiny_roberta, config, dtype=torch.float64)
    without = trainer_of(tiny_roberta, config_of(examples_per_step=8), dtype=torch.float64)
    assert with_average.average is not None
    mean = weights_of(without)  # it begins with the base
    for number in range(4):
        with_average.step(number, steps.rows(number), rate=0.01)
        without.step(number, steps.rows(number), rate=0.01)
        now = weights_of(without)
        mean = {name: 0.75 * mean[name] + 0.25 * now[name] for name in mean}
        for name, tensor in with_average.average.tensors().items():
            torch.testing.assert_close(tensor, mean[name], rtol=1e-12, atol=1e-14)
            assert torch.equal(with_average.parallel.parameters[name], now[name])


def test_the_average_is_what_is_validated_and_what_becomes_the_model(
    tiny_roberta: Path, roberta_tokens, tmp_path: Path
):
    settings = {
        "max_steps": 6,
        "examples_per_step": 8,
        "lr_peak": 1e-2,
        "validate_every": 6,
        "checkpoint_every": 6,
        "threads": 1,
    }
    tokenizer = load_tokenizer(str(tiny_roberta))
    runs = {}
    for decay in (None, 0.9):
        out = tmp_path / str(decay)
        config = PretrainConfig(**settings, ema_decay=decay)
        pretrain(roberta_tokens, tokenizer, str(tiny_roberta), out, config, Silent(), resume=False)
        losses = [line["validation/loss"] for line in read_metrics(out) if "validation/loss" in line]
        runs[decay] = (load_file(out / "model/model.safetensors"), losses)
    plain, averaged = runs[None], runs[0.9]
    assert plain[1][0] == averaged[1][0]
    assert plain[1][-1] != averaged[1][-1]
    base = load_file(tiny_roberta / "model.safetensors")
    name = "roberta.encoder.layer.1.output.dense.weight"
    distances = [float((weights[name] - base[name]).norm()) for weights, _ in (plain, averaged)]
    assert distances[1] < 0.7 * distances[0]  # the average lags behind
    for decay, (_, losses) in runs.items():  # the model is what was validated last
        trainer = trainer_of(tmp_path / str(decay) / "model", PretrainConfig(**settings))
        assert Validation(trainer, roberta_tokens, trainer.config.validation_examples).measure()[
            "validation/loss"
        ] == pytest.approx(losses[-1], rel=1e-6)


def test_what_cannot_be_together_is_refused():
    with pytest.raises(ConfigError, match="give row_shape fixed too"):
        PretrainConfig(compile="reduce-overhead")
    PretrainConfig(compile="reduce-overhead", row_shape="fixed")
    with pytest.raises(ConfigError, match="twice"):
        PretrainConfig(track=("wandb", "wandb"))
