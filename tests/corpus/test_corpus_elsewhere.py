"""A corpus in a store: whole or absent, and read there by every command that takes one."""

import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from click.testing import CliRunner
from corpus_papers import rows_of, write_pubmed
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from biolm.cli import app, main
from biolm.corpus.build import Running, build_corpus
from biolm.corpus.config import CorpusConfig
from biolm.corpus.diff import corpus_diff
from biolm.corpus.explain import explain
from biolm.corpus.places import below, last_name, place_of, spelled
from biolm.corpus.put import MARKER
from biolm.corpus.reader import open_corpus
from biolm.corpus.show import corpus_facts
from biolm.corpus.split import parse_shares
from biolm.corpus.update import update_corpus
from biolm.errors import ArtifactError, BiolmError, InputError
from biolm.progress import Silent
from conftest import folder_bytes

URL = "memory://bucket/deep/corpus"
CONFIG = CorpusConfig(shares=parse_shares("1/1/1"), min_chars=90, passages_per_file=20)


class Store(MemoryFileSystem):
    """Files in memory; `puts` names each that was put, and `before_put` is called with its name."""

    puts: list[str] = []  # noqa: RUF012

    @staticmethod
    def before_put(name: str) -> None:
        """Nothing, unless a test says what."""

    def put_file(self, lpath: str, rpath: str, **options: Any) -> None:
        name = rpath.rpartition("/")[2]
        type(self).before_put(name)
        super().put_file(lpath, rpath, **options)
        type(self).puts.append(name)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Store]]:
    fsspec.register_implementation("memory", Store, clobber=True)
    monkeypatch.setattr(Store, "puts", [])
    Store.store.clear()
    yield Store
    Store.store.clear()
    fsspec.register_implementation("memory", MemoryFileSystem, clobber=True)


@pytest.fixture
def running(tmp_path: Path) -> Running:
    return Running(workers=1, work=str(tmp_path / "work"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_pubmed(tmp_path / "pubmed20n0001.xml", range(1, 101))


@pytest.fixture
def here(source: Path, tmp_path: Path, running: Running) -> Path:
    """A corpus in a folder."""
    build_corpus([source], tmp_path / "here", CONFIG, Silent(), running)
    return tmp_path / "here"


def stored(url: str = URL) -> dict[str, bytes]:
    files, root = fsspec.url_to_fs(url)
    return {path.removeprefix(f"{root}/"): files.cat_file(path) for path in files.find(root)}


def refused(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command says before it exits with 2."""
    with pytest.raises(SystemExit) as done:
        main(list(arguments))
    assert done.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("biolm: ")
    return line


def test_a_corpus_in_a_store_is_that_of_a_folder(
    store: type[Store], source: Path, here: Path, running: Running, tmp_path: Path
):
    manifest = build_corpus([source], URL, CONFIG, Silent(), running)
    assert stored() == folder_bytes(here)
    assert not list(tmp_path.rglob(".draft-*"))
    there = open_corpus(URL)
    assert there.manifest == manifest
    assert rows_of(there) == rows_of(open_corpus(here))
    assert there.fingerprint == open_corpus(here).fingerprint
    assert there.files("train")[0] == f"{URL}/train-00000-of-00002.parquet"


def test_a_reader_never_sees_half_a_corpus(
    store: type[Store], source: Path, running: Running, monkeypatch: pytest.MonkeyPatch
):
    def look(name: str) -> None:
        with pytest.raises(ArtifactError, match=r"has no manifest.json, so it is no finished corpus"):
            open_corpus(URL)
        assert MARKER in stored()

    monkeypatch.setattr(Store, "before_put", staticmethod(look))
    build_corpus([source], URL, CONFIG, Silent(), running)
    assert store.puts[-1] == "manifest.json"
    assert len(store.puts) == len(stored()) > 5
    assert MARKER not in stored()


@pytest.mark.parametrize("last", ["README.md", "dropped.parquet", "train-00004", "manifest.json"])
def test_a_put_that_was_stopped_is_made_anew_whatever_it_left(
    store: type[Store], source: Path, here: Path, running: Running, monkeypatch: pytest.MonkeyPatch, last: str
):
    """The second build has other settings, so other files: nothing of the first may stay."""

    def stop(name: str) -> None:
        if name.startswith(last):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Store, "before_put", staticmethod(stop))
        with pytest.raises(KeyboardInterrupt):
            build_corpus(
                [source], URL, CorpusConfig(shares=CONFIG.shares, passages_per_file=3), Silent(), running
            )
    assert MARKER in stored()
    assert "manifest.json" not in stored()
    build_corpus([source], URL, CONFIG, Silent(), running)
    assert stored() == folder_bytes(here)


def test_a_store_that_fails_is_one_line(
    store: type[Store],
    source: Path,
    running: Running,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    command = ["corpus", "build", str(source), "--out", URL, "--work", str(running.work), "--quiet"]

    def fail(error: Exception) -> str:
        def raising(name: str) -> None:
            raise error

        monkeypatch.setattr(Store, "before_put", staticmethod(raising))
        return refused(*command, capsys=capsys)

    assert "memory://bucket/deep/corpus may not be written; check your credentials" in fail(PermissionError())
    line = fail(TimeoutError("timed out at https://me:secret@host/x?sig=secret"))
    assert "cannot be written: timed out at https://host/x; check the address and the connection" in line


def test_what_lies_there_already_is_left_alone(
    store: type[Store], source: Path, here: Path, running: Running, tmp_path: Path
):
    build_corpus([source], URL, CONFIG, Silent(), running)
    before, count = stored(), len(store.puts)
    build_corpus([source], f"{URL}/", CONFIG, Silent(), running)
    with pytest.raises(ArtifactError, match=rf"^{URL} holds a corpus built with other settings; choose"):
        build_corpus([source], URL, CorpusConfig(min_chars=91), Silent(), running)
    with pytest.raises(ArtifactError, match=rf"^{URL} already holds a finished corpus; choose another --out"):
        update_corpus(here, [source], URL, Silent(), running)
    assert (stored(), len(store.puts)) == (before, count)
    files = fsspec.filesystem("memory")
    files.rm_file(f"{URL}/report.json")
    with pytest.raises(ArtifactError, match=rf"{URL}/report.json is missing .*, after removing {URL}"):
        build_corpus([source], URL, CONFIG, Silent(), running)
    files.pipe_file("memory://bucket/thesis/chapter1.txt", b"years of work")
    with pytest.raises(ArtifactError, match=r"^memory://bucket/thesis holds other files; choose another"):
        build_corpus([source], "memory://bucket/thesis", CONFIG, Silent(), running)
    with pytest.raises(ArtifactError, match=r"chapter1.txt is a file; choose another --out"):
        build_corpus([source], "memory://bucket/thesis/chapter1.txt", CONFIG, Silent(), running)
    with pytest.raises(ArtifactError, match=r"^memory://bucket holds other files; choose another --out"):
        build_corpus([source], "memory://bucket", CONFIG, Silent(), running)
    files.pipe_file(f"memory://bucket/thesis/{MARKER}", b'{"writer": "1", "files": ["train.parquet"]}')
    with pytest.raises(ArtifactError, match=r"^memory://bucket/thesis holds other files"):
        build_corpus([source], "memory://bucket/thesis", CONFIG, Silent(), running)
    assert set(stored("memory://bucket/thesis")) == {"chapter1.txt", MARKER}


@pytest.mark.parametrize("finished", [True, False])
def test_of_two_writers_one_gives_up(
    store: type[Store], source: Path, running: Running, monkeypatch: pytest.MonkeyPatch, finished: bool
):
    def other_begins(name: str) -> None:
        files = fsspec.filesystem("memory")
        files.pipe_file(f"{URL}/{MARKER}", b'{"writer": "other", "files": []}')
        if finished:
            files.rm_file(f"{URL}/{MARKER}")

    monkeypatch.setattr(Store, "before_put", staticmethod(other_begins))
    with pytest.raises(ArtifactError, match=rf"another biolm process is writing {URL}; wait for it or stop"):
        build_corpus([source], URL, CONFIG, Silent(), running)
    assert len(store.puts) == 1
    assert "manifest.json" not in stored()


def test_another_writer_that_finished_first_is_not_overwritten(
    store: type[Store], source: Path, here: Path, running: Running, monkeypatch: pytest.MonkeyPatch
):
    from biolm.corpus import build

    def slow(*arguments: Any) -> Any:
        fsspec.filesystem("memory").pipe_file(f"{URL}/manifest.json", (here / "manifest.json").read_bytes())
        return render(*arguments)

    render = build.render_card
    monkeypatch.setattr(build, "render_card", slow)
    with pytest.raises(ArtifactError, match="already holds a finished corpus"):
        build_corpus([source], URL, CONFIG, Silent(), running)
    assert set(stored()) == {"manifest.json"}


def test_a_corpus_in_a_store_is_updated_shown_explained_and_compared(
    store: type[Store], source: Path, here: Path, running: Running, tmp_path: Path
):
    build_corpus([source], URL, CONFIG, Silent(), running)
    new = write_pubmed(tmp_path / "pubmed20n0002.xml", range(90, 131))
    update_corpus(here, [new], tmp_path / "new", Silent(), running)
    update_corpus(URL, [new], f"{URL}-2", Silent(), running)
    assert stored(f"{URL}-2") == folder_bytes(tmp_path / "new")
    updated = open_corpus(f"{URL}-2")
    assert [row["outcome"] for row in explain(updated, "95")] == ["kept", "older_version"]
    assert corpus_diff(open_corpus(URL), updated) == corpus_diff(
        open_corpus(here), open_corpus(tmp_path / "new")
    )
    facts, others = corpus_facts(updated), corpus_facts(open_corpus(tmp_path / "new"))
    assert facts.pop("folder") == f"{URL}-2"
    assert others.pop("folder") == str(tmp_path / "new")
    assert facts == others
    run = CliRunner().invoke
    for command in (["show", URL], ["show", URL, "--explain", "95"], ["diff", URL, f"{URL}-2"]):
        done = run(app, ["corpus", *command])
        assert done.exit_code == 0, done.output
    work = ["--work", str(running.work)]
    done = run(app, ["corpus", "update", URL, str(new), "--out", f"{URL}-3", *work])
    assert f"biolm corpus show {URL}-3" in done.stdout
    assert stored(f"{URL}-3") == stored(f"{URL}-2")


def test_an_address_inside_a_source_is_refused(store: type[Store], source: Path, running: Running):
    fsspec.filesystem("memory").pipe_file("memory://bucket/papers/a.xml", source.read_bytes())
    with pytest.raises(InputError, match=r"papers/corpus lies inside the source memory://bucket/papers/;"):
        build_corpus(["memory://bucket/papers/"], "memory://bucket/papers/corpus", CONFIG, Silent(), running)
    build_corpus(["memory://bucket/papers"], "memory://bucket/papers2", CONFIG, Silent(), running)


def test_a_corpus_in_a_store_is_tokenized_and_trained_on(
    store: type[Store],
    tiny_corpus: Path,
    tiny_roberta: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    from biolm.cli.tokenize import tokens_of
    from biolm.tokens.tokenizer import load_tokenizer

    monkeypatch.setenv("BIOLM_CACHE", str(tmp_path / "cache"))
    files = fsspec.filesystem("memory")
    for folder, url in ((tiny_corpus, URL), (tmp_path / "tokens", "memory://bucket/tokens")):
        if folder == tmp_path / "tokens":
            command = ["tokenize", URL, "--tokenizer", str(tiny_roberta), "--out", str(folder), "--quiet"]
            assert CliRunner().invoke(app, command).exit_code == 0
        for name, data in folder_bytes(folder).items():
            files.pipe_file(f"{url}/{name}", data)
    tokenizer = load_tokenizer(str(tiny_roberta))
    made = tokens_of(place_of(URL), tokenizer, Silent())
    assert folder_bytes(made.folder) == folder_bytes(tmp_path / "tokens")
    files.pipe_file(f"{URL}/train-00000-of-00001.parquet", b"half")
    line = refused("evaluate", str(tiny_roberta), URL, capsys=capsys)
    assert "train-00000-of-00001.parquet is missing or has another size than manifest.json says" in line
    line = refused("evaluate", str(tiny_roberta), "memory://bucket/tokens", capsys=capsys)
    assert "memory://bucket/tokens is a token store, which is mapped into memory; copy it here" in line
    line = refused(
        *("pretrain", "memory://bucket/none", "--base", str(tiny_roberta), "--out", str(tmp_path / "run")),
        capsys=capsys,
    )
    assert "memory://bucket/none has no manifest.json, so it is no finished corpus; make it with" in line


@pytest.mark.parametrize(
    "command",
    [
        ["tokenize", "C", "--tokenizer", "T", "--out", "s3://me:secret@bucket/tokens"],
        ["pretrain", "C", "--out", "s3://bucket/run"],
        ["evaluate", "M", "C", "--save-predictions", "s3://bucket/p.parquet"],
        ["demo", "--out", "s3://bucket/demo"],
        ["corpus", "build", "P", "--out", "C", "--hold-out", "s3://bucket/ids.txt"],
        ["corpus", "build", "P", "--out", "C", "--hold-out-text", "s3://bucket/texts.txt"],
    ],
)
def test_what_cannot_lie_elsewhere_is_refused(command: list[str], capsys: pytest.CaptureFixture[str]):
    line = refused(*command, capsys=capsys)
    assert re.search(
        r"Invalid value for '--[a-z-]+': s3://bucket/[a-z.]+ is an address, and this must be a path here; see",
        line,
    )


@pytest.mark.parametrize(
    ("out", "says"),
    [
        (
            "klingon://bucket/corpus",
            r"klingon://bucket/corpus.* cannot be (read|written): Protocol not known: klingon; check the address$",
        ),
        ("memory://", "memory:// names no folder; give for example s3://bucket/corpus"),
        ("data://text/corpus", "data://text/corpus"),
    ],
)
@pytest.mark.parametrize("command", [["build"], ["update", "OLD"]])
def test_an_address_that_cannot_be_written_is_one_line_before_any_paper_is_read(
    out: str, says: str, command: list[str], here: Path, source: Path, capsys: pytest.CaptureFixture[str]
):
    words = [str(here) if word == "OLD" else word for word in command]
    line = refused("corpus", *words, str(source), "--out", out, "--quiet", capsys=capsys)
    assert re.search(says, line)


def test_a_missing_driver_is_named(source: Path, monkeypatch: pytest.MonkeyPatch):
    def missing(url: str, **_: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", missing)
    with pytest.raises(InputError, match=r"Install s3fs to access S3; run `pip install 'biolm\[remote\]'`"):
        build_corpus([source], "s3://bucket/corpus", CONFIG, Silent())


def test_places_are_told_apart_and_spelled_without_secrets(tmp_path: Path):
    assert place_of(f"file://{tmp_path}/corpus") == tmp_path / "corpus"
    assert place_of("corpus") == Path("corpus")
    assert place_of("s3://bucket/corpus/") == "s3://bucket/corpus"
    assert below("s3://bucket/corpus", "a") == "s3://bucket/corpus/a"
    assert below("https://host/corpus?sig=1", "a") == "https://host/corpus/a?sig=1"
    assert below("simplecache::s3://bucket/corpus", "a") == "simplecache::s3://bucket/corpus/a"
    assert below("zip://corpus::s3://bucket/a.zip", "a") == "zip://corpus/a::s3://bucket/a.zip"
    assert below(Path("corpus"), "a") == Path("corpus/a")
    assert spelled("https://me:secret@host/corpus?sig=secret") == "https://host/corpus"
    assert last_name("s3://bucket/corpus") == "corpus"


def test_a_file_address_is_a_folder_here(source: Path, here: Path, running: Running, tmp_path: Path):
    build_corpus([source], f"file://{tmp_path}/there", CONFIG, Silent(), running)
    assert folder_bytes(tmp_path / "there") == folder_bytes(here)
    assert open_corpus(f"file://{tmp_path}/there").folder == tmp_path / "there"


class Breaking(LocalFileSystem):
    """Local files under another name, whose first so many reads break."""

    protocol = "breaks"
    cachable = False
    breaks = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("breaks://"))

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        file = super().open(path, mode)
        read = file.read

        class Connection:
            seek, close = file.seek, file.close

            def read(self, count: int) -> bytes:
                if path.endswith(".parquet") and Breaking.breaks:
                    Breaking.breaks -= 1
                    raise TimeoutError("timed out")
                return read(count)

        return Connection()


def test_a_broken_connection_is_taken_up_and_one_that_stays_broken_is_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch
):
    fsspec.register_implementation("breaks", Breaking, clobber=True)
    monkeypatch.setattr("biolm.sources.remote.BACKOFF_SECONDS", 0.0)
    there = open_corpus(f"breaks://{here}")
    monkeypatch.setattr(Breaking, "breaks", 3)
    assert rows_of(there) == rows_of(open_corpus(here))
    monkeypatch.setattr(Breaking, "breaks", 10**6)
    with pytest.raises(BiolmError, match=r"the connection broke .*; run the same command again, or remove"):
        rows_of(there)
    monkeypatch.setattr(Breaking, "breaks", 0)
    path = here / "train-00000-of-00002.parquet"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ArtifactError, match=r"is damaged or cannot be reached .* build it again with"):
        rows_of(there)


class Handler(SimpleHTTPRequestHandler):
    """A server that says nothing."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server(here: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp", reason="http needs fsspec[http]")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(here.parent))) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_corpus_on_a_server_is_read_but_not_written(
    server: str, here: Path, source: Path, running: Running, capsys: pytest.CaptureFixture[str]
):
    there = open_corpus(f"simplecache::{server}/here")
    assert rows_of(there) == rows_of(open_corpus(here))
    with pytest.raises(
        InputError, match=r"sends files only as a whole; put simplecache:: before the corpus's"
    ):
        rows_of(open_corpus(f"{server}/here"))
    command = ["corpus", "build", str(source), "--work", str(running.work), "--quiet", "--out"]
    line = refused(*command, f"{server}/there", capsys=capsys)
    assert f"{server}/there cannot be written: 501" in line
    (here / "manifest.json").write_text(json.dumps({"kind": "thing"}))
    with pytest.raises(ArtifactError, match=rf"^{server}/here is a thing, not a corpus; make it with"):
        open_corpus(f"{server}/here")
