"""Interrupted and resumed is uninterrupted, to the bit; on other ranks but for rounding; what a run refuses."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded import read_log, recorded
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from biolm.errors import ArtifactError, ConfigError, ModelError
from biolm.progress import Silent
from biolm.tokens.tokenizer import load_tokenizer
from biolm.training import guard, loop, speed
from biolm.training.config import CHOICES, PretrainConfig
from biolm.training.metrics import read_metrics
from biolm.training.run import pretrain
from biolm.training.run_folder import MAY_CHANGE
from biolm.training.validation import Validation
from conftest import folder_bytes, save_tiny

SETTINGS: dict[str, Any] = {
    "epochs": 2,
    "examples_per_step": 8,
    "max_row_tokens": 500,
    "lr_peak": 1e-3,
    "validate_every": 5,
    "checkpoint_every": 4,
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
    "threads": 1,
}
"""32 steps."""


@pytest.fixture(autouse=True)
def no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """No half second for the device's matrix product: nothing here is about speed."""
    monkeypatch.setattr(speed, "matmul_peak", lambda *_, seconds: 1e11)


class Stop(Exception):  # noqa: N818  a signal of the test, no error
    """Raised in the middle of training."""


class StopAt(Silent):
    def __init__(self, step: int) -> None:
        self._step = step

    def update(self, done: float, note: str = "", *, before: bool = False) -> None:
        if done == self._step:
            raise Stop


def start(base: Path, store: Any, out: Path, *, stop: int | None = None, **changes: Any) -> Path:
    """Start a run or go on with it; to its end, or until it is stopped before it would save step `stop`."""
    config = PretrainConfig(**{**SETTINGS, **changes})
    progress = Silent() if stop is None else StopAt(stop)
    tokenizer = load_tokenizer(str(base))
    if stop is None:
        return pretrain(store, tokenizer, str(base), out, config, progress, resume=True)
    with pytest.raises(Stop):
        pretrain(store, tokenizer, str(base), out, config, progress, resume=True)
    return out


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model/model.safetensors")


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def without_speed(run: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if not k.startswith("speed/")} for line in read_metrics(run)]


def events_of(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run."""
    shown = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    shown.Reload()
    return {
        tag: [(event.step, event.value) for event in shown.Scalars(tag)]
        for tag in shown.Tags()["scalars"]
        if not tag.startswith("speed/")
    }


@pytest.fixture(scope="module")
def whole(tiny_roberta: Path, roberta_tokens, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with SETTINGS that nobody disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "matmul_peak", lambda *_, seconds: 1e11)
        run = tmp_path_factory.mktemp("whole") / "run"
        start(tiny_roberta, roberta_tokens, run)
    return run


@pytest.fixture
def finished(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "finished"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "optimizer": "stable-adamw",
            "schedule": "wsd",
            "ema_decay": 0.9,
            "layer_lr_decay": 0.9,
            "mask_rate": 0.3,
            "mask_rate_end": 0.15,
            "mask_unit": "word",
            "tokens_per_step": 700,
            "row_shape": "fixed",
            "final_weights": "best",
        },
        {
            "schedule": "cosine",
            "prepare_ahead": 0,
            "activation_checkpointing": True,
            "spike_factor": 1.02,
            "max_skipped": 30,
        },
    ],
    ids=["default", "everything", "spikes"],
)
def test_stopped_anywhere_and_resumed_gives_the_same_weights_and_metrics(
    tiny_roberta: Path,
    roberta_tokens,
    tmp_path: Path,
    changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(guard, "_ENOUGH", 3)
    monkeypatch.setattr(guard, "_REMEMBERED", 6)
    with recorded(tmp_path / "log-whole"):
        start(tiny_roberta, roberta_tokens, tmp_path / "whole", **changes)
    with recorded(tmp_path / "log"):
        for step in (1, 9, 12, 21):
            start(tiny_roberta, roberta_tokens, tmp_path / "stopped", stop=step, **changes)
        start(tiny_roberta, roberta_tokens, tmp_path / "stopped", **changes)
    assert without_speed(tmp_path / "stopped") == without_speed(tmp_path / "whole")
    assert events_of(tmp_path / "stopped") == events_of(tmp_path / "whole")
    assert read_log(tmp_path / "log") == read_log(tmp_path / "log-whole")
    for part in ("checkpoints", "model"):
        assert folder_bytes(tmp_path / "stopped" / part) == folder_bytes(tmp_path / "whole" / part)
    skipped = [line for line in read_metrics(tmp_path / "stopped") if "train/skipped" in line]
    assert bool(skipped) == ("spike_factor" in changes)


def test_training_changes_weights_and_lowers_the_loss(tiny_roberta: Path, whole: Path):
    before, after = load_file(tiny_roberta / "model.safetensors"), weights_of(whole)
    assert any(not torch.equal(after[name], before[name]) for name in before)
    losses = [line["validation/loss"] for line in read_metrics(whole) if "validation/loss" in line]
    assert losses[-1] < losses[0]


def test_another_seed_gives_other_weights(tiny_roberta: Path, roberta_tokens, tmp_path: Path):
    start(tiny_roberta, roberta_tokens, tmp_path / "1", max_steps=3)
    start(tiny_roberta, roberta_tokens, tmp_path / "2", max_steps=3, seed=2)
    name = "roberta.encoder.layer.0.output.dense.weight"
    assert not torch.equal(weights_of(tmp_path / "1")[name], weights_of(tmp_path / "2")[name])


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def checkpoints_of(run: Path) -> list[int]:
    return [int(path.name[5:]) for path in sorted((run / "checkpoints").iterdir())]


def test_the_newest_damaged_checkpoint_is_passed_over(
    tiny_roberta: Path, roberta_tokens, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    run = start(tiny_roberta, roberta_tokens, tmp_path / "run", stop=14)
    assert checkpoints_of(run) == [8, 12]
    damage(run / "checkpoints/step-00000012/optimizer.safetensors")
    caplog.set_level("INFO")
    start(tiny_roberta, roberta_tokens, run)
    assert "skipping checkpoint step-00000012: " in caplog.text
    assert "resuming from step 8" in caplog.messages
    assert_same(weights_of(run), weights_of(whole))
    assert without_speed(run) == without_speed(whole)


def test_without_a_whole_checkpoint_a_run_says_so_and_starts_again(
    tiny_roberta: Path, roberta_tokens, whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    run = start(tiny_roberta, roberta_tokens, tmp_path / "run", stop=14)
    for step in (8, 12):
        damage(run / f"checkpoints/step-{step:08d}/weights.safetensors")
    start(tiny_roberta, roberta_tokens, run)
    assert "no checkpoint is whole, so the run starts again from its first step" in caplog.messages
    assert_same(weights_of(run), weights_of(whole))
    assert without_speed(run) == without_speed(whole)
    assert events_of(run) == events_of(whole)


def test_a_model_is_not_made_of_older_weights_than_it_says(
    tiny_roberta: Path, finished: Path, roberta_tokens, monkeypatch: pytest.MonkeyPatch
):
    """The last checkpoint went bad between its writing and the making of the model."""
    shutil.rmtree(finished / "model")
    original = loop.train

    def train_and_damage(*given: Any, **named: Any) -> Any:
        trained = original(*given, **named)
        damage(finished / "checkpoints/step-00000032/weights.safetensors")
        return trained

    monkeypatch.setattr("biolm.training.run.train", train_and_damage)
    with pytest.raises(ArtifactError, match="no whole checkpoint of step 32"):
        start(tiny_roberta, roberta_tokens, finished)
    assert not (finished / "model").exists()


LOSSES = {0: 9.0, 4: 5.0, 8: 2.0, 12: 4.0, 16: 2.0000001, 20: 3.0, 24: 4.0, 28: 5.0, 32: 3.0}


@pytest.mark.parametrize("ema", [None, 0.8])
def test_the_model_is_the_best_checkpoint_where_that_is_wanted(
    tiny_roberta: Path, roberta_tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema: float | None
):
    """Its best step lies before two stops, and is kept while newer ones come and go."""
    progress: list[int] = []
    monkeypatch.setattr(
        Validation, "measure", lambda self: {"validation/loss": LOSSES[progress[-1]] if progress else 9.0}
    )
    original = loop._advance

    def advance(*given: Any) -> Any:
        counters = original(*given)
        progress.append(counters.step)
        return counters

    monkeypatch.setattr(loop, "_advance", advance)
    settings = {"validate_every": 4, "ema_decay": ema}
    for stop in (15, 26):
        start(tiny_roberta, roberta_tokens, tmp_path / "best", stop=stop, final_weights="best", **settings)
    start(tiny_roberta, roberta_tokens, tmp_path / "best", final_weights="best", **settings)
    assert checkpoints_of(tmp_path / "best") == [8, 28, 32]
    start(tiny_roberta, roberta_tokens, tmp_path / "last", **settings)
    for run, step in ((tmp_path / "best", 8), (tmp_path / "last", 32)):
        file = "average" if ema else "weights"
        saved = load_file(run / f"checkpoints/step-{step:08d}/{file}.safetensors")
        model = weights_of(run)
        assert saved.keys() >= model.keys()
        assert all(torch.equal(tensor, saved[name]) for name, tensor in model.items())
        trained = json.loads((run / "model/manifest.json").read_text())["trained"]
        assert (trained["steps"], trained["weights_of_step"]) == (32, step)


# What a run refuses, and what it takes


def test_a_finished_run_stays_as_it_is(
    tiny_roberta: Path, roberta_tokens, finished: Path, caplog: pytest.LogCaptureFixture
):
    before = folder_bytes(finished)
    for left in (".evaluation.json.1.partial", "model/.README.md.1.partial"):
        (finished / left).write_text("half a fi")
    caplog.set_level("INFO")
    start(tiny_roberta, roberta_tokens, finished)
    assert f"{finished} is finished already" in caplog.messages
    assert folder_bytes(finished) == before


OTHER: dict[str, Any] = {
    "compile": "default",
    "max_steps": 31,
    "tokens_per_step": 1000,
    "long_passages": "truncate",
    "mask_rate_end": 0.1,
    "layer_lr_decay": 0.9,
    "ema_decay": 0.9,
    "threads": 2,
    "track": ("wandb",),
    "device": "cpu",
    "clip_norm": None,
}


def another(field: dataclasses.Field[Any]) -> Any:
    """A possible value of a setting that SETTINGS have not."""
    value = SETTINGS.get(field.name, field.default)
    if field.name in OTHER:
        return OTHER[field.name]
    if field.name in CHOICES:
        return next(choice for choice in reversed(CHOICES[field.name]) if choice != value)
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else value * 0.9 + 0.02


@pytest.mark.parametrize("field", dataclasses.fields(PretrainConfig), ids=lambda field: field.name)
def test_a_run_goes_on_only_with_settings_that_do_not_reach_its_weights(
    tiny_roberta: Path, roberta_tokens, finished: Path, field: dataclasses.Field[Any]
):
    before, value = folder_bytes(finished), another(field)
    if field.name in MAY_CHANGE:
        start(tiny_roberta, roberta_tokens, finished, **{field.name: value})
    else:
        was = SETTINGS.get(field.name, field.default)
        with pytest.raises(ConfigError) as refused:
            start(tiny_roberta, roberta_tokens, finished, **{field.name: value})
        assert str(refused.value) == (
            f"{finished} was started with other settings: {field.name} {value} (was {was}); choose another --out"
        )
    assert folder_bytes(finished) == before


def test_a_run_keeps_the_row_size_that_it_began_with(
    tiny_roberta: Path, roberta_tokens, finished: Path, tmp_path: Path
):
    """Where none is given: whatever device goes on with it, or whatever the default was when it began."""
    before = folder_bytes(finished)
    start(tiny_roberta, roberta_tokens, finished, max_row_tokens=None)
    assert folder_bytes(finished) == before
    start(tiny_roberta, roberta_tokens, tmp_path / "new", max_row_tokens=None, max_steps=1)
    assert json.loads((tmp_path / "new" / "config.json").read_text())["config"]["max_row_tokens"] == 4096


def test_what_may_change_changes_no_bit(tiny_roberta: Path, roberta_tokens, whole: Path, tmp_path: Path):
    run = start(tiny_roberta, roberta_tokens, tmp_path / "run", stop=14)
    (run / ".metrics.jsonl.1.partial").write_text("half a fi")
    (run / "checkpoints/.step-00000016.partial").mkdir()  # of a step that is no checkpoint any more
    changes = {"checkpoint_every": 3, "keep_checkpoints": 5, "max_skipped": 3, "prepare_ahead": 0}
    start(tiny_roberta, roberta_tokens, run, **changes, parallel="fsdp")
    assert checkpoints_of(run) == [21, 24, 27, 30, 32]
    assert not list(run.rglob(".*"))
    assert_same(weights_of(run), weights_of(whole))
    assert without_speed(run) == without_speed(whole)
    saved = json.loads((run / "config.json").read_text())["config"]
    assert changes.items() <= saved.items()
    assert {
        "checkpoint_every",
        "keep_checkpoints",
        "max_skipped",
        "prepare_ahead",
        "parallel",
        "track",
    } == MAY_CHANGE


def test_a_setting_that_a_run_does_not_know_was_at_its_default(
    tiny_roberta: Path, roberta_tokens, finished: Path
):
    """A run of before a setting was added goes on; with another value it does not."""
    path = finished / "config.json"
    saved = json.loads(path.read_text())
    del saved["config"]["ema_decay"]
    path.write_text(json.dumps(saved))
    start(tiny_roberta, roberta_tokens, finished)
    with pytest.raises(ConfigError, match=r"ema_decay 0\.9 \(was None\)"):
        start(tiny_roberta, roberta_tokens, finished, ema_decay=0.9)
    saved["config"]["gone"] = 1
    path.write_text(json.dumps(saved))
    with pytest.raises(ConfigError, match=r"gone None \(was 1\)"):
        start(tiny_roberta, roberta_tokens, finished)


def test_a_run_is_not_overwritten_without_resume(tiny_roberta: Path, roberta_tokens, finished: Path):
    tokenizer, config = load_tokenizer(str(tiny_roberta)), PretrainConfig(**SETTINGS)
    with pytest.raises(ArtifactError, match="--resume"):
        pretrain(roberta_tokens, tokenizer, str(tiny_roberta), finished, config, Silent(), resume=False)


def test_a_run_does_not_go_on_with_another_base(
    tiny_roberta: Path, roberta_tokens, finished: Path, tmp_path: Path
):
    other = save_tiny(tmp_path / "other" / tiny_roberta.name, "roberta", seed=5)
    with pytest.raises(ConfigError, match="another base"):
        start(other, roberta_tokens, finished)


def test_a_run_does_not_go_on_with_other_data(
    tiny_roberta: Path, roberta_tokens, finished: Path, tmp_path: Path
):
    from biolm.tokens.build import build_tokens
    from biolm.tokens.store import open_tokens

    lines = tmp_path / "train.jsonl"
    lines.write_text("".join(json.dumps({"text": f"cells of mouse {n}"}) + "\n" for n in range(20)))
    build_tokens(lines, load_tokenizer(str(tiny_roberta)), tmp_path / "tokens", Silent())
    with pytest.raises(ConfigError, match="another data"):
        start(tiny_roberta, open_tokens(tmp_path / "tokens"), finished)


def test_a_folder_of_other_files_is_left_alone(tiny_roberta: Path, roberta_tokens, tmp_path: Path):
    (tmp_path / "config.json").write_text('{"someone": "else"}')
    with pytest.raises(ArtifactError, match="holds other files"):
        start(tiny_roberta, roberta_tokens, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == {"someone": "else"}


def test_a_store_of_another_tokenizer_is_refused(tiny_bert: Path, roberta_tokens, tmp_path: Path):
    with pytest.raises(ModelError, match="another tokenizer"):
        start(tiny_bert, roberta_tokens, tmp_path / "run")
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


# Another number of ranks


def on_two_ranks(*runs: dict[str, Any]) -> list[list[str]]:
    """How the runs ended on each of two ranks, which take them one after the other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("on_ranks.py"))],
            env={**os.environ, **told, "RANK": rank, "LOCAL_RANK": rank},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(json.dumps(runs))
        process.stdin.close()
        process.stdin = None
    try:
        return [json.loads(process.communicate(timeout=240)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
def test_on_another_number_of_ranks_the_same_batches_masks_and_nearly_weights(
    tiny_roberta: Path, roberta_tokens, tmp_path: Path
):
    """Without dropout, whose draws belong to a rank. Checkpoints of one rank, of DDP and of FSDP2, each gone on with
    by all three."""
    plain = {
        **SETTINGS,
        "max_steps": 10,
        "max_row_tokens": 400,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
    }
    plain |= {"ema_decay": 0.9, "mask_rate": 0.3, "mask_rate_end": 0.15, "mask_unit": "word"}
    fsdp = {**plain, "parallel": "fsdp"}

    def log_of(name: str) -> Path:
        return tmp_path / f"{name}.log"

    def alone(name: str, *, stop: int | None = None, copy_of: str | None = None, **changes: Any) -> None:
        if copy_of:
            shutil.copytree(tmp_path / copy_of, tmp_path / name)
        with recorded(log_of(name)):
            start(tiny_roberta, roberta_tokens, tmp_path / name, stop=stop, **{**plain, **changes})

    def two(
        name: str, settings: dict[str, Any], *, stop: int | None = None, copy_of: str | None = None
    ) -> Any:
        return {
            "base": str(tiny_roberta),
            "tokens": str(roberta_tokens.folder),
            "out": str(tmp_path / name),
            "log": str(log_of(name)),
            "settings": settings,
            "stop": stop,
            "copy_of": str(tmp_path / copy_of) if copy_of else None,
        }

    stable = {"optimizer": "stable-adamw"}
    alone("one")
    alone("one-stable", **stable)
    alone("one-begun", stop=6)
    alone("one-stable-begun", stop=6, **stable)
    shutil.copytree(tmp_path / "one-begun", tmp_path / "apart-0")  # as on machines that share no disk
    (tmp_path / "apart-1").mkdir()
    shutil.copy(tmp_path / "one-begun/config.json", tmp_path / "apart-1")
    ended = on_two_ranks(
        two("ddp", plain),
        two("fsdp", fsdp),
        two("ddp-begun", plain, stop=6),
        two("fsdp-begun", fsdp, stop=6),
        two("one-ddp", plain, copy_of="one-begun"),
        two("one-fsdp", fsdp, copy_of="one-begun"),
        two("ddp-fsdp", fsdp, copy_of="ddp-begun"),
        two("fsdp-ddp", plain, copy_of="fsdp-begun"),
        two("one-fsdp-stable", {**fsdp, **stable}, copy_of="one-stable-begun"),
        two("fsdp-stable-begun", {**fsdp, **stable}, stop=6),
        two("apart-{rank}", plain),
    )
    for rank, said in enumerate(ended):
        assert said[:-1] == ["finished"] * 2 + ["stopped"] * 2 + ["finished"] * 5 + ["stopped"]
        found = "step-00000004" if rank == 0 else "none"
        assert said[-1] == (
            f"ArtifactError: the ranks find different checkpoints in {tmp_path}/apart-{rank}/checkpoints "
            f"(rank {rank} {found}); give an --out that all machines share"
        )
    alone("ddp-one", copy_of="ddp-begun")
    alone("fsdp-one", copy_of="fsdp-begun", parallel="fsdp")
    alone("fsdp-one-stable", copy_of="fsdp-stable-begun", **stable)

    whole = read_log(log_of("one"))
    assert list(whole) == list(range(10))
    resumed = {step: windows for step, windows in whole.items() if step >= 4}
    for name in ("ddp", "fsdp"):
        assert read_log(log_of(name)) == whole
    for name in ("one-ddp", "one-fsdp", "ddp-fsdp", "fsdp-ddp", "ddp-one", "fsdp-one", "one-fsdp-stable"):
        assert read_log(log_of(name)) == resumed, name
    for name in ("ddp", "fsdp", "one-ddp", "one-fsdp", "ddp-fsdp", "fsdp-ddp", "ddp-one", "fsdp-one"):
        assert_near(tiny_roberta, tmp_path / name, tmp_path / "one")
    for name in ("one-fsdp-stable", "fsdp-one-stable"):
        assert_near(tiny_roberta, tmp_path / name, tmp_path / "one-stable")


def assert_near(base: Path, run: Path, other: Path) -> None:
    """The same steps but for rounding: in the weights a ten-thousandth of what training changed in a tensor."""
    before, weights, others = load_file(base / "model.safetensors"), weights_of(run), weights_of(other)
    for name, tensor in weights.items():
        # A key's bias changes nothing but by rounding: it adds a constant to all scores of a query.
        whose = name.replace(".key.bias", ".query.bias")
        change = (others[whose] - before[whose]).norm()
        share = 1e-2 if name != whose else 1e-4
        assert (tensor - others[name]).norm() <= share * change, (run.name, name)
    lines, wanted = without_speed(run), without_speed(other)
    assert [line.keys() for line in lines] == [line.keys() for line in wanted]
    for line, expected in zip(lines, wanted, strict=True):
        assert line == pytest.approx(expected, rel=1e-4, abs=1e-6)
