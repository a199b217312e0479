"""Steps prepared in the background, so that training does not wait for them. What they hold never depends on it.

A thread fills a bounded queue. It computes the steps itself, or receives them from a process that does: then
preparing takes nothing from the interpreter that keeps a GPU busy. The process is a fresh Python that imports
what the source needs and no more (no torch, not the main module), with a socket to us.
"""

import contextlib
import ctypes
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, Pipe
from typing import Any, Literal, Self

from biolm.batches.packing import PackedRow
from biolm.errors import BiolmError

Kind = Literal["thread", "process", "none"]
Source = Callable[[int], list[PackedRow]]
Prepared = tuple[int, list[PackedRow]]
_CLOSE_SECONDS = 1.0
"""How long closing waits for a thread in the middle of a step; it is a daemon and ends by itself."""


class Ahead:
    """(step, rows) for the steps `first` to `last` − 1 in order: a context manager, and an iterator inside.

    Up to `ahead` + 1 steps are ready beforehand (a process has one more in its hands); with `ahead` 0 or kind
    "none" each is computed when it is asked for. For "process" the source must be picklable, and not of the main
    module; the process ends with the thread that entered. What the source raises is raised to whoever asks next;
    a process that was killed is a BiolmError.
    """

    def __init__(self, source: Source, first: int, last: int, *, ahead: int, kind: Kind) -> None:
        self.waited_seconds = 0.0
        """How long whoever asked has waited for steps, all together."""
        self._source, self._first, self._last = source, first, last
        self._kind: Kind = kind if ahead > 0 else "none"
        self._ready: queue.Queue[Prepared | BaseException] = queue.Queue(maxsize=max(1, ahead))
        self._steps: Iterator[Prepared] = iter(())
        self._closed = False
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    @property
    def process_id(self) -> int | None:
        """Of the process that prepares, where there is one."""
        return None if self._process is None else self._process.pid

    def __enter__(self) -> Self:
        """Begin to prepare."""
        steps = self._received() if self._kind == "process" else self._computed()
        if self._kind == "process":
            self._start_process()
        if self._kind != "none":
            self._thread = threading.Thread(target=self._fill, args=(steps,), name="batches", daemon=True)
            self._thread.start()
            steps = self._taken()
        self._steps = steps
        return self

    def __exit__(self, *_: object) -> None:
        """Stop at once, also in the middle."""
        self._closed = True
        self._steps = iter(())
        if self._process is not None:
            self._process.kill()  # it holds nothing that could be lost
            self._process.wait()
        if self._thread is not None:
            deadline = time.monotonic() + _CLOSE_SECONDS
            while self._thread.is_alive() and time.monotonic() < deadline:
                with contextlib.suppress(queue.Empty):  # room for a thread that waits to put
                    self._ready.get(timeout=0.01)
        if self._connection is not None:
            self._connection.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Prepared:
        started = time.monotonic()
        try:
            return next(self._steps)
        finally:
            self.waited_seconds += time.monotonic() - started

    def _computed(self) -> Iterator[Prepared]:
        for step in range(self._first, self._last):
            yield step, self._source(step)

    def _fill(self, steps: Iterator[Prepared]) -> None:
        """The thread."""
        try:
            for prepared in steps:
                self._ready.put(prepared)
                if self._closed:
                    return
        except BaseException as error:  # for the other thread
            self._ready.put(error)

    def _taken(self) -> Iterator[Prepared]:
        for _ in range(self._first, self._last):
            found = self._ready.get()
            if isinstance(found, BaseException):
                raise found
            yield found

    def _start_process(self) -> None:
        request = pickle.dumps((self._source, self._first, self._last))
        self._connection, theirs = Pipe()
        with theirs:
            code = (
                f"import sys; sys.path[:] = {sys.path!r}; from biolm.batches.ahead import serve; "
                f"serve({theirs.fileno()}, {os.getpid()})"
            )
            # A group of its own: Ctrl-C is for the parent, which decides.
            self._process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        with contextlib.suppress(OSError):  # it is gone already, as receiving will find
            self._connection.send_bytes(request)

    def _received(self) -> Iterator[Prepared]:
        assert self._connection is not None
        assert self._process is not None
        for step in range(self._first, self._last):
            try:
                found = self._connection.recv()
            except (EOFError, OSError):
                raise BiolmError(_ended(self._process.wait())) from None
            if isinstance(found, BaseException):
                raise found
            yield step, found


def serve(handle: int, parent: int) -> None:
    """The process: rows of one step after the other into the socket `handle`, for as long as `parent` lives."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _end_with(parent)
    with (
        Connection(handle) as connection,
        contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError),
    ):
        request = connection.recv_bytes()
        for found in _answers(request):
            connection.send(found)  # blocks while the parent has enough, fails when it is gone


def _answers(request: bytes) -> Iterator[list[PackedRow] | Exception]:
    try:
        source, first, last = pickle.loads(request)  # noqa: S301  from our own parent
        for step in range(first, last):
            yield source(step)
    except Exception as error:  # for the parent
        yield _sendable(error)


def _sendable(error: Exception) -> Exception:
    """The exception itself where pickle can carry it; where it is no plain line, with its traceback."""
    if not isinstance(error, BiolmError):
        error.add_note("In the process that prepares batches:\n" + traceback.format_exc())
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  made one line above
    except Exception:
        return RuntimeError(traceback.format_exc())
    return error


def _end_with(parent: int) -> None:
    """On Linux the kernel ends this process with its parent's; elsewhere the next step that is sent does."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # linux/prctl.h
        libc: Any = ctypes.CDLL(None)
        libc.prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it was gone before
        os._exit(1)


def _ended(code: int) -> str:
    how = (
        f"was killed (signal {-code}), maybe for want of memory" if code < 0 else f"ended (exit code {code})"
    )
    return (
        f"the process that prepares batches {how}; the same command with --resume goes on from the newest "
        "checkpoint; or prepare in the training process (--prepare-ahead 0)"
    )
