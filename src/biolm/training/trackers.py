"""Weights & Biases and MLflow beside `metrics.jsonl`, each through its own client (`pip install 'biolm[track]'`).

Where to, and as whom, is the clients' own configuration: `wandb login` or WANDB_API_KEY, WANDB_PROJECT,
WANDB_MODE=offline; MLFLOW_TRACKING_URI (else `mlflow.db` in the working directory), MLFLOW_EXPERIMENT_NAME.

What leaves the process: the run's name, its settings, its scalars by step, when it began and how it ended. What
the clients would add of their own is off: code, git state, installed packages, the command line, the host, its
load, console output, usage statistics and error reports (the last two come back with MLFLOW_DISABLE_TELEMETRY=false
and WANDB_ERROR_REPORTING=true). W&B still learns the versions of Python and wandb, the platform, and which of the
libraries it knows are loaded.
"""

import importlib.util
import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Self

from biolm.artifacts import write_json
from biolm.errors import ConfigError, Stopped
from biolm.training.tracker_clients import CLIENTS, Client, Line, State, import_client

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 30.0
"""How long the end of a run waits for all trackers together; what W&B has not sent by then lies in `RUN/wandb`."""
FILE = "trackers.json"


def check_trackers(names: Sequence[str]) -> None:
    """Raise ConfigError where a tracker is named whose client is not installed; imports none of them."""
    for name in names:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:  # a folder ./wandb, where W&B puts runs, is no client
            raise ConfigError(f"track names {name}, which is not installed: pip install 'biolm[track]'")


def open_trackers(names: Sequence[str], run: Path, settings: Mapping[str, object]) -> "Trackers":
    """Follow the run in the folder `run` with the trackers named ("wandb", "mlflow"); on one rank only.

    A run that is resumed continues the same tracker runs: the id that they go by is kept in `run/trackers.json`.
    Costs the import of each client (0.5 and 1.5 s); connecting, logging and finishing happen in a thread for each.
    A client or service that fails is said in one warning and switched off: from here on, nothing raises.
    Raises ConfigError as `check_trackers` does.
    """
    check_trackers(names)
    if not names:
        return Trackers(())
    run_id = _run_id(run)
    connect = {name: partial(CLIENTS[name], run, run_id, settings, CLOSE_SECONDS) for name in names}
    return Trackers([_Feed(name, connect[name]) for name in names])


class Trackers:
    """All trackers of a run, as a context manager: an exception that leaves it decides how the run ended."""

    def __init__(self, feeds: Sequence["_Feed"]) -> None:
        self._feeds = feeds

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Hand the scalars of a step over; returns at once. A step may come twice (a killed run had logged it)."""
        for feed in self._feeds:
            feed.put(Line(step, time.time(), dict(scalars)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state: State = "finished" if error is None else "failed"
        if isinstance(error, KeyboardInterrupt | SystemExit | Stopped):
            state = "killed"
        for feed in self._feeds:
            feed.put(state)
        until = time.monotonic() + CLOSE_SECONDS
        for feed in self._feeds:
            feed.wait(until)


class _Feed:
    """The way to one tracker: a queue, and a thread that empties it. Off after the first error."""

    def __init__(self, name: str, connect: Callable[[], Client]) -> None:
        self._name = name
        self._connect = connect
        self._queue: SimpleQueue[Line | State] = SimpleQueue()
        self._off = False
        try:
            import_client(name)  # here: two threads that import at once see each other's half-made modules
        except Exception as error:  # a broken installation
            self._switch_off(error)
        # A daemon, so that no service can keep the process from ending.
        self._thread = Thread(target=self._work, name=f"biolm-{name}", daemon=True)
        self._thread.start()

    def put(self, item: Line | State) -> None:
        """Queue scalars, or how the run ended."""
        if not self._off:
            self._queue.put(item)

    def wait(self, until: float) -> None:
        """Wait for the thread to end, or for the time `until` (of `time.monotonic`)."""
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self._switch_off(TimeoutError(f"not done {CLOSE_SECONDS:.0f} s after the end of the run"))

    def _work(self) -> None:
        if self._off:
            return
        try:
            client = self._connect()
            state: State | None = None
            while state is None:
                items = self._waiting()
                lines = [item for item in items if isinstance(item, Line)]
                state = next((item for item in items if not isinstance(item, Line)), None)
                if lines:
                    client.log(lines)
            client.finish(state)
        except BaseException as error:  # SystemExit too: it is the thread's own
            self._switch_off(error)

    def _waiting(self) -> list[Line | State]:
        items = [self._queue.get()]
        while True:
            try:
                items.append(self._queue.get_nowait())
            except Empty:
                return items

    def _switch_off(self, error: BaseException) -> None:
        if self._off:
            return
        self._off = True
        why = re.sub(r"//[^/@\s]+@", "//", " ".join(str(error).split()))  # a URI may carry a password
        if len(why) > 300:
            why = why[:299] + "…"
        logger.warning(
            "%s is switched off: %s; metrics.jsonl has everything", self._name, why or type(error).__name__
        )


def _run_id(run: Path) -> str:
    path = run / FILE
    try:
        known = json.loads(path.read_text(encoding="utf-8"))["id"]
        if isinstance(known, str) and known:
            return known
    except (OSError, ValueError, LookupError, TypeError):
        pass
    fresh = secrets.token_hex(8)
    write_json(path, {"id": fresh})
    return fresh
