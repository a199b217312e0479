"""Killed, stopped or out of disk at any moment, and resumed: the run that nothing happened to, to the bit."""

import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recorded import Forks, Started, read_log

from conftest import folder_bytes

KILLS = 20
PLAIN = 4
"""How many of the kills meet a `python -m biolm` that is still importing; the others meet forks of one that has."""
STARTING = 3
"""How many of the forks are killed before they train."""
STEPS_EACH = 5
"""A run is killed after so many new steps at the latest, so that all kills find one to kill."""
EVERYTHING = {
    "epochs": 7,
    "examples-per-step": 8,
    "max-row-tokens": 500,
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


needs_prlimit = pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="only Linux limits the files of another process"
)
Words = Callable[..., list[str]]


@pytest.fixture(scope="module")
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
            wait_until(
                far, lambda process=process: process.poll() is not None, delays.uniform(0, seconds / 2)
            )
            process.kill()
            assert process.wait() == -signal.SIGKILL
        else:
            fork = forks.start(log, *command)
            if kind == "training":
                assert wait_until(lambda lines=lines: lines_of(log) > lines, fork.ended), fork.said
            wait_until(far, fork.ended, delays.uniform(0, seconds / 25))
            fork.signal(signal.SIGKILL)
            assert fork.wait() == -signal.SIGKILL, fork.said
        training += lines_of(log) > lines
        saved += newest_checkpoint(run) > step
    assert training >= KILLS / 2
    assert saved >= KILLS / 6
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


def test_killed_while_it_measures_and_describes_its_model(forks: Forks, words: Words, tmp_path: Path):
    def start(run: Path) -> Started:
        fork = forks.start(tmp_path / "log", *words(run, max_steps=2, examples_per_step=8, threads=1))
        assert wait_until(lambda: newest_checkpoint(run) == 2, fork.ended), fork.said
        return fork

    whole = start(tmp_path / "whole")
    started = time.monotonic()
    assert whole.wait() == 0, whole.said
    seconds = time.monotonic() - started
    killed, delays = 0, random.Random(5)
    for _ in range(3):
        fork = start(tmp_path / "run")
        wait_until(lambda: False, fork.ended, delays.uniform(0, seconds))
        if not fork.ended():
            fork.signal(signal.SIGKILL)
            killed += fork.wait() == -signal.SIGKILL
    assert killed
    assert start(tmp_path / "run").wait() == 0
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert {"evaluation.json", "model/README.md"} < lasting(tmp_path / "run").keys()


def test_a_finished_run_is_left_as_it_is(forks: Forks, words: Words, tmp_path: Path):
    command = words(tmp_path / "run", max_steps=2, threads=1)
    assert forks.start(tmp_path / "log", *command).wait() == 0
    before = folder_bytes(tmp_path / "run")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    again = forks.start(tmp_path / "log-again", *(word for word in command if word != "--quiet"))
    assert again.wait() == 0
    assert "is finished already" in again.said
    assert not (tmp_path / "log-again").exists()
    after = folder_bytes(tmp_path / "run")
    assert after == before
    card = tmp_path / "run/model/README.md"
    assert {
        p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p not in (card, card.parent)
    } == {p: time for p, time in times.items() if p not in (card, card.parent)}


SHORT = {"epochs": 3, "examples_per_step": 8, "threads": 1}


@pytest.fixture(scope="module")
def short(forks: Forks, words: Words, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `run` that nobody disturbed, and its `log`."""
    folder = tmp_path_factory.mktemp("short")
    fork = forks.start(folder / "log", *words(folder / "run", "--evaluate-split=none", **SHORT))
    assert fork.wait() == 0, fork.said
    return folder


@needs_prlimit
@pytest.mark.parametrize(
    ("every", "free", "what"), [(20, 8_000, "metrics.jsonl"), (5, 100_000, "checkpoints/step-000000")]
)
def test_a_full_disk_is_one_line_and_no_end(
    forks: Forks, words: Words, short: Path, tmp_path: Path, every: int, free: int, what: str
):
    run = tmp_path / "run"
    command = words(run, "--evaluate-split=none", **SHORT, checkpoint_every=every)
    fork = forks.start(tmp_path / "log", *command)
    assert wait_until(
        lambda: newest_checkpoint(run) > 0 and (run / "metrics.jsonl").stat().st_size > 9_000, fork.ended
    ), fork.said
    fork.fill_disk(free)
    assert fork.wait() == 2, fork.said
    assert len(fork.said.splitlines()) == 1, fork.said
    assert fork.said.startswith("biolm: ")
    assert "disk" in fork.said
    assert str(run / what) in fork.said
    assert not list(run.rglob(".*.partial"))
    assert forks.start(tmp_path / "log", *command).wait() == 0
    assert without_speed(run) == without_speed(short / "run")
    assert read_log(tmp_path / "log") == read_log(short / "log")
    weights = "model/model.safetensors"
    assert (run / weights).read_bytes() == (short / "run" / weights).read_bytes()


@needs_prlimit
def test_a_disk_that_is_full_at_the_end_costs_no_step(
    forks: Forks, words: Words, short: Path, tmp_path: Path
):
    run = Path(shutil.copytree(short / "run", tmp_path / "run"))
    command = words(run, "--evaluate-split=none", **SHORT)
    before = lasting(run)
    shutil.rmtree(run / "model")
    fork = forks.start(tmp_path / "log-again", *command)
    fork.fill_disk(50_000)
    assert fork.wait() == 2
    assert fork.said.startswith(f"biolm: {run}/model cannot be written: ")
    assert len(fork.said.splitlines()) == 1
    assert not (run / "model").exists()
    assert forks.start(tmp_path / "log-again", *command).wait() == 0
    assert lasting(run) == before
    assert not (tmp_path / "log-again").exists()
