"""Ranks that are started, stopped and lost: one line, the right exit code, nobody left behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recorded import Forks, Started

from biolm.training.metrics import read_metrics
from biolm.training.signals import StopSignals

BIOLM = [sys.executable, "-m", "biolm"]
TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node=2",
    "-m",
    "biolm",
]


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Starts of `biolm` that have imported everything."""
    with Forks(tmp_path_factory.mktemp("said")) as opened:
        yield opened


@pytest.fixture
def words(tiny_roberta: Path, roberta_tokens, tmp_path: Path) -> list[str]:
    """A run into `tmp_path/run` that is not over before somebody ends it."""
    places = [str(roberta_tokens.folder), "--base", str(tiny_roberta), "--out", str(tmp_path / "run")]
    settings = {"epochs": 10_000, "examples-per-step": 8, "validate-every": 10**6, "checkpoint-every": 10**6}
    options = [f"--{name}={value}" for name, value in settings.items()]
    return ["pretrain", *places, *options, "--evaluate-split=none", "--quiet"]


def wait_for(what: Callable[[], bool], started: Started | None = None, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        if started is not None and started.ended():
            raise AssertionError(f"ended with {started.code}: {started.said}")
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain: {started.said if started else ''}")
        time.sleep(0.02)


def steps_done(run: Path) -> int:
    return max((line["step"] for line in read_metrics(run)), default=0)


def checkpoints(run: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (run / "checkpoints").glob("step-*"))


def ranks_of(launcher: int) -> list[int]:
    """The process numbers of the ranks that a launcher has started, by rank."""
    found = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    ranks = {}
    for pid in found:
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        ranks |= {int(pair[5:]): int(pid) for pair in environment if pair.startswith(b"RANK=")}
    return [ranks[rank] for rank in sorted(ranks)]


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="tells processes by /proc")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "signals"), [(1, [signal.SIGTERM, signal.SIGINT]), (2, [signal.SIGINT])], ids=["1", "2"]
)
def test_a_signal_lets_the_step_end_and_saves_and_says_so_with_code_75(
    devices: int, signals: list[signal.Signals], forks: Forks, words: list[str], tmp_path: Path
):
    """SIGTERM as Slurm sends it, SIGINT as a terminal does, to the process that was started; a second one after a
    resume."""
    run, before = tmp_path / "run", 0
    if devices > 1:
        words = [*words, f"--devices={devices}"]
    for number, more in zip(signals, ([], ["--resume"]), strict=False):
        started = forks.start(tmp_path / f"log {number}", *words, *more)
        wait_for(lambda least=before + 3: steps_done(run) >= least, started)
        started.signal(number)
        assert started.wait() == 75, started.said
        (line,) = started.said.splitlines()
        said = re.fullmatch(
            r"biolm: stopped by (\w+) after step ([\d,]+) of [\d,]+, which is saved; "
            r"the same command with --resume goes on",
            line,
        )
        assert said is not None, line
        assert said[1] == number.name
        step = int(said[2].replace(",", ""))
        assert step == steps_done(run) == checkpoints(run)[-1] > before
        before = step


@pytest.mark.slow
@needs_proc
def test_a_rank_that_is_killed_ends_all_with_one_line_and_code_1(
    forks: Forks, words: list[str], tmp_path: Path
):
    started = forks.start(tmp_path / "log", *words, "--devices", "2")
    wait_for(lambda: steps_done(tmp_path / "run") >= 3, started)
    ranks = ranks_of(started.pid)
    os.kill(ranks[1], signal.SIGKILL)
    assert started.wait() == 1
    assert started.said.splitlines() == [
        "biolm: rank 1 ended with signal 9 (SIGKILL), and the others were ended with it; the same command with "
        "--resume goes on from the last checkpoint"
    ]
    assert all(is_gone(pid) for pid in ranks)


@pytest.mark.slow
@needs_proc
def test_ranks_whose_launcher_is_killed_save_and_end(forks: Forks, words: list[str], tmp_path: Path):
    started = forks.start(tmp_path / "log", *words, "--devices", "2")
    wait_for(lambda: steps_done(tmp_path / "run") >= 3, started)
    ranks = ranks_of(started.pid)
    started.signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    wait_for(lambda: all(is_gone(pid) for pid in ranks))
    assert checkpoints(tmp_path / "run") == [steps_done(tmp_path / "run")]
    assert len(started.said.splitlines()) == 1


WAIT = """
import time
from biolm.training.signals import StopSignals
with StopSignals() as signals:
    print("ready", flush=True)
    while signals.asked is None:
        time.sleep(0.01)
    print(signals.asked.name, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_second_signal_ends_at_once(number: signal.Signals):
    with subprocess.Popen(
        [sys.executable, "-c", WAIT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        child.send_signal(number)  # the same Ctrl-C, from terminal and launcher
        assert child.stdout.readline() == f"{number.name}\n"
        time.sleep(2.2)
        assert child.poll() is None
        child.send_signal(number)
        assert child.wait(10) == -number  # Python too ends by SIGINT where nobody catches KeyboardInterrupt


def test_signals_are_noted_and_their_handlers_given_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as signals:
        assert signals.asked is None
        signal.raise_signal(signal.SIGTERM)
        assert signals.asked == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


# Wrong input


def test_wrong_input_on_two_devices_is_one_line_and_code_2(forks: Forks, words: list[str], tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.tex").write_text("years of work")
    for more, says in ((["--lr-peak=-1"], "lr_peak is -1.0"), ([], "holds other files")):
        started = forks.start(tmp_path / "log", *words, "--devices=2", *more)
        assert started.wait() == 2
        (line,) = started.said.splitlines()
        assert line.startswith("biolm: ")
        assert says in line
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_devices_under_torchrun_are_refused(words: list[str]):
    done = subprocess.run(
        [*BIOLM, *words, "--devices=2"],
        env={**os.environ, "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "biolm: --devices starts ranks, and torchrun has started this one already; give one of the two\n"
    )


@pytest.mark.slow
def test_wrong_input_under_torchrun_is_one_line_of_ours_and_code_2_of_the_rank_that_says_it(
    words: list[str], tmp_path: Path
):
    """torchrun itself then ends with 1, after a report of its own. One is found by each rank, one by the first."""
    command, corpus, *rest = words
    cases = {
        "lr_peak is -1.0": [command, corpus, *rest, "--lr-peak=-1"],
        "nosuch does not exist": [command, str(tmp_path / "nosuch"), *rest],
    }
    running = [
        subprocess.Popen([*TORCHRUN, *case], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for case in cases.values()
    ]
    for says, process in zip(cases, running, strict=True):
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 1
        ours = [line for line in said.splitlines() if line.startswith("biolm: ")]
        assert len(ours) == 1, said
        assert says in ours[0]
        assert re.search(r"exitcode *: 2 ", said), said
        assert "biolm/cli" not in said  # no traceback of ours
    assert not (tmp_path / "run").exists()
