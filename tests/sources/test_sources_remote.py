"""Sources in stores and on servers: in memory, on a local server, and in stores that fail."""

import gzip
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from jats_papers import jats, pubmed, pubmed_set
from test_sources_read import tar_of, zip_of

from biolm.errors import InputError
from biolm.records import Article, Unreadable
from biolm.sources import read_source
from biolm.sources.remote import _access, name_of, shown
from biolm.sources.shards import identity, plan_shards

PAPER = jats('<article-id pub-id-type="pmc">1</article-id><abstract><p>One.</p></abstract>')
PUBMED = pubmed_set(
    *(pubmed(f"<ArticleTitle>{n} {'x' * 400}</ArticleTitle>", pmid=str(n)) for n in range(1, 3000))
)


def read(url: str) -> list[str]:
    return [one.source if isinstance(one, Article) else f"[{one.source}]" for one in read_source(url)]


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    files = MemoryFileSystem()
    files.store.clear()
    yield files
    files.store.clear()


def test_a_store_is_read_as_a_folder_is(memory: MemoryFileSystem, tmp_path: Path):
    members = {
        "PMC1.1/PMC1.1.xml": PAPER,
        "PMC1.1/PMC1.1.json": b'{"pmcid": "PMC1", "license_code": "CC BY"}',
        "b.xml.gz": gzip.compress(PAPER),
        "notes.txt": b"no",
        "pack.tar.gz": gzip.compress(tar_of({"x.xml": PAPER})),
        "pack.zip": zip_of(tmp_path / "x.zip", {"x.xml": PAPER}).read_bytes(),
        "PMC2.1.xml": PAPER,
        "metadata/PMC2.1.json": b'{"pmcid": "PMC1", "pmid": 9}',
    }
    for name, data in members.items():
        memory.pipe(f"/bucket/papers/{name}", data)
        (tmp_path / "papers" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "papers" / name).write_bytes(data)
    found = list(read_source("memory://bucket/papers/"))
    assert found == list(read_source(tmp_path / "papers"))
    assert len(found) == 5
    assert read("memory://bucket/papers/b.xml.gz") == ["b.xml.gz"]
    (alone,) = read_source("memory://bucket/papers/PMC1.1/PMC1.1.xml")
    assert isinstance(alone, Article)
    assert alone.licence == "CC-BY"


def test_a_store_tells_a_change_without_sending_the_file(
    memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
):
    memory.pipe("/bucket/a.xml", PAPER)
    with monkeypatch.context() as patched:
        patched.setattr(MemoryFileSystem, "_open", None)
        (before,) = plan_shards("memory://bucket", "bucket")
        known = identity(before)
        assert [identity(shard) for shard in plan_shards("memory://bucket", "bucket")] == [known]
    memory.pipe("/bucket/a.xml", PAPER + b" ")
    assert [identity(shard) for shard in plan_shards("memory://bucket", "bucket")] != [known]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://bucket/gone.xml", "does not exist; check the address"),
        ("memory://bucket/empty", "holds no file ending in .xml"),
        ("klingon://bucket/a.xml", "Protocol not known: klingon; check the address"),
        ("memory://bucket/bad.xml", "not XML"),
    ],
)
def test_what_cannot_be_read_gets_one_line(memory: MemoryFileSystem, url: str, says: str):
    memory.pipe("/bucket/empty/a.txt", b"no")
    memory.pipe("/bucket/bad.xml", b"no")
    with pytest.raises(InputError) as caught:
        list(read_source(url))
    assert str(caught.value).startswith(f"{url}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch):
    def missing(url: str, **_: Any) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "url_to_fs", missing)
    with pytest.raises(InputError, match=r"Install s3fs to access S3; run `pip install 'biolm\[remote\]'`"):
        list(read_source("s3://bucket/papers"))


def test_secrets_in_addresses_are_never_shown():
    url = "https://me:secret@host/papers/bulk.tar.gz?X-Signature=secret"
    assert name_of(url) == "bulk.tar.gz"
    assert shown(url) == "https://host/papers/bulk.tar.gz"
    assert shown(f"403, message='Forbidden', url='{url}'") == (
        "403, message='Forbidden', url='https://host/papers/bulk.tar.gz'"
    )


class Breaking(LocalFileSystem):
    """Local files under another name, whose connections break where a test says."""

    protocol = "breaking"
    breaks: list[int]
    """Bytes after which each connection breaks, in turn."""
    cachable = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("breaking://"))

    def open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        file = super().open(path, mode)
        return _Connection(file, type(self).breaks.pop(0)) if type(self).breaks else file


class _Connection:
    def __init__(self, file: Any, left: int) -> None:
        self.file, self.left, self.seek, self.close = file, left, file.seek, file.close

    def read(self, count: int) -> bytes:
        if not self.left:
            raise TimeoutError("timed out at https://me:secret@host/x")
        data: bytes = self.file.read(min(count, self.left))
        self.left -= len(data)
        return data


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> type[Breaking]:
    fsspec.register_implementation("breaking", Breaking, clobber=True)
    monkeypatch.setattr("biolm.sources.remote.BACKOFF_SECONDS", 0.0)
    Breaking.breaks = []
    return Breaking


@pytest.mark.parametrize("packed", [True, False])
def test_a_broken_connection_gives_no_record_twice_and_loses_none(
    breaking: type[Breaking], tmp_path: Path, packed: bool
):
    path = tmp_path / "p.xml"
    path.write_bytes(gzip.compress(PUBMED, mtime=0) if packed else PUBMED)
    whole = list(read_source(path))
    size = path.stat().st_size
    breaking.breaks = [size // 3, 0, size // 2, 0, 0]
    assert list(read_source(f"breaking://{path}")) == whole
    assert not breaking.breaks
    assert len(whole) == 2999


def test_a_connection_that_stays_broken_is_an_error_in_one_line(breaking: type[Breaking], tmp_path: Path):
    (tmp_path / "papers").mkdir()
    path = tmp_path / "papers/p.xml"
    path.write_bytes(PUBMED)
    breaking.breaks = [700_000, 0, 0, 0]
    with pytest.raises(InputError, match="3 times again") as caught:
        list(read_source(f"breaking://{path}"))
    assert "secret" not in str(caught.value)
    breaking.breaks = [700_000, 0, 0, 0]
    *some, last = read_source(f"breaking://{path.parent}")
    assert some
    assert isinstance(last, Unreadable)
    assert last.source == "papers/p.xml"


class NoCredentialsError(Exception):
    """As botocore calls it."""


class Bucket(LocalFileSystem):
    protocol = "bucket"
    cachable = False

    def __init__(self, anon: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.anon = anon

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("bucket://"))

    def info(self, path: str, **options: Any) -> Any:
        if not self.anon:
            raise NoCredentialsError("Unable to locate credentials")
        if path.endswith("secret"):
            raise PermissionError("Access Denied")
        return super().info(path, **options)


def test_an_open_bucket_needs_no_credentials(tmp_path: Path):
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    _access.cache_clear()
    (tmp_path / "a.xml").write_bytes(PAPER)
    assert read(f"bucket://{tmp_path}/a.xml") == ["a.xml"]
    with pytest.raises(InputError, match="may not be read; check your credentials"):
        read(f"bucket://{tmp_path}/secret")


class Handler(SimpleHTTPRequestHandler):
    """Whole files, as a plain server sends them; the first `cuts` of them only by half."""

    cuts = 0

    def copyfile(self, source: Any, outputfile: Any) -> None:
        data = source.read()
        if type(self).cuts:
            type(self).cuts -= 1
            data = data[: len(data) // 2]
            self.close_connection = True
        outputfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp", reason="http needs fsspec[http]")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_file_is_streamed_from_a_server(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "p.xml.gz").write_bytes(gzip.compress(PUBMED))
    (tmp_path / "p.xml").write_bytes(PUBMED)
    assert len(read(f"{server}/p.xml.gz")) == 2999
    monkeypatch.setattr("biolm.sources.remote.BACKOFF_SECONDS", 0.0)
    monkeypatch.setattr(Handler, "cuts", 2)
    assert len(read(f"{server}/p.xml")) == 2999
    assert Handler.cuts == 0
    with pytest.raises(InputError, match=r"gone\.xml: does not exist; check the address"):
        read(f"{server}/gone.xml")
    zip_of(tmp_path / "a.zip", {"a.xml": PAPER})
    with pytest.raises(InputError, match="sends only as a whole; download it first"):
        read(f"{server}/a.zip")
