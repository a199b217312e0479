"""Names that are looked up: against a Hub of our own on this machine, which serves one folder."""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """The few answers of the Hub that fetching a model needs."""

    folder: Path
    asked: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = self.path.partition("?")[0]
        names = sorted(file.name for file in self.folder.iterdir())
        if path.startswith("/api/models/me/tiny/tree/"):
            listing = [{"type": "file", "path": n, "size": 1, "oid": "0" * 40} for n in names]
            self._answer(json.dumps(listing).encode(), "application/json")
        elif path in ("/api/models/me/tiny", "/api/models/me/tiny/revision/main"):
            info = {"id": "me/tiny", "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]}
            self._answer(json.dumps(info).encode(), "application/json")
        elif path.startswith("/me/tiny/resolve/") and path.rpartition("/")[2] in names:
            self._answer((self.folder / path.rpartition("/")[2]).read_bytes(), "application/octet-stream")
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub(tiny_bert: Path) -> Iterator[type[Hub]]:
    handler = type("ThisHub", (Hub,), {"folder": tiny_bert, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def fill(model: str, home: Path, endpoint: str, *, offline: bool = False) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "biolm", "fill-mask", model, "the <mask> cells", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env=env,
        timeout=60,
    )


def test_a_name_is_fetched_once_and_then_works_offline(hub, tiny_bert: Path, tmp_path: Path):
    fetched = fill("me/tiny", tmp_path, hub.address)
    assert fetched.returncode == 0, fetched.stderr
    local = fill(str(tiny_bert), tmp_path, hub.address)
    assert json.loads(fetched.stdout) == json.loads(local.stdout)
    assert not [path for path in hub.asked if path.endswith((".bin", ".py", ".pkl"))]
    downloads = len([path for path in hub.asked if "model.safetensors" in path])
    offline = fill("me/tiny", tmp_path, hub.address, offline=True)
    assert json.loads(offline.stdout) == json.loads(fetched.stdout)
    assert len([path for path in hub.asked if "model.safetensors" in path]) == downloads


def test_a_name_that_the_hub_does_not_know_is_one_line(hub, tmp_path: Path):
    done = fill("me/nothing", tmp_path, hub.address)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "neither a folder here nor a model that the Hub shows you" in done.stderr
