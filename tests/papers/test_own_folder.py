"""A folder of one's own, here or at an address, as a source of a store: taken whole, kept current."""

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from replica import Replica, invented_article

from biolm.errors import ConfigError, InputError
from biolm.papers.fetch import fetch_papers, update_papers
from biolm.papers.own_folder import without_secrets
from biolm.papers.runs import Fetching, Outcome
from biolm.papers.selection import Selection
from biolm.papers.store import kept_path, open_store
from biolm.progress import Silent
from biolm.records import Article
from biolm.sources.shards import read_source


def fetch(out: Path, source: str | Path) -> Outcome:
    return fetch_papers(out, str(source), Selection(), Fetching(), Silent())


def update(store: Path) -> Outcome:
    return update_papers(store, Fetching(), Silent())


def index(store: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in open_store(store).index().to_pylist()}


def contents(store: Path) -> dict[str, bytes]:
    """Name → bytes of all papers and files of a store that are not withdrawn."""
    found = {}
    opened = open_store(store)
    for name, row in index(store).items():
        if row["state"] == "file":
            found[name] = kept_path(store, row["source"], name, row["md5"]).read_bytes()
        elif row["state"] != "withdrawn":
            ((_, found[name]),) = opened.column("xml", row["xml_shard"], [row["xml_row"]])
    return found


def pmcids(store: Path) -> set[str]:
    """Of all papers that a corpus would read and keep."""
    return {
        record.pmcid for record in read_source(store) if isinstance(record, Article) and not record.withdrawn
    }


def tarred(**members: bytes) -> bytes:
    """The same bytes for the same members: a gzip header holds the second it was written in, unless told."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(f"{name}.xml")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(data.getvalue(), mtime=0)


def zipped(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.xml", content)
    return data.getvalue()


PAPERS = {
    "a.xml": invented_article(1),
    "sub/b.nxml": invented_article(2),
    "sub/deep/c.xml.gz": gzip.compress(invented_article(3)),
    "d.NXML.GZ": gzip.compress(invented_article(4)),
    "e.tar.gz": tarred(one=invented_article(5), two=invented_article(6)),
    "sub/f.zip": zipped(one=invented_article(7)),
}
OTHERS = {"notes.txt": b"x", "sub/a.json": b"{}", "xml": b"", "a.xml.bak": b"<article/>"}


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "papers", PAPERS | OTHERS)
    return tmp_path / "papers"


@pytest.fixture
def memory() -> Iterator[Callable[[dict[str, bytes]], str]]:
    """Writes files into fsspec's memory; gives their address."""
    files = fsspec.filesystem("memory")

    def written(data: dict[str, bytes]) -> str:
        for name, content in data.items():
            files.pipe_file(f"/bucket/papers/{name}", content)
        return "memory://bucket/papers"

    yield written
    files.store.clear()
    files.pseudo_dirs[:] = [""]


def test_a_folder_is_taken_whole_and_read_as_it_is(folder: Path, tmp_path: Path):
    done = fetch(tmp_path / "store", folder)
    assert done.counts == {"new": len(PAPERS)}
    assert contents(tmp_path / "store") == PAPERS
    assert {name for name, row in index(tmp_path / "store").items() if row["state"] == "file"} == {
        "e.tar.gz",
        "sub/f.zip",
    }
    assert {row["source"] for row in index(tmp_path / "store").values()} == {"papers"}
    assert pmcids(tmp_path / "store") == {f"PMC{number}" for number in range(1, 8)}
    assert fetch(tmp_path / "store", folder).counts == {"unchanged": len(PAPERS)}


def test_addresses_are_taken_as_folders_are(folder: Path, memory, tmp_path: Path):
    address = memory(PAPERS | OTHERS)
    for name, source in (("file", f"file://{folder}"), ("memory", address), ("slash", f"{folder}/")):
        fetch(tmp_path / name, source)
        assert contents(tmp_path / name) == PAPERS, name
        assert list(open_store(tmp_path / name).sources) == ["papers"]


def test_the_web_is_taken_as_a_folder_is(replica: Replica, url: str, tmp_path: Path):
    pages = {name: data for name, data in PAPERS.items() if "/" not in name}
    for name, data in pages.items():
        replica.put_file(f"/own/{name}", data)
    done = fetch(tmp_path / "store", f"{url}/own")
    assert done.counts == {"new": len(pages)}
    assert contents(tmp_path / "store") == pages
    assert update(tmp_path / "store").counts == {"unchanged": len(pages)}
    replica.put_file("/own/a.xml", invented_article(11))
    replica.remove_file("/own/d.NXML.GZ")
    assert update(tmp_path / "store").counts == {"changed": 1, "unchanged": 1, "withdrawn": 1}
    assert contents(tmp_path / "store") == {
        "a.xml": invented_article(11),
        "e.tar.gz": PAPERS["e.tar.gz"],
    }


def test_a_page_cannot_name_a_place_outside_the_store(replica: Replica, url: str, tmp_path: Path):
    links = ("../../../x.tar", "sub/../../../../x.tar", "http://elsewhere/x.tar", "/etc/x.tar", "a.xml")
    page = "".join(f'<a href="{link}">x</a>\n' for link in links)
    replica._put("/own/", page.encode(), "text/html")
    for path in ("/own/a.xml", "/own/x.tar", "/x.tar", "/etc/x.tar"):
        replica._put(path, invented_article(1), "application/xml")
    fetch(tmp_path / "in" / "deep" / "store", f"{url}/own/")
    assert set(index(tmp_path / "in" / "deep" / "store")) == {"a.xml"}
    assert not list(tmp_path.rglob("*.tar"))


CLOUD = {
    "PMC1.1.xml": invented_article(1),
    "PMC1.1.json": json.dumps(
        {"pmcid": "PMC1", "version": 1, "license_code": "CC BY-NC", "is_retracted": True}
    ).encode(),
    "sub/PMC2.2.xml.gz": gzip.compress(invented_article(2, 2)),
    "metadata/PMC2.2.json": json.dumps(
        {"pmcid": "PMC2", "version": 2, "license_code": "TDM", "is_manuscript": True}
    ).encode(),
    "PMC3.1.nxml": invented_article(3),
    "PMC3.1.json": b"{no json",
    "PMC4.1.xml": invented_article(4),
}


def test_the_json_of_the_cloud_service_comes_along(tmp_path: Path):
    write(tmp_path / "copy", CLOUD)
    done = fetch(tmp_path / "store", tmp_path / "copy")
    found = index(tmp_path / "store")
    assert set(found) == {"PMC1.1.xml", "sub/PMC2.2.xml.gz", "PMC3.1.nxml", "PMC4.1.xml"}
    facts = {name: (row["licence"], row["manuscript"], row["retracted"]) for name, row in found.items()}
    assert facts["PMC1.1.xml"] == ("CC-BY-NC", False, True)
    assert facts["sub/PMC2.2.xml.gz"][1:] == (True, False)
    assert facts["PMC3.1.nxml"] == facts["PMC4.1.xml"] == (None, None, None)
    ((_, metadata),) = open_store(tmp_path / "store").column(
        "metadata", found["PMC1.1.xml"]["facts_shard"], [found["PMC1.1.xml"]["facts_row"]]
    )
    assert metadata.encode() == CLOUD["PMC1.1.json"]
    assert [(name, kind) for name, kind, _ in done.report.problems] == [("PMC3.1.nxml", "bad metadata")]
    papers = {
        record.pmcid: record for record in read_source(tmp_path / "store") if isinstance(record, Article)
    }
    assert papers["PMC1"].retracted
    assert papers["PMC2"].manuscript
    assert papers["PMC2"].version == 2


def test_new_metadata_are_taken_without_the_xml_again(tmp_path: Path):
    write(tmp_path / "copy", CLOUD)
    fetch(tmp_path / "store", tmp_path / "copy")
    changed = CLOUD["PMC1.1.json"].replace(b"CC BY-NC", b"CC BY")
    write(tmp_path / "copy", {"PMC1.1.json": changed})
    (tmp_path / "copy" / "PMC3.1.json").unlink()
    before = sum(path.stat().st_size for path in (tmp_path / "store" / "shards").iterdir())
    assert update(tmp_path / "store").counts == {"facts": 2, "unchanged": 2}
    assert index(tmp_path / "store")["PMC1.1.xml"]["licence"] == "CC-BY"
    assert contents(tmp_path / "store")["PMC1.1.xml"] == CLOUD["PMC1.1.xml"]
    (newest,) = [path for path in (tmp_path / "store" / "shards").iterdir() if path.stem.endswith("2")]
    import pyarrow.parquet as pq

    assert pq.read_table(newest, columns=["xml"])["xml"].null_count == 2
    assert before


def test_an_update_takes_what_is_new_or_changed_and_marks_what_is_gone(folder: Path, tmp_path: Path):
    fetch(tmp_path / "store", folder)
    write(folder, {"a.xml": invented_article(21), "e.tar.gz": tarred(one=invented_article(25))})
    write(folder, {"new/g.xml": invented_article(8)})
    (folder / "sub" / "b.nxml").unlink()
    (folder / "sub" / "f.zip").unlink()
    done = update(tmp_path / "store")
    assert done.counts == {"changed": 2, "new": 1, "withdrawn": 2, "unchanged": 2}
    assert contents(tmp_path / "store") == {
        "a.xml": invented_article(21),
        "e.tar.gz": tarred(one=invented_article(25)),
        "new/g.xml": invented_article(8),
        "sub/deep/c.xml.gz": PAPERS["sub/deep/c.xml.gz"],
        "d.NXML.GZ": PAPERS["d.NXML.GZ"],
    }
    assert index(tmp_path / "store")["sub/b.nxml"]["note"] == "no longer in the folder"
    assert pmcids(tmp_path / "store") == {f"PMC{number}" for number in (3, 4, 8, 21, 25)}
    assert update(tmp_path / "store").counts == {"unchanged": 5}
    write(folder, {"sub/b.nxml": PAPERS["sub/b.nxml"]})
    assert update(tmp_path / "store").counts == {"new": 1, "unchanged": 5}


def test_a_file_that_was_only_touched_is_not_kept_twice(folder: Path, tmp_path: Path):
    fetch(tmp_path / "store", folder)
    for path in folder.rglob("*"):
        os.utime(path, (1_000_000, 1_000_000))
    done = update(tmp_path / "store")
    assert "new" not in done.counts
    assert done.counts["facts"] == 4
    assert contents(tmp_path / "store") == PAPERS
    assert update(tmp_path / "store").counts == {"unchanged": len(PAPERS)}


def test_a_change_that_the_listing_does_not_tell_is_found(memory, tmp_path: Path):
    """fsspec's memory tells a size and nothing that says when a file was changed."""
    address = memory(PAPERS)
    fetch(tmp_path / "store", address)
    assert update(tmp_path / "store").counts == {"unchanged": len(PAPERS)}
    other = PAPERS["a.xml"].replace(b"protein", b"PROTEIN").replace(b"Results", b"RESULTS")
    assert len(other) == len(PAPERS["a.xml"]) and other != PAPERS["a.xml"]  # noqa: PT018
    memory({"a.xml": other})
    assert update(tmp_path / "store").counts == {"changed": 1, "unchanged": len(PAPERS) - 1}
    assert contents(tmp_path / "store")["a.xml"] == other


def test_a_link_to_a_file_that_changed_is_followed(folder: Path, tmp_path: Path):
    target = tmp_path / "elsewhere.xml"
    target.write_bytes(invented_article(30))
    (folder / "link.xml").symlink_to(target)
    (folder / "broken.xml").symlink_to(tmp_path / "nowhere.xml")
    os.mkfifo(folder / "pipe.xml")
    done = fetch(tmp_path / "store", folder)
    assert [(name, kind) for name, kind, _ in done.report.problems] == [("broken.xml", "gone")]
    other = invented_article(30).replace(b"Results", b"RESULTS")
    target.write_bytes(other)
    os.utime(target, (1_000_000, 1_000_000))
    assert update(tmp_path / "store").counts["changed"] == 1
    assert contents(tmp_path / "store") == PAPERS | {"link.xml": other}


def test_a_paper_that_grew_to_a_large_file_is_read_once(folder: Path, tmp_path: Path):
    fetch(tmp_path / "store", folder)
    large = invented_article(1).replace(b"<body>", b"<body>" + b" " * (16 << 20))
    write(folder, {"a.xml": large})
    assert update(tmp_path / "store").counts == {"changed": 1, "unchanged": len(PAPERS) - 1}
    assert index(tmp_path / "store")["a.xml"]["state"] == "file"
    read = [record.pmcid for record in read_source(tmp_path / "store") if isinstance(record, Article)]
    assert sorted(read) == sorted(f"PMC{number}" for number in range(1, 8))
    write(folder, {"a.xml": PAPERS["a.xml"]})
    update(tmp_path / "store")
    assert contents(tmp_path / "store") == PAPERS


def test_two_folders_of_one_name_do_not_share_a_store(folder: Path, tmp_path: Path):
    fetch(tmp_path / "store", folder)
    write(tmp_path / "other" / "papers", {"z.xml": invented_article(9)})
    with pytest.raises(ConfigError, match=r"another folder called papers .*a store of its own"):
        fetch(tmp_path / "store", tmp_path / "other" / "papers")
    write(tmp_path / "more", {"z.xml": invented_article(9)})
    fetch(tmp_path / "store", tmp_path / "more")
    assert set(open_store(tmp_path / "store").sources) == {"papers", "more"}
    assert {row["source"] for row in open_store(tmp_path / "store").index().to_pylist()} == {"papers", "more"}
    assert update(tmp_path / "store").counts == {"unchanged": len(PAPERS) + 1}


@pytest.mark.parametrize("name", ["pmc", "pubmed", "europepmc"])
def test_a_folder_with_the_name_of_a_service_is_refused(name: str, tmp_path: Path):
    write(tmp_path / name, {"a.xml": invented_article(1)})
    with pytest.raises(ConfigError, match="name of a service"):
        fetch(tmp_path / "store", tmp_path / name)
    assert not (tmp_path / "store").exists()


WEIRD = (
    "with space.xml",
    "Größe–日本.xml",
    "new\nline.xml",
    "ta\tb.xml",
    "quote'\".xml",
    "a#b?c=d&e%20f.xml",
    "-rf *.xml",
    " .xml",
    "\u202eright.xml",
    "sub dir\n/x.xml",
    "arch\nive.tar.gz",
)


def test_names_of_all_kinds_survive(tmp_path: Path):
    files = {name: invented_article(100 + place) for place, name in enumerate(WEIRD)}
    files["arch\nive.tar.gz"] = tarred(one=invented_article(200))
    write(tmp_path / "odd::#1? (ä)\n", files)
    fetch(tmp_path / "store", tmp_path / "odd::#1? (ä)\n")
    assert contents(tmp_path / "store") == files
    (source,) = open_store(tmp_path / "store").sources
    assert source == "odd___1______"
    assert len(pmcids(tmp_path / "store")) == len(files)
    assert update(tmp_path / "store").counts == {"unchanged": len(files)}


def test_a_name_that_is_no_text_is_named_and_the_others_are_taken(folder: Path, tmp_path: Path):
    (folder / os.fsdecode(b"\xff\xfe.xml")).write_bytes(invented_article(1))
    (folder / os.fsdecode(b"\xff.tar")).write_bytes(b"")
    done = fetch(tmp_path / "store", folder)
    assert sorted(done.report.problems) == [
        ("\\udcff.tar", "refused", "its name is no UTF-8"),
        ("\\udcff\\udcfe.xml", "refused", "its name is no UTF-8"),
    ]
    report = json.loads((tmp_path / "store" / "report.json").read_bytes())
    assert report["counts"] == {"refused": 2}
    assert contents(tmp_path / "store") == PAPERS


class Flaky(MemoryFileSystem):
    """Files in memory; what has "bad" in its name cannot be read, what has "shut" cannot be listed."""

    protocol = "flaky"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    shut = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.replace("flaky://", "memory://"))

    def cat_file(self, path: str, **options: Any) -> bytes:
        self.look(path)
        return super().cat_file(path, **options)

    def open(self, path: str, *arguments: Any, **options: Any) -> Any:
        self.look(path)
        return super().open(path, *arguments, **options)

    find = AbstractFileSystem.find  # by `walk`, as most file systems do

    def look(self, path: str) -> None:
        if "denied" in path:
            raise PermissionError(13, "Permission denied", path)
        if "bad" in path:
            raise RuntimeError("broken\npipe to https://me:secret@host/x")
        if "lost" in path:
            raise FileNotFoundError(path)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        if type(self).shut and "shut" in path:
            raise TimeoutError("no answer")
        return super().ls(path, detail, **options)

    def info(self, path: str, **options: Any) -> Any:
        if type(self).shut and "shut" in path:
            raise TimeoutError("no answer")
        return super().info(path, **options)


@pytest.fixture
def flaky() -> Iterator[Flaky]:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    files = fsspec.filesystem("flaky", skip_instance_cache=True)
    yield files
    Flaky.store.clear()
    Flaky.shut = False


def test_what_cannot_be_read_is_named_and_the_rest_is_taken(flaky: Flaky, tmp_path: Path):
    names = ("good.xml", "bad.xml", "bad.tar", "lost.xml", "lost.zip", "denied.xml", "denied.tar.gz")
    for name in names:
        flaky.store[f"/p/papers/{name}"] = _memory_file(flaky, f"/p/papers/{name}", invented_article(1))
    done = fetch(tmp_path / "store", "flaky://p/papers")
    assert {name: kind for name, kind, _ in done.report.problems} == {
        "bad.xml": "unanswered",
        "bad.tar": "unanswered",
        "lost.xml": "gone",
        "lost.zip": "gone",
        "denied.xml": "refused",
        "denied.tar.gz": "refused",
    }
    assert contents(tmp_path / "store") == {"good.xml": invented_article(1)}
    assert not open_store(tmp_path / "store").sources["papers"]["complete"]
    assert "secret" not in (tmp_path / "store" / "report.json").read_text()
    assert not list((tmp_path / "store" / "files").rglob("*.partial"))


def _memory_file(files: Flaky, path: str, data: bytes) -> Any:
    return MemoryFile(files, path, data)


def test_what_is_not_listed_and_not_certainly_gone_is_not_withdrawn(flaky: Flaky, tmp_path: Path):
    for name in ("a.xml", "shut/b.xml", "c.xml"):
        flaky.store[f"/p/papers/{name}"] = _memory_file(flaky, f"/p/papers/{name}", invented_article(1))
    fetch(tmp_path / "store", "flaky://p/papers")
    Flaky.shut = True
    del flaky.store["/p/papers/c.xml"]
    done = update(tmp_path / "store")
    assert done.counts == {"unchanged": 1, "withdrawn": 1}
    assert [(name, kind) for name, kind, _ in done.report.problems] == [("shut/b.xml", "unanswered")]
    assert {name: row["state"] for name, row in index(tmp_path / "store").items()} == {
        "a.xml": "article",
        "shut/b.xml": "article",
        "c.xml": "withdrawn",
    }


def test_a_folder_that_may_not_be_looked_into_is_named(folder: Path, tmp_path: Path):
    """As somebody who is not root: root may look into everything."""
    fetch(tmp_path / "store", folder)
    code = (
        "import os, sys\n"
        "from biolm.papers.own_folder import OwnFolder\n"
        "own = OwnFolder(sys.argv[1])\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "print(sorted(own.listed())); print(own.unread)"
    )
    for path in (tmp_path, *tmp_path.parents[:3]):
        if path.owner() == folder.owner() and path != Path("/tmp"):  # noqa: S108
            path.chmod(0o755)
    (folder / "sub").chmod(0)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False, cwd="/"
        )
    finally:
        (folder / "sub").chmod(0o755)
    assert not done.stderr
    listed, unread = done.stdout.splitlines()
    assert "a.xml" in listed
    assert "sub/" not in listed
    assert unread.startswith("[('sub', 'refused', ")


@pytest.mark.parametrize("make", [dict, lambda: OTHERS], ids=["empty", "others"])
def test_a_folder_without_papers_is_an_error_and_makes_nothing(make, tmp_path: Path):
    (tmp_path / "papers").mkdir()
    write(tmp_path / "papers", make())
    for source in (
        tmp_path / "papers",
        f"file://{tmp_path}/papers",
        f"file://{tmp_path}/none",
        "memory://none",
    ):
        with pytest.raises(InputError, match="holds no file ending in"):
            fetch(tmp_path / "store", source)
    assert not (tmp_path / "store").exists()


def test_the_address_of_a_file_is_no_folder(folder: Path, memory, tmp_path: Path):
    for source in (f"file://{folder}/a.xml", f"{memory(PAPERS)}/a.xml"):
        with pytest.raises(InputError, match="holds no file ending in"):
            fetch(tmp_path / "store", source)
    assert not (tmp_path / "store").exists()


def test_a_folder_that_vanished_withdraws_nothing(folder: Path, tmp_path: Path):
    fetch(tmp_path / "store", folder)
    folder.rename(tmp_path / "moved")
    with pytest.raises(InputError, match="holds no file"):
        update(tmp_path / "store")
    assert "withdrawn" not in {row["state"] for row in index(tmp_path / "store").values()}


def test_a_path_that_is_no_folder_is_an_error_and_makes_nothing(folder: Path, tmp_path: Path):
    for source in ("nonexistent", folder / "a.xml", "nosuch://x/y"):
        with pytest.raises(InputError):
            fetch(tmp_path / "store", source)
    assert not (tmp_path / "store").exists()


def test_folders_here_are_called_by_their_names_from_anywhere(folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(folder / "sub")
    fetch(tmp_path / "store", "..")
    assert open_store(tmp_path / "store").sources["papers"]["address"] == str(folder)
    assert fetch(tmp_path / "store", folder).counts == {"unchanged": len(PAPERS)}
    fetch(tmp_path / "store", "deep")
    assert open_store(tmp_path / "store").sources["deep"]["address"] == str(folder / "sub" / "deep")


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("https://me:secret@host/p?sig=secret#secret", "https://host/p"),
        ("https://me:se@cret@host/p", "https://host/p"),
        ("zip://x::https://me:secret@host/p.zip", "zip://x::https://host/p.zip"),
        ("failed at https://host/p?sig=secret again", "failed at https://host/p again"),
        ("s3://bucket/a@b#1", "s3://bucket/a@b#1"),
        ("/data/a@b:c?d#e", "/data/a@b:c?d#e"),
    ],
)
def test_an_address_is_kept_without_its_secrets(address: str, kept: str):
    assert without_secrets(address) == kept


def test_a_password_stands_neither_in_the_store_nor_in_a_message(replica: Replica, url: str, tmp_path: Path):
    replica.put_file("/own/a.xml", invented_article(1))
    secret = url.replace("http://", "http://me:hunter2@")
    fetch(tmp_path / "store", f"{secret}/own")
    for path in (tmp_path / "store").rglob("*"):
        assert path.is_dir() or b"hunter2" not in path.read_bytes(), path
    assert open_store(tmp_path / "store").sources["own"]["address"] == f"{url}/own"
    for source in (f"{secret}/none", "http://me:hunter2@127.0.0.1:9/x", "http://me:hunter2@127.0.0.1:9/pmc"):
        with pytest.raises((InputError, ConfigError)) as raised:
            fetch(tmp_path / "other", source)
        assert "hunter2" not in str(raised.value)
        assert "\n" not in str(raised.value)
