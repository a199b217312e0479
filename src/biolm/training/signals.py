"""Signals that ask a run to end: it finishes its step, saves, and says so."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

_ASKING = (signal.SIGTERM, signal.SIGINT)
_SAME_SECONDS = 2.0


class StopSignals:
    """Within it, the first SIGTERM or Ctrl-C is noted in `asked`; one that comes later acts as it always does.

    Later: a Ctrl-C reaches a rank twice, from the terminal and from the process that started it.
    """

    def __init__(self) -> None:
        self.asked: signal.Signals | None = None
        self._asked_at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            for number in _ASKING:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._give_back()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked is None:
            self.asked, self._asked_at = signal.Signals(number), time.monotonic()
        elif time.monotonic() - self._asked_at > _SAME_SECONDS:
            self._give_back()
            signal.raise_signal(number)

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
