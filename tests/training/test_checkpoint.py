"""A checkpoint is whole or passed over; what is kept; nothing in it is pickled."""

import dataclasses
import json
import logging
import os
import pickle
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from biolm.errors import ArtifactError
from biolm.model.loading import load_model
from biolm.progress import Silent
from biolm.tokens.tokenizer import load_tokenizer
from biolm.training import checkpoint as checkpoints
from biolm.training import speed
from biolm.training.checkpoint import (
    Counters,
    best_checkpoint,
    drop_checkpoints,
    find_checkpoint,
    load_checkpoint,
    load_weights,
    open_checkpoint,
    save_checkpoint,
)
from biolm.training.config import PretrainConfig
from biolm.training.optimizer import make_optimizer, optimizer_state, restore_optimizer
from biolm.training.ranks import Ranks
from biolm.training.run import pretrain
from biolm.training.step import Trainer
from conftest import folder_bytes, rows_of, sentences

CPU = Ranks(torch.device("cpu"))
EVERYTHING = PretrainConfig(optimizer="stable-adamw", ema_decay=0.9, lr_peak=1e-2, threads=1)


def trainer_of(base: Path, config: PretrainConfig = EVERYTHING) -> Trainer:
    return Trainer(load_model(base), CPU, config)


def take_steps(trainer: Trainer, base: Path, numbers: range) -> Counters:
    tokenizer = load_tokenizer(str(base))
    for number in numbers:
        rows = rows_of(tokenizer, sentences(4, seed=number), 64, 256)
        trainer.step(number, rows, rate=1e-2)
    return Counters(step=numbers.stop, tokens=100 * numbers.stop, skipped={"spike": 1})


def states_of(trainer: Trainer) -> dict[str, Any]:
    tensors, others = optimizer_state(trainer.parallel.parameters, trainer.optimizer)
    averages = dict(trainer.average.tensors()) if trainer.average else {}
    found: dict[str, Any] = {f"weights/{name}": w for name, w in trainer.parallel.parameters.items()}
    found |= {f"average/{name}": w for name, w in averages.items()}
    found |= {f"optimizer/{name}": w for name, w in tensors.items()}
    return {name: w.detach().clone() for name, w in found.items()} | {"others": others}


@pytest.fixture(scope="module")
def trainer(tiny_roberta: Path) -> Trainer:
    """One that has done three steps."""
    trained = trainer_of(tiny_roberta)
    take_steps(trained, tiny_roberta, range(3))
    return trained


@pytest.fixture(scope="module")
def two(trainer: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two checkpoints, of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("two") / "checkpoints"
    for step in (1, 2):
        save_checkpoint(folder, trainer, Counters(step=step), validation_loss=None, keep=2)
    return folder


@pytest.fixture
def folder(two: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(two, tmp_path / "checkpoints"))


NAMES = ("manifest.json", "state.json", "weights.safetensors", "optimizer.safetensors", "average.safetensors")


def damages(data: bytes, *, every_byte: bool) -> Iterator[tuple[str, bytes | None]]:
    """What may happen to a file: None for one that is gone."""
    yield "gone", None
    yield "empty", b""
    yield "zeros", bytes(len(data))
    yield "longer", data + b"\n"
    for length in (1, 8, len(data) // 2, len(data) - 1):
        yield f"cut to {length}", data[:length]
    places = range(len(data)) if every_byte else [*range(16), *range(0, len(data), len(data) // 24), -1]
    for place in places:
        for bit in (1, 128) if every_byte else (16,):
            flipped = bytearray(data)
            flipped[place] ^= bit
            yield f"bit {bit} of byte {place}", bytes(flipped)


@pytest.mark.parametrize("name", NAMES)
def test_any_damage_is_noticed_or_harmless(folder: Path, name: str, caplog: pytest.LogCaptureFixture):
    file = folder / "step-00000002" / name
    whole, data = open_checkpoint(folder / "step-00000002"), file.read_bytes()
    noticed = 0
    for what, damaged in damages(data, every_byte=name == "manifest.json"):
        caplog.clear()
        if damaged is None:
            file.unlink()
        else:
            file.write_bytes(damaged)
        found = find_checkpoint(folder)
        assert found is not None, what
        if found.counters.step == 2:
            assert name == "manifest.json", what  # the version that wrote it, and white space
            assert dataclasses.replace(found, path=whole.path) == whole, what
            continue
        noticed += 1
        assert found.counters.step == 1, what
        assert len(caplog.messages) == 1, what
        assert "skipping checkpoint step-00000002: " in caplog.text, what
        assert "\n" not in caplog.messages[0], what
    assert noticed > 20


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "{}",
        "[]",
        "null",
        '"checkpoint"',
        '{"kind": "checkpoint", "version": 2}',
        '{"kind": "checkpoint", "version": 2, "files": {}}',
        '{"kind": "checkpoint", "version": 2, "files": []}',
        '{"kind": "checkpoint", "version": 2, "files": {"state.json": null}}',
        '{"kind": "checkpoint", "version": 2, "files": {"state.json": {}}}',
        '{"kind": "checkpoint", "version": 3, "files": {}}',
        '{"kind": "model", "version": 2, "files": {}}',
    ],
)
def test_a_manifest_that_is_none_is_passed_over(folder: Path, manifest: str):
    (folder / "step-00000002/manifest.json").write_text(manifest)
    found = find_checkpoint(folder)
    assert found is not None
    assert found.counters.step == 1
    assert best_checkpoint(folder) is None


def test_a_file_that_cannot_be_read_is_damage(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A bad sector: the newest checkpoint that can be read is what is wanted."""
    original = Path.open

    def broken(self: Path, *more: Any, **rest: Any) -> Any:
        if self.name == "weights.safetensors" and self.parent.name == "step-00000002":
            raise OSError(5, "Input/output error", str(self))
        return original(self, *more, **rest)

    monkeypatch.setattr(Path, "open", broken)
    found = find_checkpoint(folder)
    assert found is not None
    assert found.counters.step == 1


def test_what_is_no_checkpoint_is_not_looked_at(folder: Path, caplog: pytest.LogCaptureFixture):
    (folder / "step-00000009").write_text("a file")
    (folder / "step-next").mkdir()
    (folder / ".step-00000008.partial").mkdir()
    found = find_checkpoint(folder)
    assert found is not None
    assert found.counters.step == 2
    assert not caplog.messages
    assert find_checkpoint(folder / "none") is None
    assert drop_checkpoints(folder, beyond=1) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000001", "step-00000009", "step-next"]


@pytest.mark.parametrize("optimizer", ["adamw", "stable-adamw"])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_all_that_was_known_comes_back(tiny_roberta: Path, tmp_path: Path, optimizer: str, ema: float | None):
    config = dataclasses.replace(EVERYTHING, optimizer=optimizer, ema_decay=ema, layer_lr_decay=0.9)
    trainer = trainer_of(tiny_roberta, config)
    counters = take_steps(trainer, tiny_roberta, range(2))
    trainer.guard.skipped, trainer.guard.in_a_row = {"spike": 3, "overflow": 1}, 2
    save_checkpoint(tmp_path, trainer, counters, validation_loss=1.25, keep=1)
    found = find_checkpoint(tmp_path)
    assert found is not None
    assert (found.counters, found.validation_loss) == (counters, 1.25)
    again = trainer_of(tiny_roberta, config)
    load_checkpoint(found, again)
    assert again.guard.state() == trainer.guard.state()
    assert len(again.guard.norms) == 2

    def assert_equal() -> None:
        first, second = states_of(trainer), states_of(again)
        assert first.keys() == second.keys()
        assert first.pop("others") == second.pop("others")
        for name, tensor in first.items():
            assert tensor.dtype == second[name].dtype, name
            assert torch.equal(tensor, second[name]), name

    assert_equal()
    for either in (trainer, again):
        take_steps(either, tiny_roberta, range(2, 4))
    assert_equal()


@pytest.mark.parametrize("optimizer", ["adamw", "stable-adamw"])
def test_the_optimizers_state_goes_to_its_parameters_device(tiny_roberta: Path, optimizer: str):
    """`meta` stands for a GPU, whose fused AdamW reads step counts there too."""
    config = dataclasses.replace(EVERYTHING, optimizer=optimizer)
    trainer = trainer_of(tiny_roberta, config)
    take_steps(trainer, tiny_roberta, range(1))
    tensors, others = optimizer_state(trainer.parallel.parameters, trainer.optimizer)
    model = load_model(tiny_roberta).to("meta")
    parameters = dict(model.named_parameters())
    elsewhere = make_optimizer(model, parameters, config)
    restore_optimizer(parameters, elsewhere, tensors, others)
    assert len(elsewhere.state) == len(trainer.optimizer.state)
    for state in elsewhere.state.values():
        assert {value.device.type for value in state.values() if isinstance(value, torch.Tensor)} == {"meta"}


@pytest.mark.parametrize(
    ("losses", "keep", "left"),
    [
        ([None, None, None, None], 2, [3, 4]),
        ([5.0, 3.0, 4.0, 4.5, 6.0], 2, [2, 4, 5]),
        ([5.0, 4.0, 3.0], 2, [2, 3]),
        ([1.0, None, None, None], 1, [1, 4]),
        ([2.0, 2.0, 2.0], 1, [3]),
        ([3.0, None, 2.0, None, 2.5], 1, [3, 5]),
    ],
)
def test_the_newest_stay_and_the_best(
    trainer: Trainer, tmp_path: Path, losses: list[float | None], keep: int, left: list[int]
):
    for step, loss in enumerate(losses, 1):
        save_checkpoint(tmp_path, trainer, Counters(step=step), validation_loss=loss, keep=keep)
    assert [int(path.name[5:]) for path in sorted(tmp_path.iterdir())] == left
    best = best_checkpoint(tmp_path)
    measured = [loss for loss in losses if loss is not None]
    assert (best.validation_loss if best else None) == min(measured, default=None)


def test_the_best_that_is_damaged_gives_way_to_the_next(
    trainer: Trainer, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    for step, loss in enumerate([1.0, 3.0, 2.0], 1):
        save_checkpoint(tmp_path, trainer, Counters(step=step), validation_loss=loss, keep=3)
    weights = tmp_path / "step-00000001/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    best = best_checkpoint(tmp_path)
    assert best is not None
    assert best.counters.step == 3
    assert "step-00000001" in caplog.text


def test_a_checkpoint_says_what_it_is_of(trainer: Trainer, two: Path):
    folder = two / "step-00000002"
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    manifest, state = (json.loads((folder / name).read_text()) for name in ("manifest.json", "state.json"))
    assert set(manifest) == {"kind", "version", "biolm", "files"}
    assert set(state) == {"counters", "validation_loss", "guard", "optimizer", "config", "ranks", "precision"}
    assert PretrainConfig(**{**state["config"], "track": ()}) == trainer.config
    assert set(load_file(folder / "weights.safetensors")) == set(trainer.parallel.parameters)
    fresh = load_model(Path(trainer.model.name_or_path))
    load_weights(open_checkpoint(folder), dict(fresh.named_parameters()), averaged=True)
    assert trainer.average is not None
    for name, weight in fresh.named_parameters():
        assert torch.equal(weight, trainer.average.tensors()[name])


# Killed while it is written


def kill_before_change(folder: Path, last: int, save: Callable[[], None]) -> bool:
    """Save in a fork that is killed before its change on disk after the `last`; False where it had no more."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of threads that other tests left: the fork has none
        child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, -signal.SIGKILL)
        return code != 0
    signal.alarm(60)
    left = last

    def change() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event: str, found: tuple[Any, ...]) -> None:
        if event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate") or (
            event == "open" and str(found[0]).startswith(str(folder)) and found[2] & 3
        ):
            change()

    original = checkpoints.save_file

    def save_in_halves(tensors: Any, path: Path) -> None:
        change()
        original(tensors, path)
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
        change()
        path.write_bytes(data)

    try:
        checkpoints.save_file = save_in_halves
        sys.addaudithook(watch)
        save()
        os._exit(0)
    finally:
        os._exit(1)


def test_killed_before_any_change_on_disk_the_old_or_the_new_one_is_whole(trainer: Trainer, tmp_path: Path):
    def save(folder: Path, step: int, loss: float | None = None) -> None:
        save_checkpoint(folder, trainer, Counters(step=step), validation_loss=loss, keep=1)

    before, whole = tmp_path / "before", tmp_path / "whole"
    save(before, 1, 2.0)
    save(before, 2, 3.0)
    shutil.copytree(before, whole)
    for step in (3, 4):
        save(whole, step, 2.5)
    assert sorted(path.name for path in whole.iterdir()) == ["step-00000001", "step-00000004"]
    found, left = [], True
    while left:
        folder = tmp_path / f"killed-{len(found)}"
        shutil.copytree(before, folder)
        left = kill_before_change(folder, len(found), lambda folder=folder: save(folder, 3, 2.5))
        newest, best = find_checkpoint(folder), best_checkpoint(folder)
        assert newest is not None
        assert best is not None
        assert best.counters.step == 1
        found.append(newest.counters.step)
        drop_checkpoints(folder, beyond=newest.counters.step)
        for step in range(newest.counters.step + 1, 5):
            save(folder, step, 2.5)
        assert folder_bytes(folder) == folder_bytes(whole), len(found)
        shutil.rmtree(folder)
    assert found == sorted(found)
    assert set(found) == {2, 3}
    assert len(found) > 20
    assert found.count(3) > 5  # kills while the one before is removed


# Nothing is pickled


def test_no_pickle_is_written_or_read(
    tiny_roberta: Path, roberta_tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a pickle")

    for module, names in (
        (pickle, ("dump", "dumps", "load", "loads", "Pickler", "Unpickler")),
        (torch, ("save", "load")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, refused)
    monkeypatch.setattr(speed, "matmul_peak", lambda *_, seconds: 1e11)

    class Stop(Exception):  # noqa: N818
        pass

    class StopAt(Silent):
        def update(self, done: float, note: str = "", *, before: bool = False) -> None:
            if done == 5:
                raise Stop

    config = dataclasses.replace(
        EVERYTHING, examples_per_step=8, max_steps=8, checkpoint_every=2, validate_every=4, mask_unit="word"
    )
    tokenizer, run = load_tokenizer(str(tiny_roberta)), tmp_path / "run"
    for progress in (StopAt(), Silent()):
        try:
            pretrain(roberta_tokens, tokenizer, str(tiny_roberta), run, config, progress, resume=True)
        except Stop:
            assert find_checkpoint(run / "checkpoints") is not None
    names = set()
    for path in run.rglob("*"):
        if not path.is_file():
            continue
        names.add(path.name.partition(".tfevents")[0])
        data = path.read_bytes()
        assert not data.startswith((b"PK", b"\x80")), path
        assert not any(sign in data for sign in (b"_rebuild_tensor", b"OrderedDict", b"torch._utils")), path
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as tensors:
                assert tensors.keys()
        elif path.suffix == ".json":
            json.loads(data)
        elif path.suffix == ".jsonl":
            assert all(isinstance(json.loads(line), dict) for line in data.splitlines())
        else:
            assert path.name.startswith("events.out.tfevents"), path
    assert {*NAMES, "model.safetensors", "config.json", "metrics.jsonl"} < names


def test_a_checkpoint_of_a_newer_biolm_is_not_taken_for_ours(folder: Path, caplog: pytest.LogCaptureFixture):
    path = folder / "step-00000002/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 3}))
    with caplog.at_level(logging.WARNING):
        assert find_checkpoint(folder).counters.step == 1
    assert "format 3" in caplog.text
    with pytest.raises(ArtifactError, match="format 3"):
        open_checkpoint(folder / "step-00000002")


def test_a_run_that_goes_on_in_another_precision_says_so(
    tiny_roberta: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    first = trainer_of(tiny_roberta)
    save_checkpoint(tmp_path, first, Counters(step=1), validation_loss=None, keep=1)
    found = find_checkpoint(tmp_path)
    assert found
    assert found.precision == "fp32"
    load_checkpoint(found, trainer_of(tiny_roberta))
    assert not caplog.records
    load_checkpoint(found, trainer_of(tiny_roberta, dataclasses.replace(EVERYTHING, precision="bf16")))
    (record,) = caplog.records
    assert "in fp32 until here and goes on in bf16" in record.getMessage()
