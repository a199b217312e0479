"""Data sets at the Hub: against one of our own on this machine, which serves the files of one folder."""

import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from datasets import Dataset

from biolm.tokens.store import SECTIONS, open_tokens

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEXTS = ["p53 binds DNA in cells", "", None, "mouse neurons"]


class Hub(http.server.BaseHTTPRequestHandler):
    """The few answers of the Hub that reading a data set needs."""

    folder: Path
    asked: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = unquote(self.path.partition("?")[0])
        files = sorted(file for file in self.folder.rglob("*") if file.is_file())
        names = [file.relative_to(self.folder).as_posix() for file in files]
        if re.fullmatch("/api/datasets/me/texts(/revision/.+)?", path):
            info: dict[str, object] = {"id": "me/texts", "sha": COMMIT}
            info["siblings"] = [{"rfilename": name} for name in names]
            if "README.md" in names:
                info["cardData"] = {"configs": [{"config_name": "any"}]}
            self._answer(json.dumps(info).encode())
        elif found := re.fullmatch("/api/datasets/me/texts/tree/[^/]+/?(.*)", path):
            self._answer(json.dumps(self._listing(found[1], "recursive=true" in self.path.lower())).encode())
        elif (found := re.fullmatch("/datasets/me/texts/resolve/[^/]+/(.+)", path)) and found[1] in names:
            self._answer((self.folder / found[1]).read_bytes(), "application/octet-stream")
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if "/me/texts" in path else "RepoNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _listing(self, below: str, recursive: bool) -> list[dict[str, object]]:
        base = self.folder / below
        found = sorted(base.rglob("*") if recursive else base.iterdir()) if base.is_dir() else []
        return [
            {
                "type": "file" if path.is_file() else "directory",
                "path": path.relative_to(self.folder).as_posix(),
                "size": path.stat().st_size,
                "oid": "0" * 40,
            }
            for path in found
        ]

    def _answer(self, body: bytes, kind: str = "application/json") -> None:
        part, code = body, 200
        if kind != "application/json" and (
            wanted := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        ):
            first, last = int(wanted[1]), int(wanted[2] or len(body) - 1)
            part, code = body[first : last + 1], 206
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(part)))
        if code == 206:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(body)}")
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(part)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[type[Hub]]:
    (tmp_path / "hub").mkdir()
    handler = type("ThisHub", (Hub,), {"folder": tmp_path / "hub", "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


DRIVER = """
import contextlib, io, json, sys
import click
from biolm import cli
from biolm.cli.options import CorpusPlace
from biolm.cli.tokenize import tokens_of
from biolm.progress import Silent
from biolm.tokens.tokenizer import load_tokenizer

@click.command()
@click.argument("data", type=CorpusPlace())
@click.argument("tokenizer")
def tokens(data, tokenizer):  # what pretrain and evaluate do first, without torch
    print(tokens_of(data, load_tokenizer(tokenizer), Silent()).fingerprint)

cli.COMMANDS["tokens"] = "__main__:tokens"
said = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main(arguments)
        except SystemExit as end:
            code = end.code
    said.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(said))
"""


def biolm(
    commands: list[list[str]], here: Path, endpoint: str, *, offline: bool = False
) -> list[tuple[int, str, str]]:
    """(exit code, standard output, standard error) of commands, in one process, which starts in seconds."""
    env = {
        **os.environ,
        "BIOLM_CACHE": str(here / "cache"),
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(here / "home"),
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    command = [sys.executable, "-c", DRIVER, json.dumps(commands)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=120)
    assert done.returncode == 0, done.stderr
    said = [(code, out, err) for code, out, err in json.loads(done.stdout.splitlines()[-1])]
    assert not [err for code, _, err in said if code and (code != 2 or len(err.splitlines()) != 1)]
    return said


def tokenize(data: str, tokenizer: Path, out: Path) -> list[str]:
    return ["tokenize", data, "--tokenizer", str(tokenizer), "--out", str(out)]


def test_a_data_set_is_streamed_with_only_its_columns_and_known_by_its_commit(
    hub, tiny_roberta: Path, tmp_path: Path
):
    for split in ("train", "validation", "unsupervised"):
        rows = Dataset.from_dict({"text": TEXTS, "other": ["x"] * 4})
        rows.to_parquet(hub.folder / f"data/{split}-00000-of-00001.parquet")
    out = tmp_path / "tokens"
    ((code, _, said),) = biolm([tokenize("hf://datasets/me/texts", tiny_roberta, out)], tmp_path, hub.address)
    assert code == 0, said
    assert "hf://datasets/me/texts: left out are unsupervised" in said
    assert "left out: 2 empty, 2 null" in said
    store = open_tokens(out)
    assert {split: len(store.split(split)) for split in store.splits} == {"train": 2, "validation": 2}
    assert {SECTIONS[section] for section in store.split("train").sections} == {"text"}
    corpus = store.manifest["corpus"]
    source = {"name": "hf://datasets/me/texts", "revision": COMMIT, "config": None}
    assert (corpus["name"], corpus["sources"]) == (source["name"], [source])
    assert not [path for path in hub.asked if "unsupervised-0" in path]
    assert not any((tmp_path / "home").rglob("*.parquet"))


def test_tokens_of_a_commit_serve_without_the_hub(hub, tiny_roberta: Path, tmp_path: Path):
    Dataset.from_dict({"text": TEXTS}).to_parquet(hub.folder / "test.parquet")
    data = "hf://datasets/me/texts"
    names = (data, f"{data}@{COMMIT}", f"{data}@{'f' * 40}")
    unnamed, named, other = (["tokens", name, str(tiny_roberta)] for name in names)
    first, second = biolm([unnamed, named], tmp_path, hub.address)
    assert first[0] == 0, first[2]
    assert second[1] == first[1]
    assert len(list((tmp_path / "cache/tokens").iterdir())) == 1
    hub.asked.clear()
    third, *refused = biolm([named, unnamed, other], tmp_path, hub.address, offline=True)
    assert third[1] == first[1]
    assert not hub.asked
    assert [(code, "HF_HUB_OFFLINE is set" in said) for code, _, said in refused] == [(2, True)] * 2


def test_eval_is_a_validation_split(hub, tiny_roberta: Path, tmp_path: Path):
    for name in ("train", "eval", "test"):
        (hub.folder / f"{name}.jsonl").write_text(json.dumps({"text": name}) + "\n")
    out = tmp_path / "tokens"
    ((code, _, said),) = biolm([tokenize("hf://datasets/me/texts", tiny_roberta, out)], tmp_path, hub.address)
    assert code == 0, said
    assert open_tokens(out).splits == ("train", "validation", "test")


def test_a_card_says_what_is_which_split_of_which_configuration(hub, tiny_roberta: Path, tmp_path: Path):
    for name in ("train", "eval"):
        (hub.folder / f"{name}.jsonl").write_text(json.dumps({"text": name}) + "\n")
    (hub.folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: one\n  data_files:\n  - split: test\n    path: eval.jsonl\n"
        "- config_name: two\n  data_files: train.jsonl\n---\n"
    )
    out = tmp_path / "tokens"
    data = "hf://datasets/me/texts"
    commands = [tokenize(f"{data}{config}", tiny_roberta, out) for config in ("/one", "", "@main/three")]
    commands[1][-1] = commands[2][-1] = str(tmp_path / "none")
    one, none, three = biolm(commands, tmp_path, hub.address)
    assert one[0] == 0, one[2]
    assert open_tokens(out).splits == ("test",)
    assert "['one', 'two']" in none[2]
    assert "'three' not found. Available: ['one', 'two']" in three[2]
    for code, _, said in (none, three):
        assert code == 2
        assert "give hf://datasets/me/texts/CONFIG" in said


def test_a_corpus_of_ours_at_the_hub_is_read_as_one(
    hub, tiny_corpus: Path, tiny_roberta: Path, tmp_path: Path
):
    shutil.copytree(tiny_corpus, hub.folder / "corpora/tiny")
    out = tmp_path / "tokens"
    place = "hf://datasets/me/texts/corpora/tiny"
    ((code, _, said),) = biolm([tokenize(place, tiny_roberta, out)], tmp_path, hub.address)
    assert code == 0, said
    store = open_tokens(out)
    assert "kind" not in store.manifest["corpus"]
    assert {SECTIONS[section] for section in store.split("train").sections} == {"abstract", "figure_legend"}


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("texts.py", "code of its own, which biolm never runs"),
        ("train.txt", "train.txt is not read; give Parquet, JSON or CSV"),
        (None, "doesn't contain any data files"),
    ],
)
def test_what_at_the_hub_is_no_data_is_one_line_and_code_is_never_run(
    file: str | None, says: str, hub, tiny_roberta: Path, tmp_path: Path
):
    if file is not None:
        (hub.folder / file).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    names = ("hf://datasets/me/texts", "hf://datasets/me/nothing")
    commands = [tokenize(name, tiny_roberta, tmp_path / "tokens") for name in names]
    (code, _, said), absent = biolm(commands, tmp_path, hub.address)
    assert (code, absent[0]) == (2, 2)
    assert says in said
    assert "is no data set that the Hub shows you (HTTP 404)" in absent[2]
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "tokens").exists()


def test_a_hub_that_cannot_be_reached_is_one_line(tiny_roberta: Path, tmp_path: Path):
    """A port of this machine that nothing listens on, where the Hub would be."""
    command = tokenize("hf://datasets/me/texts", tiny_roberta, tmp_path / "tokens")
    ((code, _, said),) = biolm([command], tmp_path, "http://127.0.0.1:9")
    assert code == 2
    assert "hf://datasets/me/texts: the Hub cannot be reached" in said
