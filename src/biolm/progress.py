"""How long work tells a person where it stands.

Stages take a `Progress` and know nothing of terminals; the command line chooses `Bar` on a terminal,
`Lines` elsewhere, `Silent` under --quiet.
"""

import sys
import time
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID


_BAR_COLUMNS = 12
"""Of a bar: the rest of 80 is for a count of a million, a note, and the times."""


class Progress(Protocol):
    """Told by a stage when it starts, how far it is, and how it ended."""

    def start(self, stage: str, total: float | None, unit: str) -> None:
        """A stage begins; `total` in `unit` ("steps", "MB"), None where unknown."""

    def update(self, done: float, note: str = "", *, before: bool = False) -> None:
        """`done` of the total so far (absolute), with a short note such as "loss 2.31".

        `before`: it was done before the stage began, by a run that this one goes on with.
        """

    def finish(self, summary: str) -> None:
        """The stage is over; one line for people."""


class Silent:
    """Says nothing."""

    def start(self, stage: str, total: float | None, unit: str) -> None:
        """Nothing."""

    def update(self, done: float, note: str = "", *, before: bool = False) -> None:
        """Nothing."""

    def finish(self, summary: str) -> None:
        """Nothing."""


class Lines:
    """Plain lines, for logs and pipes: at most one every `seconds`."""

    def __init__(self, stream: TextIO | None = None, seconds: float = 15.0) -> None:
        self._stream = stream or sys.stderr
        self._seconds = seconds
        self._stage, self._total, self._unit = "", None, ""  # type: str, float | None, str
        self._started = self._said = self._before = 0.0

    def start(self, stage: str, total: float | None, unit: str) -> None:
        """Begin a stage."""
        self._stage, self._total, self._unit = stage, total, unit
        self._started = self._said = time.monotonic()
        self._before = 0.0

    def update(self, done: float, note: str = "", *, before: bool = False) -> None:
        """Print where the stage stands, when it is time."""
        now = time.monotonic()
        if before:
            self._before = done
        if now - self._said < self._seconds:
            return
        self._said = now
        of = f" of {self._total:,.0f}" if self._total else ""
        left = ""
        if self._total and done > self._before:
            seconds = (now - self._started) * (self._total - done) / (done - self._before)
            left = f", {_clock(seconds)} left"
        tail = f", {note}" if note else ""
        print(f"{self._stage}: {done:,.0f}{of} {self._unit}{left}{tail}", file=self._stream, flush=True)

    def finish(self, summary: str) -> None:
        """Print the stage's one line."""
        print(f"{self._stage}: {summary} ({_clock(time.monotonic() - self._started)})", file=self._stream)
        self._stream.flush()


class Bar:
    """A bar with the time left, on a terminal."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._started = 0.0

    def start(self, stage: str, total: float | None, unit: str) -> None:
        """Begin a stage with a bar of its own."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._stage, self._started = stage, time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=_BAR_COLUMNS),
            MofNCompleteColumn(),
            TextColumn(f"{unit} {{task.fields[note]}}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(stage, total=int(total) if total else None, note="")
        self._bar.start()

    def update(self, done: float, note: str = "", *, before: bool = False) -> None:
        """Move the bar."""
        if self._bar is not None and self._task is not None:
            if before:
                self._bar.reset(self._task, completed=int(done))
            self._bar.update(self._task, completed=int(done), note=note)

    def close(self) -> None:
        """Take the bar away and give the cursor back, in whatever state the stage is."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def finish(self, summary: str) -> None:
        """Replace the bar by the stage's one line."""
        self.close()
        print(f"{self._stage}: {summary} ({_clock(time.monotonic() - self._started)})", file=sys.stderr)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
