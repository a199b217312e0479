"""Interrupted and resumed is uninterrupted, to the bit; what a run refuses."""

import json
import random
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from biolm.errors import ArtifactError, ConfigError, ModelError
from biolm.model.loading import load_model
from biolm.progress import Silent
from biolm.tokens.tokenizer import load_tokenizer
from biolm.training.checkpoint import find_checkpoint
from biolm.training.config import PretrainConfig
from biolm.training.loop import train
from biolm.training.metrics import read_metrics
from biolm.training.run import pretrain
from conftest import kill_after

SETTINGS = {
    "epochs": 2,
    "examples_per_step": 8,
    "max_row_tokens": 300,
    "lr_peak": 1e-3,
    "validate_every": 5,
    "checkpoint_every": 4,
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
    "threads": 1,
}


class Stop(Exception):  # noqa: N818  a signal of the test, no error
    """Raised in the middle of training."""


class StopAt(Silent):
    def __init__(self, step: int) -> None:
        self._step = step

    def update(self, done: float, note: str = "") -> None:
        if done == self._step:
            raise Stop


def run_to_the_end(base: Path, store, out: Path, **changes: object) -> dict[str, torch.Tensor]:
    config = PretrainConfig(**{**SETTINGS, **changes})
    model = pretrain(store, load_tokenizer(str(base)), str(base), out, config, Silent(), resume=True)
    return load_file(model / "model.safetensors")


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_stopped_anywhere_and_resumed_gives_the_same_weights_and_metrics(
    tiny_roberta: Path, roberta_tokens, tmp_path: Path
):
    whole = run_to_the_end(tiny_roberta, roberta_tokens, tmp_path / "whole")
    config = PretrainConfig(**SETTINGS)
    for step in (1, 9, 12, 21):
        with pytest.raises(Stop):
            pretrain(
                roberta_tokens,
                load_tokenizer(str(tiny_roberta)),
                str(tiny_roberta),
                tmp_path / "stopped",
                config,
                StopAt(step),
                resume=True,
            )
    resumed = run_to_the_end(tiny_roberta, roberta_tokens, tmp_path / "stopped")
    assert_same(whole, resumed)

    def without_speed(run: str) -> list[dict[str, float]]:
        lines = read_metrics(tmp_path / run)
        return [{k: v for k, v in line.items() if k != "train/tokens_per_second"} for line in lines]

    assert without_speed("stopped") == without_speed("whole")


def test_training_changes_weights_and_lowers_the_loss(tiny_roberta: Path, roberta_tokens, tmp_path: Path):
    trained = run_to_the_end(tiny_roberta, roberta_tokens, tmp_path / "run", hidden_dropout=0.0)
    before = load_file(tiny_roberta / "model.safetensors")
    assert any(not torch.equal(trained[name], before[name]) for name in before)
    losses = [m["validation/loss"] for m in read_metrics(tmp_path / "run") if "validation/loss" in m]
    assert losses[-1] < losses[0]


def test_another_seed_gives_other_weights(tiny_roberta: Path, roberta_tokens, tmp_path: Path):
    first = run_to_the_end(tiny_roberta, roberta_tokens, tmp_path / "1", max_steps=3)
    second = run_to_the_end(tiny_roberta, roberta_tokens, tmp_path / "2", max_steps=3, seed=2)
    name = "roberta.encoder.layer.0.output.dense.weight"
    assert not torch.equal(first[name], second[name])


def test_the_newest_damaged_checkpoint_is_passed_over(
    tiny_roberta: Path, roberta_tokens, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    run = tmp_path / "run"
    with pytest.raises(Stop):
        train(
            load_model(tiny_roberta, hidden_dropout=0.1, attention_dropout=0.1),
            roberta_tokens,
            run,
            PretrainConfig(**SETTINGS),
            StopAt(13),
        )
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == [
        "step-00000008",
        "step-00000012",
    ]
    weights = run / "checkpoints/step-00000012/weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    found = find_checkpoint(run / "checkpoints")
    assert found is not None
    assert found[0].name == "step-00000008"
    assert "step-00000012" in caplog.text
    train(
        load_model(tiny_roberta, hidden_dropout=0.1, attention_dropout=0.1),
        roberta_tokens,
        run,
        PretrainConfig(**SETTINGS),
        Silent(),
    )
    newest = find_checkpoint(run / "checkpoints")
    assert newest is not None
    whole = run_to_the_end(tiny_roberta, roberta_tokens, tmp_path / "whole")
    resumed = load_file(newest[0] / "weights.safetensors")
    assert all(torch.equal(tensor, whole[name]) for name, tensor in resumed.items())


def test_a_loss_that_is_not_finite_stops_with_one_line(tiny_roberta: Path, roberta_tokens, tmp_path: Path):
    model = load_model(tiny_roberta)
    with torch.no_grad():
        model.lm_head.dense.weight[0, 0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        train(model, roberta_tokens, tmp_path / "run", PretrainConfig(**SETTINGS), Silent())


@pytest.mark.slow
def test_killed_by_sigkill_at_random_moments_and_resumed_gives_the_same_weights(
    tiny_roberta: Path, roberta_tokens, tmp_path: Path
):
    settings = {**SETTINGS, "epochs": 8, "checkpoint_every": 3}
    whole = run_to_the_end(tiny_roberta, roberta_tokens, tmp_path / "whole", **settings)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "biolm", "pretrain", str(roberta_tokens.folder)]
    command += [
        "--base",
        str(tiny_roberta),
        "--out",
        str(out),
        "--resume",
        "--evaluate-split",
        "none",
        "--quiet",
    ]
    for name, value in settings.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    delays = random.Random(3)
    killed = 0
    for _ in range(3):
        before = find_checkpoint(out / "checkpoints")
        step = before[1].step if before else 0

        def further(step: int = step) -> bool:
            return any(int(path.name[5:]) > step for path in (out / "checkpoints").glob("step-*"))

        killed += kill_after(command, delays.uniform(0.0, 0.5), begun=further)
    assert killed
    assert not kill_after(command, 120)
    assert_same(whole, load_file(out / "model/model.safetensors"))


def test_a_run_is_not_overwritten_without_resume(tiny_roberta: Path, roberta_tokens, tmp_path: Path):
    run_to_the_end(tiny_roberta, roberta_tokens, tmp_path / "run", max_steps=1)
    with pytest.raises(ArtifactError, match="--resume"):
        pretrain(
            roberta_tokens,
            load_tokenizer(str(tiny_roberta)),
            str(tiny_roberta),
            tmp_path / "run",
            PretrainConfig(**{**SETTINGS, "max_steps": 1}),
            Silent(),
            resume=False,
        )


def test_a_run_is_not_resumed_with_other_settings_or_base(tiny_roberta: Path, roberta_tokens, tmp_path: Path):
    run_to_the_end(tiny_roberta, roberta_tokens, tmp_path / "run", max_steps=1)
    with pytest.raises(ConfigError, match="lr_peak"):
        run_to_the_end(tiny_roberta, roberta_tokens, tmp_path / "run", max_steps=1, lr_peak=0.5)
    from conftest import save_tiny

    other = save_tiny(tmp_path / "other", "roberta", seed=5)
    with pytest.raises(ConfigError, match="another base"):
        run_to_the_end(other, roberta_tokens, tmp_path / "run", max_steps=1)


def test_a_folder_of_other_files_is_left_alone(tiny_roberta: Path, roberta_tokens, tmp_path: Path):
    (tmp_path / "config.json").write_text('{"someone": "else"}')
    with pytest.raises(ArtifactError, match="holds other files"):
        run_to_the_end(tiny_roberta, roberta_tokens, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == {"someone": "else"}


def test_a_store_of_another_tokenizer_is_refused(tiny_bert: Path, roberta_tokens, tmp_path: Path):
    with pytest.raises(ModelError, match="another tokenizer"):
        run_to_the_end(tiny_bert, roberta_tokens, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("lr_peak", 0.0),
        ("lr_peak", float("nan")),
        ("mask_rate", 1.5),
        ("hidden_dropout", 1.0),
        ("clip_norm", -1.0),
        ("precision", "fp8"),
        ("seed", -1),
        ("warmup_fraction", 2.0),
        ("max_steps", 0),
        ("weight_decay", float("nan")),
        ("mask_token_share", float("nan")),
        ("seed", 2**64),
    ],
)
def test_impossible_settings_are_refused(name: str, value: object):
    with pytest.raises(ConfigError, match=name):
        PretrainConfig(**{name: value})


def test_the_loss_is_per_masked_token_of_the_whole_step(tiny_roberta: Path, roberta_tokens, tmp_path: Path):
    """Rows of any size: the same first loss and gradient norm, where the Trainer's grow with accumulation."""

    def first_step(budget: int) -> dict[str, float]:
        run = tmp_path / str(budget)
        changes = {"max_row_tokens": budget, "hidden_dropout": 0.0, "attention_dropout": 0.0, "max_steps": 1}
        run_to_the_end(tiny_roberta, roberta_tokens, run, examples_per_step=32, **changes)
        return next(line for line in read_metrics(run) if line["step"] == 1 and "train/loss" in line)

    small, large = first_step(64), first_step(100_000)
    assert small["train/loss"] == pytest.approx(large["train/loss"], rel=1e-5)
    assert small["train/gradient_norm"] == pytest.approx(large["train/gradient_norm"], rel=1e-4)
