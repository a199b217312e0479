"""Killed, stopped or out of disk at any moment, and resumed: the run that nothing happened to, to the bit."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from recorded import Forks, Started, read_log

from biolm.training.metrics import read_metrics
from conftest import folder_bytes

KILLS = 20
PLAIN = 4
"""How many of the kills meet a `python -m biolm` that is still importing; the others meet forks of one that has."""
STARTING = 3
"""How many of the forks are killed before they train."""
STEPS_EACH = 6
"""A run is killed after so many new steps at the latest, so that all kills find one to kill."""
EVERYTHING = {
    "epochs": 8,
    "examples-per-step": 8,
    "max-row-tokens": 300,
    "lr-peak": 1e-3,
    "optimizer": "stable-adamw",
    "ema-decay": 0.9,
    "mask-rate": 0.3,
    "mask-rate-end": 0.15,
    "mask-unit": "word",
    "hidden-dropout": 0.1,
    "attention-dropout": 0.1,
    "validate-every": 4,
    "validation-examples": 12,
    "checkpoint-every": 2,
    "final-weights": "best",
    "threads": 1,
}


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with Forks(tmp_path_factory.mktemp("said")) as opened:
        yield opened


Words = Callable[..., list[str]]


@pytest.fixture
def words(tiny_roberta: Path, roberta_tokens) -> Words:
    """The command that trains the tiny RoBERTa in a folder."""

    def spelled(out: Path, *more: str, **settings: object) -> list[str]:
        options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        places = [str(roberta_tokens.folder), "--base", str(tiny_roberta), "--out", str(out)]
        return ["pretrain", *places, *options, "--resume", "--quiet", *more]

    return spelled


def wait_until(begun: Callable[[], bool], ended: Callable[[], bool], seconds: float = 120) -> bool:
    """Whether it has begun; False where it ended before."""
    deadline = time.monotonic() + seconds
    while not begun():
        if ended() or time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def lines_of(log: Path) -> int:
    """Steps that were begun, repeated ones included."""
    return log.read_bytes().count(b"\n") if log.exists() else 0


def newest_checkpoint(run: Path) -> int:
    return max((int(path.name[5:]) for path in (run / "checkpoints").glob("step-*")), default=0)


def without_speed(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("speed/")} for line in lines]


def lasting(run: Path) -> dict[str, bytes]:
    """What a run leaves, but for how fast it was and TensorBoard's events, whose names are times."""
    found = folder_bytes(run)
    return {
        name: found[name]
        for name in found
        if name != "metrics.jsonl" and not name.startswith(("tensorboard/", "config.json"))
    }


def assert_same_run(run: Path, whole: Path) -> None:
    assert lasting(run).keys() == lasting(whole).keys()
    for name, data in lasting(whole).items():
        assert lasting(run)[name] == data, name
    assert without_speed(run) == without_speed(whole)


@pytest.mark.slow
def test_twenty_kills_change_no_bit_and_no_batch(forks: Forks, words: Words, tmp_path: Path):
    plain = [sys.executable, "-m", "biolm", *words(tmp_path / "plain", "--evaluate-split=none", **EVERYTHING)]
    started = time.monotonic()
    subprocess.run(plain, check=True, capture_output=True)
    seconds = time.monotonic() - started
    whole = forks.start(
        tmp_path / "log-whole", *words(tmp_path / "whole", "--evaluate-split=none", **EVERYTHING)
    )
    assert whole.wait() == 0, whole.said

    run, log = tmp_path / "killed", tmp_path / "log-killed"
    command = words(run, "--evaluate-split=none", **EVERYTHING)
    script = [sys.executable, str(Path(__file__).with_name("recorded.py")), str(log), *command]
    delays = random.Random(20)
    kinds = ["plain"] * PLAIN + ["starting"] * STARTING + ["training"] * (KILLS - PLAIN - STARTING)
    delays.shuffle(kinds)
    training = saved = 0
    for kind in kinds:
        lines, step = lines_of(log), newest_checkpoint(run)

        def far(lines: int = lines) -> bool:
            return lines_of(log) - lines >= STEPS_EACH

        if kind == "plain":
            process = subprocess.Popen(script, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_until(far, lambda process=process: process.poll() is not None, delays.uniform(0, seconds))
            process.kill()
            assert process.wait() == -signal.SIGKILL
        else:
            fork = forks.start(log, *command)
            if kind == "training":
                assert wait_until(lambda lines=lines: lines_of(log) > lines, fork.ended), fork.said
            wait_until(far, fork.ended, delays.uniform(0, 0.4))
            fork.signal(signal.SIGKILL)
            assert fork.wait() == -signal.SIGKILL, fork.said
        training += lines_of(log) > lines
        saved += newest_checkpoint(run) > step
    assert training >= KILLS / 2
    assert saved >= KILLS / 4
    print(f"{training=} {saved=} {newest_checkpoint(run)=}")
    subprocess.run(script, check=True, capture_output=True)

    assert_same_run(run, tmp_path / "plain")
    assert_same_run(tmp_path / "whole", tmp_path / "plain")
    seen, wanted = read_log(log), read_log(tmp_path / "log-whole")
    assert seen == wanted
    assert list(seen) == list(range(len(seen)))
    windows = Counter(window for step in seen.values() for window in step)
    assert windows == Counter(window for step in wanted.values() for window in step)
    epoch = Counter(example for step in seen.values() for example, _ in step)
    assert set(epoch.values()) == {EVERYTHING["epochs"]}
    assert len({digest for digest, count in windows.items() if count == 1}) > 0.9 * len(windows)
