"""Steps prepared in the background: the same steps in the same order, and an end to everything that is begun."""

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from biolm.batches.ahead import Ahead
from biolm.batches.masking import MaskingConfig
from biolm.batches.source import StepSource
from biolm.errors import BiolmError, ConfigError

KINDS = ["none", "thread", "process"]


@dataclass(frozen=True)
class Numbers:
    """A source of invented steps."""

    seconds: float = 0.0
    fails_at: int | None = None
    error: Exception | None = None
    bulk: int = 0

    def __call__(self, step: int) -> list:
        time.sleep(self.seconds)
        if step == self.fails_at:
            raise self.error
        return [step, np.full(self.bulk, step)]


class AwkwardError(Exception):
    """Pickle cannot make it again."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def awkward(step: int) -> list:
    raise AwkwardError(1, 2)


def loaded(step: int) -> list:
    return [name for name in ("torch", "transformers", "huggingface_hub", "pyarrow") if name in sys.modules]


def gone(process: int) -> bool:
    """Whether it ended (a zombie has; some containers have nobody to collect it)."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(") ", 1)[1].startswith("Z")
    except OSError:
        return True


def soon(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_steps_come_in_order_and_then_no_more(kind: str, ahead: int):
    with Ahead(Numbers(), 3, 20, ahead=ahead, kind=kind) as steps:
        found = [(step, rows[0]) for step, rows in steps]
        assert found == [(step, step) for step in range(3, 20)]
        assert next(steps, None) is None
    with Ahead(Numbers(), 5, 5, ahead=ahead, kind=kind) as steps:
        assert list(steps) == []


@pytest.mark.parametrize("row_shape", ["free", "fixed"])
def test_every_kind_gives_the_same_rows(roberta_tokens, row_shape: str):
    source = StepSource(
        folder=roberta_tokens.folder,
        masking=MaskingConfig(mask_rate=0.3, mask_rate_end=0.1),
        seed=7,
        examples_per_step=8,
        max_tokens=64,
        max_row_tokens=128,
        row_shape=row_shape,
        tokens_per_step=500,
        epochs=2,
        rank=1,
        ranks=2,
    )
    wanted = [source.steps.rows(step, rank=1, ranks=2) for step in range(source.steps.total)]
    for kind in KINDS:
        with Ahead(source, 0, source.steps.total, ahead=2, kind=kind) as steps:
            for step, rows in steps:
                assert len(rows) == len(wanted[step])
                for a, b in zip(rows, wanted[step], strict=True):
                    for name in ("input_ids", "segments", "masked_positions", "labels", "examples"):
                        assert np.array_equal(getattr(a, name), getattr(b, name))
        assert step == source.steps.total - 1


def test_a_source_is_pickled_as_its_settings(roberta_tokens):
    source = StepSource(
        folder=roberta_tokens.folder,
        masking=MaskingConfig(),
        seed=1,
        examples_per_step=8,
        max_tokens=64,
        max_row_tokens=128,
    )
    before = len(pickle.dumps(source))
    assert source.steps.per_epoch > 1
    assert len(pickle.dumps(source)) == before < 2000
    assert pickle.loads(pickle.dumps(source)) == source  # noqa: S301


def test_the_process_loads_no_torch():
    with Ahead(loaded, 0, 1, ahead=1, kind="process") as steps:
        assert list(steps) == [(0, [])]


def test_a_token_store_is_opened_without_torch():
    code = (
        "import sys, biolm.batches.ahead, biolm.batches.source, biolm.tokens.words;"
        "print([m for m in ('torch', 'transformers', 'pyarrow', 'lxml') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [ConfigError("one line"), ZeroDivisionError("a bug")])
def test_what_the_source_raises_is_raised_in_its_turn(kind: str, error: Exception):
    with Ahead(Numbers(fails_at=3, error=error), 0, 9, ahead=2, kind=kind) as steps:
        assert [next(steps)[0] for _ in range(3)] == [0, 1, 2]
        with pytest.raises(type(error), match=str(error)):
            next(steps)
        assert next(steps, None) is None


def test_an_exception_that_cannot_travel_is_told_with_its_traceback():
    with (
        Ahead(awkward, 0, 9, ahead=2, kind="process") as steps,
        pytest.raises(RuntimeError, match=r"(?s)test_ahead.py.*AwkwardError: 1 and 2"),
    ):
        next(steps)


def test_a_source_that_cannot_be_made_again_is_an_exception_too():
    with pytest.raises((AttributeError, pickle.PicklingError)):
        Ahead(lambda step: [], 0, 9, ahead=2, kind="process").__enter__()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [0.0, 0.05])
@pytest.mark.parametrize("taken", [0, 2])
def test_closing_in_the_middle_leaves_nothing_behind(kind: str, seconds: float, taken: int):
    before = threading.active_count()
    with Ahead(Numbers(seconds=seconds, bulk=1 << 17), 0, 10_000, ahead=2, kind=kind) as steps:
        for _ in range(taken):
            next(steps)
        process = steps.process_id
        closing = time.monotonic()
    assert time.monotonic() - closing < 5
    assert process is None or gone(process)
    assert soon(lambda: threading.active_count() == before)
    assert next(steps, None) is None


def test_no_more_is_prepared_than_asked_for():
    made: list[int] = []
    with Ahead(lambda step: made.append(step) or [], 0, 100, ahead=3, kind="thread") as steps:
        assert soon(lambda: len(made) == 4)
        time.sleep(0.05)
        assert len(made) == 4
        next(steps)
        assert soon(lambda: len(made) == 5)


def test_waiting_is_counted():
    with Ahead(Numbers(seconds=0.1), 0, 3, ahead=1, kind="thread") as steps:
        list(steps)
    assert steps.waited_seconds > 0.2
    with Ahead(Numbers(), 0, 3, ahead=4, kind="thread") as steps:
        time.sleep(0.2)
        list(steps)
    assert steps.waited_seconds < 0.2


def test_a_killed_process_is_one_line():
    with Ahead(Numbers(seconds=0.02), 0, 10_000, ahead=2, kind="process") as steps:
        next(steps)
        os.kill(steps.process_id, signal.SIGKILL)
        with pytest.raises(BiolmError, match=r"killed \(signal 9\)") as error:
            list(steps)
        assert "\n" not in str(error.value)


def test_the_process_leaves_signals_to_its_parent():
    with Ahead(Numbers(seconds=0.01), 0, 60, ahead=2, kind="process") as steps:
        next(steps)
        os.kill(steps.process_id, signal.SIGINT)
        os.kill(steps.process_id, signal.SIGTERM)
        assert len(list(steps)) == 59


@pytest.mark.parametrize("seconds", [0.0, 1000.0])
def test_the_process_ends_with_a_killed_parent(seconds: float):
    """Also one that is in the middle of a long step."""
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                f"""
                import sys, time
                sys.path[:0] = [{str(Path(__file__).parent)!r}]
                from biolm.batches.ahead import Ahead
                from test_ahead import Numbers
                with Ahead(Numbers(seconds={seconds}), 0, 10_000, ahead=2, kind="process") as steps:
                    print(steps.process_id, flush=True)
                    time.sleep(1000)
                """
            ),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        process = int(parent.stdout.readline())
        time.sleep(1.0)  # as a rule it has begun by now; where it has not, it must end all the same
        assert not gone(process)
        parent.kill()
        assert soon(lambda: gone(process))
