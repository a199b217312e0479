"""Weights & Biases and MLflow beside `metrics.jsonl`, each through its own client (`pip install 'biolm[track]'`).

Where to, and as whom, is the clients' own configuration: `wandb login` or WANDB_API_KEY, WANDB_PROJECT,
WANDB_MODE=offline; MLFLOW_TRACKING_URI (else `mlflow.db` in the working directory), MLFLOW_EXPERIMENT_NAME.

What leaves the process: the run's name, its settings, its scalars by step, when it began and how it ended. What
the clients would add of their own is off: code, git state, installed packages, the command line, the host, its
load, console output, usage statistics and error reports (the last two come back with MLFLOW_DISABLE_TELEMETRY=false
and WANDB_ERROR_REPORTING=true). W&B still learns the versions of Python and wandb, the platform, and which of the
libraries it knows are loaded.
"""

import importlib
import importlib.util
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self

from biolm.artifacts import write_json
from biolm.errors import ConfigError, Stopped

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 30.0
"""How long the end of a run waits for all trackers together; what W&B has not sent by then lies in `RUN/wandb`."""
FILE = "trackers.json"
_NAME = "biolm"
"""Of W&B's project and MLflow's experiment, where the user names none."""

State = Literal["finished", "failed", "killed"]


class Line(NamedTuple):
    """Scalars of a step."""

    step: int
    seconds: float
    """Since the epoch."""
    scalars: Mapping[str, float]


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
    return Trackers([_Feed(name, partial(_CLIENTS[name], run, run_id, settings)) for name in names])


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


class _Client(Protocol):
    """A run of one tracker. Every call may take minutes, and raise whatever the client likes."""

    def log(self, lines: Sequence[Line]) -> None:
        """Record the scalars of several steps."""

    def finish(self, state: State) -> None:
        """Say how the run ended, and wait until all is sent."""


class _Feed:
    """The way to one tracker: a queue, and a thread that empties it. Off after the first error."""

    def __init__(self, name: str, connect: Callable[[], _Client]) -> None:
        self._name = name
        self._connect = connect
        self._queue: SimpleQueue[Line | State] = SimpleQueue()
        self._off = False
        try:
            _import_client(name)  # here: two threads that import at once see each other's half-made modules
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


class _Wandb:
    """A W&B run. Its x-axis is a metric "step": W&B's own steps may not go back, as a resumed run does."""

    def __init__(self, run: Path, run_id: str, settings: Mapping[str, object]) -> None:
        import wandb

        own = wandb.setup(wandb.Settings(silent=True)).settings  # of the environment and of W&B's files
        if own.mode == "online" and not wandb.login(prompt=False):  # a prompt would wait for ever
            raise ConfigError("no API key of W&B is configured: run `wandb login`, or set WANDB_MODE=offline")
        self._run = wandb.init(
            id=own.run_id or run_id,
            resume="allow",
            project=own.project or _NAME,
            name=own.run_name or run.resolve().name,
            dir=os.environ.get("WANDB_DIR") or run,
            config=dict(settings),
            allow_val_change=True,
            settings=wandb.Settings(
                silent=True,
                console="off",
                program=_NAME,
                save_code=False,
                disable_code=True,
                disable_git=True,
                disable_job_creation=True,
                label_disable=True,  # else the running script is searched for labels
                x_disable_machine_info=True,
                x_disable_meta=True,
                x_disable_stats=True,
                x_save_requirements=False,
                reinit="create_new",  # a run of the caller's own stays as it is
                stop_fn=_stop_is_not_ours,
                finish_timeout=CLOSE_SECONDS,
                finish_timeout_raises=True,
            ),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        last = self._run.summary.get("step")
        self._logged = last if isinstance(last, int | float) else 0
        logger.info("wandb: %s", self._run.url or f"mode {own.mode}, run {self._run.id}")

    def log(self, lines: Sequence[Line]) -> None:
        # What a killed run had sent is the same to the bit; of its last step a part may be missing.
        for line in lines:
            if line.step >= self._logged:
                self._run.log({**line.scalars, "step": line.step})

    def finish(self, state: State) -> None:
        self._run.finish(exit_code={"finished": 0, "failed": 1, "killed": 255}[state])


class _Mlflow:
    """An MLflow run, found again by a tag. A step logged twice is two equal points at one place of the curve."""

    _TAG = "biolm.run"
    _METRICS, _PARAMS = 1000, 100
    """What a request may hold (MLflow REST API, `runs/log-batch`)."""

    def __init__(self, run: Path, run_id: str, settings: Mapping[str, object]) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = client = MlflowClient()
        self._run = os.environ.get("MLFLOW_RUN_ID") or ""
        if not self._run:
            experiment = os.environ.get("MLFLOW_EXPERIMENT_ID") or self._experiment()
            found = client.search_runs([experiment], f"tags.`{self._TAG}` = '{run_id}'", max_results=1)
            known = (
                found[0]
                if found
                else client.create_run(experiment, run_name=run.resolve().name, tags={self._TAG: run_id})
            )
            self._run = known.info.run_id
        client.update_run(self._run, status="RUNNING")
        # A parameter is written once: those that a resumed run may change keep their first value.
        old = client.get_run(self._run).data.params
        params = [Param(key, str(value)) for key, value in _flat(settings) if key not in old]
        for at in range(0, len(params), self._PARAMS):
            client.log_batch(self._run, params=params[at : at + self._PARAMS])
        logger.info("mlflow: run %s", self._run)

    def log(self, lines: Sequence[Line]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, round(1000 * line.seconds), line.step)
            for line in lines
            for name, value in line.scalars.items()
        ]
        for at in range(0, len(metrics), self._METRICS):
            self._client.log_batch(self._run, metrics=metrics[at : at + self._METRICS])

    def finish(self, state: State) -> None:
        self._client.set_terminated(self._run, state.upper())

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _NAME
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except Exception:  # another run was faster, or there is a reason that is given again below
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)


_CLIENTS: dict[str, Callable[[Path, str, Mapping[str, object]], _Client]] = {
    "wandb": _Wandb,
    "mlflow": _Mlflow,
}


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


def _import_client(name: str) -> Any:
    # Both send reports about their use unless told not to; a user's own choice stands.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    for talker in ("mlflow", "alembic", "urllib3.connectionpool"):  # a line for each table and each retry
        logging.getLogger(talker).setLevel(logging.ERROR)
    return importlib.import_module(name)


def _stop_is_not_ours() -> None:
    logger.warning("wandb: someone asked there for this run to stop; biolm stops at Ctrl-C and SIGTERM only")


def _flat(settings: Mapping[str, object], above: str = "") -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for name, value in settings.items():
        flat += _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else [(above + name, value)]
    return flat
