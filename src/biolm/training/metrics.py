"""What a run writes down while it trains: `metrics.jsonl` for machines, TensorBoard events for eyes."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from biolm.artifacts import atomic_file


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
        """`others`: told the same scalars."""
        from torch.utils.tensorboard import SummaryWriter

        self._others = others
        self._path = run / "metrics.jsonl"
        kept = [line for line in _lines(self._path) if step and line["step"] <= step]
        with atomic_file(self._path) as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._file = self._path.open("a", encoding="utf-8")
        self._events = SummaryWriter(run / "tensorboard", purge_step=step + 1 if step else 0)

    def write(self, step: int, **scalars: float) -> None:
        """Record scalars of a step; names use "/" for groups ("train/loss")."""
        self._file.write(json.dumps({"step": step, **scalars}) + "\n")
        self._file.flush()
        for other in self._others:
            other.log(step, scalars)
        for name, value in scalars.items():
            self._events.add_scalar(name, value, step)

    def sync(self) -> None:
        """Bring everything to disk."""
        self._events.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.close()
        self._file.close()


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, in order."""
    return _lines(run / "metrics.jsonl")


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue  # the last line of a killed run
        if isinstance(value, dict) and "step" in value:
            found.append(value)
    return found
