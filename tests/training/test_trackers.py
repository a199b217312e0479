"""Trackers through their real clients: MLflow on a local store, W&B offline and against a stand-in on this machine."""

import getpass
import gzip
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from biolm.errors import ConfigError, Stopped
from biolm.training import trackers
from biolm.training.trackers import check_trackers, open_trackers

SETTINGS = {
    "base": {"name": "roberta-base"},
    "config": {"lr_peak": 5e-5, "track": ("wandb",), "max_steps": None},
}
NOWHERE = "http://127.0.0.1:9"
KEY = "0123456789" * 4


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No configuration, key or cache of the person who runs the tests, and none left behind."""
    for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_CONFIGURE_LOGGING", "false")
    monkeypatch.chdir(tmp_path / "here")
    yield
    if "wandb" in sys.modules:
        import wandb

        wandb.teardown()  # its settings are those of the process's first run


def follow(run: Path, *names: str, steps: range = range(1, 4), error: BaseException | None = None) -> None:
    """A training of some steps that ends by itself or with an error."""
    run.mkdir(exist_ok=True)
    with suppress(type(error) if error else Stopped), open_trackers(names, run, SETTINGS) as opened:
        for step in steps:
            opened.log(step, {"train/loss": 1 / step, "train/tokens": 100 * step})
            if step == steps[-1]:
                opened.log(step, {"validation/loss": 2.0})
        if error:
            raise error


# --- what both share


@pytest.mark.parametrize("name", ["no_such_client", "only_a_folder"])
def test_a_tracker_without_its_client_is_refused_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "only_a_folder").mkdir()  # as W&B makes ./wandb
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=rf"^track names {name}, .*pip install 'biolm\[track\]'$"):
        check_trackers([name])
    with pytest.raises(ConfigError):
        open_trackers([name], tmp_path, {})
    assert not (tmp_path / "trackers.json").exists()


def test_the_check_imports_no_client():
    script = (
        "import sys; from biolm.training.trackers import check_trackers; check_trackers(('wandb', 'mlflow'));"
        "print({'wandb', 'mlflow', 'torch'} & sys.modules.keys())"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "set()\n"


def test_no_trackers_leave_nothing(tmp_path: Path):
    follow(tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())


# --- MLflow


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without runs: to make one takes a second, and many when the disk is busy."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store: Path, own_home: None) -> Path:
    """MLflow's own default, `mlflow.db` in the working directory."""
    return Path(shutil.copy(empty_store, "mlflow.db")).resolve()


def mlflow_runs(uri: str | None = None) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("biolm")
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def test_mlflow_follows_a_run_in_a_local_store(tmp_path: Path, store: Path):
    from mlflow import MlflowClient

    follow(tmp_path / "run", "mlflow")
    (run,) = mlflow_runs()
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["config.lr_peak"] == "5e-05"
    assert run.data.params["base.name"] == "roberta-base"
    history = MlflowClient().get_metric_history(run.info.run_id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert set(run.data.tags) == {"biolm.run", "mlflow.runName"}  # no user, source or commit


def test_mlflow_is_told_how_a_run_ended(tmp_path: Path, store: Path):
    ends = {
        "finished": (None, "FINISHED"),
        "bug": (ValueError("x"), "FAILED"),
        "interrupted": (KeyboardInterrupt(), "KILLED"),
        "exited": (SystemExit(1), "KILLED"),
        "stopped": (Stopped("SIGTERM"), "KILLED"),
    }
    for name, (error, _) in ends.items():
        follow(tmp_path / name, "mlflow", error=error)
    told = {run.info.run_name: run.info.status for run in mlflow_runs()}
    assert told == {name: status for name, (_, status) in ends.items()}


def test_mlflow_goes_on_with_the_run_of_a_killed_process(tmp_path: Path, store: Path):
    from mlflow import MlflowClient

    follow(tmp_path / "run", "mlflow", steps=range(1, 6), error=KeyboardInterrupt())
    follow(tmp_path / "run", "mlflow", steps=range(4, 8))
    follow(tmp_path / "another", "mlflow")
    another, run = mlflow_runs()
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert another.info.run_name == "another"
    history = MlflowClient().get_metric_history(run.info.run_id, "train/loss")
    assert {point.step: point.value for point in history} == {step: 1 / step for step in range(1, 8)}


def test_mlflow_takes_the_users_store_and_experiment(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
):
    from mlflow import MlflowClient

    uri = f"sqlite:///{shutil.move(store, tmp_path / 'team.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "legends")
    follow(tmp_path / "run", "mlflow")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("legends")
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id])) == 1
    assert not list((tmp_path / "here").iterdir())
    given = client.create_run(experiment.experiment_id, run_name="given")
    monkeypatch.setenv("MLFLOW_RUN_ID", given.info.run_id)
    follow(tmp_path / "run", "mlflow")
    assert client.get_run(given.info.run_id).data.metrics["train/loss"] == 1 / 3


def test_many_steps_and_settings_at_once_fit_mlflows_requests(tmp_path: Path, store: Path):
    run = tmp_path / "run"
    run.mkdir()
    settings = {f"setting {i}?": i for i in range(250)}
    with open_trackers(["mlflow"], run, settings) as opened:
        for step in range(1, 1301):
            opened.log(step, {"train/loss": float(step)})
    (found,) = mlflow_runs()
    assert found.info.status == "FINISHED"
    assert len(found.data.params) == 250
    assert found.data.metrics == {"train/loss": 1300.0}


def test_an_error_in_the_middle_is_one_warning_and_no_more(
    tmp_path: Path, store: Path, caplog: pytest.LogCaptureFixture
):
    run = tmp_path / "run"
    run.mkdir()
    with open_trackers(["mlflow"], run, SETTINGS) as opened:
        opened.log(1, {"not a name?!": 1.0})
        for step in range(2, 100):
            opened.log(step, {"train/loss": 1.0, "not a name?!": 1.0})
    (warning,) = warnings_of(caplog)
    assert warning.startswith("mlflow is switched off: ")
    assert "not a name?!" in warning
    assert "\n" not in warning


def test_an_absent_server_costs_training_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://someone:secret@127.0.0.1:9")
    monkeypatch.setattr(trackers, "CLOSE_SECONDS", 1.0)
    import mlflow  # noqa: F401  its import is not what is timed

    started = time.monotonic()
    follow(tmp_path / "run", "mlflow", steps=range(1, 1000))
    assert time.monotonic() - started < 10  # MLflow itself would try for four minutes
    (warning,) = warnings_of(caplog)
    assert "not done 1 s after the end" in warning
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    caplog.clear()
    follow(tmp_path / "run", "mlflow")
    (warning,) = warnings_of(caplog)
    assert "127.0.0.1" in warning
    assert "secret" not in warning


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# --- W&B


class StandIn(ThreadingHTTPServer):
    """As much of a W&B server as its client asks for: it keeps what it is sent, and one run."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.sent: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.names: list[str] = []
        self.exit_codes: list[int] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error."""

    def answer(self, query: str, values: dict[str, Any]) -> dict[str, Any]:
        project = {"id": "P", "name": "biolm", "entity": {"id": "E", "name": "me"}}
        bucket = {"id": "B", "name": self.names[0] if self.names else values.get("name"), "project": project}
        bucket |= {"displayName": "run", "description": "", "config": "{}", "sweepName": None, "notes": None}
        if "viewer" in query:
            viewer = {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
            return {"viewer": viewer | {"email": "me@example.org"}}
        if "upsertBucket" in query:
            if values.get("name") not in self.names:
                self.names.append(values["name"])
            self.config |= json.loads(values["config"] or "{}")
            return {"upsertBucket": {"bucket": bucket, "inserted": not self.rows}}
        if "RunResumeStatus" in query:
            if not self.rows:
                return {"model": None}
            tail = json.dumps([json.dumps(self.rows[-1])])
            bucket |= {"summaryMetrics": json.dumps(self.summary), "historyLineCount": len(self.rows)}
            bucket |= {"logLineCount": 0, "eventsLineCount": 0, "historyTail": tail, "eventsTail": "[]"}
            return {"model": project | {"bucket": bucket | {"tags": [], "wandbConfig": '{"t": 1}'}}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/{name}"} for name in values["files"]]
            return {"createRunFiles": {"runID": "B", "uploadHeaders": [], "files": files}}
        return {}


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        text, answer = body.decode(), {}
        if self.path == "/graphql":
            asked = json.loads(text)
            answer = {"data": self.server.answer(asked["query"], asked.get("variables") or {})}
            text = json.dumps(asked.get("variables"))
        elif self.path.endswith("/file_stream"):
            sent = json.loads(text)
            for name, part in sent.get("files", {}).items():
                lines = [json.loads(line) for line in part["content"]]
                if name == "wandb-history.jsonl":
                    self.server.rows += lines
                elif name == "wandb-summary.json":
                    self.server.summary = lines[-1]
            if sent.get("complete"):
                self.server.exit_codes.append(sent["exitcode"])
        self.server.sent.append(f"{self.path} {text}")
        self._reply(json.dumps(answer).encode())

    do_PUT = do_POST  # noqa: N815  as http.server calls it

    def do_GET(self) -> None:
        self._reply(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _reply(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    with StandIn() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        yield server
        server.shutdown()


def points(server: StandIn, name: str = "train/loss") -> list[tuple[int, float]]:
    return [(row["step"], row[name]) for row in server.rows if name in row]


def test_wandb_follows_a_run_and_is_sent_nothing_else(
    tmp_path: Path, server: StandIn, caplog: pytest.LogCaptureFixture
):
    follow(tmp_path / "run", "wandb")
    assert not warnings_of(caplog)
    assert points(server) == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert points(server, "validation/loss") == [(3, 2.0)]
    assert server.exit_codes == [0]
    assert server.config["base"] == {"value": {"name": "roberta-base"}}
    known = {"base", "config", "_wandb"}
    assert server.config.keys() == known
    assert server.config["_wandb"]["value"].keys() == {"cli_version", "python_version", "t", "m"}
    everything = "\n".join(server.sent)
    for private in (
        str(tmp_path),
        str(Path.cwd()),
        platform.node(),
        sys.executable,
        "pytest",
        "requirements",
    ):
        assert private not in everything, private
    uploads = {line.split(" ")[0].rsplit("/", 1)[1] for line in server.sent}
    assert uploads == {"graphql", "file_stream", "wandb-summary.json", "config.yaml"}
    if getpass.getuser() != "root":
        assert getpass.getuser() not in everything


def test_wandb_goes_on_with_the_run_of_a_killed_process(tmp_path: Path, server: StandIn):
    import wandb

    follow(tmp_path / "run", "wandb", steps=range(1, 6), error=KeyboardInterrupt())
    wandb.teardown()  # another process
    follow(tmp_path / "run", "wandb", steps=range(4, 8))
    assert server.names == [json.loads((tmp_path / "run/trackers.json").read_text())["id"]]
    assert server.exit_codes == [255, 0]
    steps = [step for step, _ in points(server)]
    assert steps == sorted(steps)
    assert dict(points(server)) == {step: 1 / step for step in range(1, 8)}


def test_a_wandb_that_goes_away_is_waited_for_no_longer_than_said(tmp_path: Path, server: StandIn):
    script = f"""
import logging, sys, time
from pathlib import Path
from biolm.training import trackers
logging.basicConfig(format="%(message)s")
trackers.CLOSE_SECONDS = 2.0
with trackers.open_trackers(["wandb"], Path({str(tmp_path)!r}), {{"a": 1}}) as opened:
    opened.log(1, {{"train/loss": 1.0}})
    sys.stdin.readline()
    opened.log(2, {{"train/loss": 0.5}})
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while not server.names and time.monotonic() < until:
            time.sleep(0.05)
        assert server.names
        server.shutdown()
        server.server_close()
        gone = time.monotonic()
        _, said = process.communicate("gone\n", timeout=60)
    assert process.returncode == 0
    assert time.monotonic() - gone < 15
    (warning,) = said.splitlines()
    assert warning.startswith("wandb is switched off: ")


def test_wandb_without_a_key_asks_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    follow(tmp_path / "run", "wandb")
    (warning,) = warnings_of(caplog)
    assert "`wandb login`" in warning


def test_wandb_offline_leaves_a_folder_that_can_be_sent_later(
    tmp_path: Path, server: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("WANDB_MODE", "offline")
    follow(tmp_path / "run", "wandb")
    assert not warnings_of(caplog)
    assert not server.sent
    assert not list((tmp_path / "here").iterdir())
    (folder,) = (tmp_path / "run/wandb").glob("offline-run-*")
    monkeypatch.delenv("WANDB_MODE")
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert points(server) == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_wandb_disabled_is_the_users_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    follow(tmp_path / "run", "wandb")
    assert not warnings_of(caplog)


def test_a_process_ends_though_no_service_answers(tmp_path: Path):
    script = f"""
import logging, sys
from pathlib import Path
from biolm.training import trackers
logging.basicConfig(format="%(message)s")
trackers.CLOSE_SECONDS = 2.0
with trackers.open_trackers(["wandb", "mlflow"], Path({str(tmp_path)!r}), {{"a": 1}}) as opened:
    opened.log(1, {{"train/loss": 1.0}})
"""
    environ = os.environ | {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": NOWHERE, "MLFLOW_TRACKING_URI": NOWHERE}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    assert time.monotonic() - started < 30
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert [line.partition(" is switched off: ")[0] for line in lines] == ["wandb", "mlflow"]
