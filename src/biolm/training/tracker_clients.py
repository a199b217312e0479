"""The clients of W&B and MLflow, as a run uses them: what they are told, and what they are told not to do."""

import importlib
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from biolm.errors import ConfigError

logger = logging.getLogger(__name__)

_NAME = "biolm"
"""Of W&B's project and MLflow's experiment, where the user names none."""

State = Literal["finished", "failed", "killed"]


class Line(NamedTuple):
    """Scalars of a step."""

    step: int
    seconds: float
    """Since the epoch."""
    scalars: Mapping[str, float]


class Client(Protocol):
    """A run of one tracker. Every call may take minutes, and raise whatever the client likes."""

    def log(self, lines: Sequence[Line]) -> None:
        """Record the scalars of several steps."""

    def finish(self, state: State) -> None:
        """Say how the run ended, and wait until all is sent."""


class Wandb:
    """A W&B run. Its x-axis is a metric "step": W&B's own steps may not go back, as a resumed run does."""

    def __init__(self, run: Path, run_id: str, settings: Mapping[str, object], close_seconds: float) -> None:
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
            settings=wandb.Settings(  # one that a later wandb does not know is an error: nothing leaves unasked
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
                finish_timeout=close_seconds,
                finish_timeout_raises=True,
            ),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        last = self._run.summary.get("step")
        self._logged = last if isinstance(last, int | float) else 0
        logger.info("wandb: %s", self._run.url or f"mode {own.mode}, run {self._run.id}")

    def log(self, lines: Sequence[Line]) -> None:
        """Leave out what a killed process had sent."""
        # A resumed run repeats it; of its last step a part may be missing.
        for line in lines:
            if line.step >= self._logged:
                self._run.log({**line.scalars, "step": line.step})

    def finish(self, state: State) -> None:
        """Say how the run ended. Raises TimeoutError where W&B takes too long to take everything."""
        self._run.finish(exit_code={"finished": 0, "failed": 1, "killed": 255}[state])


class Mlflow:
    """An MLflow run, found again by a tag. A step logged twice is two equal points at one place of the curve."""

    _TAG = "biolm.run"
    _METRICS, _PARAMS = 1000, 100
    """What a request may hold (MLflow REST API, `runs/log-batch`)."""

    def __init__(self, run: Path, run_id: str, settings: Mapping[str, object], close_seconds: float) -> None:
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
        flat = [(re.sub(r"[^\w\-. :/]", "_", key), value) for key, value in _flat(settings)]
        params = [Param(key, str(value)) for key, value in flat if key not in old]
        for at in range(0, len(params), self._PARAMS):
            client.log_batch(self._run, params=params[at : at + self._PARAMS])
        logger.info("mlflow: run %s", self._run)

    def log(self, lines: Sequence[Line]) -> None:
        """Record the scalars of several steps, in as few requests as MLflow takes."""
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, round(1000 * line.seconds), line.step)
            for line in lines
            for name, value in line.scalars.items()
        ]
        for at in range(0, len(metrics), self._METRICS):
            self._client.log_batch(self._run, metrics=metrics[at : at + self._METRICS])

    def finish(self, state: State) -> None:
        """Say how the run ended."""
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


CLIENTS: dict[str, Callable[[Path, str, Mapping[str, object], float], Client]] = {
    "wandb": Wandb,
    "mlflow": Mlflow,
}
"""Connect, given the run's folder, the id that it goes by, its settings, and the seconds that its end may wait."""


def import_client(name: str) -> None:
    """Import a client, with its reports about its use off and its loggers quiet. Raises whatever the import does."""
    # Both send reports about their use unless told not to; a user's own choice stands.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    for talker in ("mlflow", "alembic", "urllib3.connectionpool"):  # a line for each table and each retry
        logging.getLogger(talker).setLevel(logging.ERROR)
    logging.getLogger("wandb").propagate = False  # tracebacks; they go to RUN/wandb/*/logs all the same
    importlib.import_module(name)


def _stop_is_not_ours() -> None:
    logger.warning("wandb: someone asked there for this run to stop; biolm stops at Ctrl-C and SIGTERM only")


def _flat(settings: Mapping[str, object], above: str = "") -> list[tuple[str, object]]:
    flat: list[tuple[str, object]] = []
    for name, value in settings.items():
        flat += _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else [(above + name, value)]
    return flat
