"""What a run writes down while it trains: `metrics.jsonl` for machines, TensorBoard events for eyes."""

import json
import math
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from biolm.artifacts import atomic_file, writing


class Listener(Protocol):
    """Something else that is told scalars."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Scalars of a step."""


class NoMetrics:
    """What a rank other than the first writes."""

    def write(self, step: int, **scalars: float) -> None:
        """Nothing."""

    def sync(self) -> None:
        """Nothing."""


class MetricsLog:
    """One JSON object a line, `{"step": n, "train/loss": ...}`, and the same scalars as TensorBoard events.

    Opened at `step`, it drops what a killed run wrote beyond it, so a resumed file reads as if nothing happened.
    """

    def __init__(self, run: Path, *, step: int, others: Sequence[Listener] = ()) -> None:
        """`others`: told the same scalars. Raises ArtifactError, as all of this does, where the disk refuses."""
        self._others = others
        self._path = run / "metrics.jsonl"
        with writing(self._path):
            with atomic_file(self._path) as partial, partial.open("w", encoding="utf-8") as file:
                file.writelines(_line(line) for line in _lines(self._path) if step and line["step"] <= step)
            self._file = self._path.open("a", encoding="utf-8")
            self._events = EventsFile(run / "tensorboard", purge_step=step + 1 if step else 0)

    def write(self, step: int, **scalars: float) -> None:
        """Record scalars of a step; names use "/" for groups ("train/loss")."""
        with writing(self._path):
            self._file.write(_line({"step": step, **scalars}))
            self._file.flush()
            self._events.write(step, scalars)
        for other in self._others:
            other.log(step, scalars)

    def sync(self) -> None:
        """Bring everything to disk."""
        with writing(self._path):
            os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            if error is not None:
                stack.enter_context(suppress(OSError))  # a full disk would speak twice
            stack.callback(self._file.close)
            self._events.close()


class EventsFile:
    """A file of scalars for TensorBoard, which forgets what earlier files of the folder hold from `purge_step` on.

    Written here and not by TensorBoard's writer: that one has a thread, which loses what it has not written when the
    process is killed, and ends with a traceback of its own when the disk is full.
    """

    def __init__(self, folder: Path, *, purge_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(exist_ok=True)
        # The seconds come first: TensorBoard reads files in the order of their names.
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / name).open("xb")
        self._records = RecordWriter(self._file)
        self._put(Event(wall_time=time.time(), step=purge_step, file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._put(Event(wall_time=time.time(), step=purge_step, session_log=start))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """The scalars of a step, by name."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._put(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def close(self) -> None:
        """Write what is left."""
        self._file.close()

    def _put(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        self._file.flush()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, in order; NaN for what was not finite."""
    return list(_lines(run / "metrics.jsonl"))


def mean_training_loss(run: Path) -> float | None:
    """What the Hugging Face Trainer reports as training loss: the mean of the steps' losses."""
    total, count = 0.0, 0
    for line in _lines(run / "metrics.jsonl"):
        loss = line.get("train/loss", math.nan)
        if math.isfinite(loss):
            total, count = total + loss, count + 1
    return total / count if count else None


def _line(scalars: Mapping[str, float]) -> str:
    """JSON has no NaN and no infinity: null stands for them."""
    finite = {name: value if math.isfinite(value) else None for name, value in scalars.items()}
    return json.dumps(finite, allow_nan=False) + "\n"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """One at a time: a long run has a gigabyte of them in memory."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                value = json.loads(line)
            except ValueError:
                continue  # the last line of a killed run
            if isinstance(value, dict) and "step" in value:
                yield {name: math.nan if part is None else part for name, part in value.items()}
