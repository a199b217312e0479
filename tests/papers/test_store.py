"""A paper store on disk: the spool, the shards, the index over them, and the one process that writes."""

import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from biolm.errors import ArtifactError, InputError
from biolm.papers import writer as writer_module
from biolm.papers.shard import write_shard
from biolm.papers.spool import Spool, whole_batches
from biolm.papers.store import (
    FACTS,
    INDEX,
    PLACES,
    ROWS,
    attributions,
    kept_path,
    open_store,
    placed,
    read_index,
    resolved,
    rows_of,
    shard_facts,
    shard_numbers,
    shard_path,
    write_index,
)
from biolm.papers.verify import verify_store
from biolm.papers.writer import StoreWriter, is_whole, seal
from biolm.progress import Silent

FROZEN = Path(__file__).parent / "store-v1"
WHEN = datetime(2026, 11, 25, 1, tzinfo=UTC)
EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def paper(number: int, state: str = "article", version: int = 1, **more: Any) -> dict[str, Any]:
    """A row as `StoreWriter.add` takes it; `version` is that of its XML."""
    xml = f"<article>Paper {number}, as of {version}. {'word ' * (number % 7 * 20)}</article>".encode()
    row = {
        "source": "pmc",
        "id": f"PMC{number}.1",
        "state": state,
        "md5": md5(xml),
        "etag": f"{number}-{version}",
        "modified": WHEN,
        "licence": "CC-BY",
        "manuscript": False,
        "retracted": False,
        "metadata": json.dumps({"pmcid": f"PMC{number}", "version": 1}),
    }
    if state == "article":
        row |= {"xml": xml, "bytes": len(xml), "url": f"https://x/{number}", "year": 2000 + number}
        row |= {"journal": f"Journal {number % 3}", "type": "research-article"}
    return row | more


def batch_of(*rows: dict[str, Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema=ROWS)


def tuples(*rows: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [tuple(row.get(name) for name in ROWS.names) for row in rows]


def write(store: Path, *rows: dict[str, Any], **options: Any) -> None:
    with StoreWriter(store, **options) as writer:
        for row in rows:
            writer.add(**row)


def log(store: Path) -> list[dict[str, Any]]:
    """All rows of all shards, in their order."""
    return [
        row for number in shard_numbers(store) for row in pq.read_table(shard_path(store, number)).to_pylist()
    ]


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in an order of their own, without when they were fetched."""
    rows = [{name: value for name, value in row.items() if name != "fetched"} for row in rows]
    return sorted(rows, key=repr)


def names(index: pa.Table) -> list[str]:
    return index["id"].to_pylist()


# The spool


@pytest.fixture(scope="module")
def spooled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A spool of five batches, and where the file ended after each."""
    path = tmp_path_factory.mktemp("spool") / "000001.arrows"
    ends = []
    with Spool(path, ROWS, is_whole) as spool:
        for number in range(5):
            spool.append(tuples(paper(2 * number), paper(2 * number + 1)))
            ends.append(path.stat().st_size)
    return path, ends


@EXAMPLES
@given(st.data())
def test_a_spool_cut_at_any_byte_gives_its_whole_batches_and_no_more(spooled, tmp_path: Path, data):
    path, ends = spooled
    contents = path.read_bytes()
    near = st.sampled_from(ends).flatmap(
        lambda end: st.integers(max(0, end - 9), min(end + 9, len(contents)))
    )
    cut = data.draw(st.integers(0, len(contents)) | near)
    (tmp_path / "cut").write_bytes(contents[:cut])
    found = list(whole_batches(tmp_path / "cut", ROWS))
    assert found == list(whole_batches(path, ROWS))[: sum(end <= cut for end in ends)]


@EXAMPLES
@given(st.integers(0, 4), st.binary(min_size=1, max_size=300) | st.integers(1, 5000).map(bytes))
def test_garbage_in_the_tail_ends_what_is_taken_up(spooled, tmp_path: Path, whole: int, garbage: bytes):
    path, ends = spooled
    cut = ends[whole - 1] if whole else 0
    (tmp_path / "000001.arrows").write_bytes(path.read_bytes()[:cut] + garbage)
    with Spool(tmp_path / "000001.arrows", ROWS, is_whole) as spool:
        assert spool.rows == 2 * whole
        spool.append(tuples(paper(99)))
    found = pa.Table.from_batches(list(whole_batches(tmp_path / "000001.arrows", ROWS)))["id"].to_pylist()
    assert found == [f"PMC{number}.1" for number in [*range(2 * whole), 99]]


@pytest.mark.parametrize("damage", [b"\0" * 40, b"WORD"])
def test_xml_that_is_not_what_its_md5_says_ends_what_is_taken_up(spooled, tmp_path: Path, damage: bytes):
    path, _ = spooled
    contents = path.read_bytes()
    at = contents.index(b"Paper 6, as of") + 20
    (tmp_path / "000001.arrows").write_bytes(contents[:at] + damage + contents[at + len(damage) :])
    assert len(list(whole_batches(tmp_path / "000001.arrows", ROWS))) == 5  # Arrow sees nothing wrong
    with Spool(tmp_path / "000001.arrows", ROWS, is_whole) as spool:
        assert spool.rows == 6


def test_a_spool_is_taken_up_again_and_again(tmp_path: Path):
    path = tmp_path / "000007.arrows"
    for number in range(4):
        with Spool(path, ROWS, is_whole) as spool:
            assert spool.rows == number
            size = spool.bytes
            spool.append(tuples(paper(number)))
            assert spool.bytes > size
    with Spool(path, ROWS, is_whole) as spool:
        found = pa.Table.from_batches(list(whole_batches(path, ROWS)))
        assert spool.bytes == sum(batch.nbytes for batch in found.to_batches())
    assert found.to_pylist() == batch_of(*map(paper, range(4))).to_pylist()
    assert [path.name for path in tmp_path.iterdir()] == ["000007.arrows"]


def test_a_spool_of_other_columns_is_not_taken_up(tmp_path: Path):
    other = pa.schema([pa.field("id", pa.string())])
    with Spool(tmp_path / "1.arrows", other, lambda batch: True) as spool:
        spool.append([("PMC1.1",)])
    assert not list(whole_batches(tmp_path / "1.arrows", ROWS))
    assert not list(whole_batches(tmp_path / "none.arrows", ROWS))


# What is written


def test_rows_come_back_as_they_were_written(tmp_path: Path):
    rows = [
        paper(1),
        paper(2, xml=bytes(range(256)), md5=md5(bytes(range(256)))),
        paper(2, "facts", licence="CC0-1.0", retracted=True, note="žluťoučký"),
        {"source": "pubmed", "id": "a/b.xml.gz", "state": "file", "md5": "0" * 32, "bytes": 5},
    ]
    before = datetime.now(UTC).replace(microsecond=0)
    write(tmp_path / "store", *rows)
    found = log(tmp_path / "store")
    assert all(before <= row["fetched"] <= datetime.now(UTC) for row in found)
    assert without_time(found) == without_time([dict.fromkeys(ROWS.names) | row for row in rows])
    assert pq.read_schema(shard_path(tmp_path / "store", 1)).equals(ROWS)


def test_a_column_that_no_shard_has_is_refused(tmp_path: Path):
    with StoreWriter(tmp_path / "store") as writer, pytest.raises(AssertionError, match="license"):
        writer.add(**paper(1), license="CC0")


def test_shards_close_when_they_are_full_and_are_sorted_by_id(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 1)
    order = random.Random(5).sample(range(1, 1200), 60)
    write(tmp_path / "store", *map(paper, order), shard_bytes=5000)
    shards = [
        pq.read_table(shard_path(tmp_path / "store", number)) for number in shard_numbers(tmp_path / "store")
    ]
    assert len(shards) > 5
    found = [[int(name[3:-2]) for name in shard["id"].to_pylist()] for shard in shards]
    assert found == [sorted(numbers, key=lambda number: f"PMC{number}.1") for numbers in found]
    written = iter(order)
    for numbers in found:  # each holds what came while it was open
        assert {next(written) for _ in numbers} == set(numbers)
    assert next(written, None) is None
    assert not list((tmp_path / "store" / "spool").iterdir())


def test_row_groups_are_cut_by_xml_and_metadata_and_read_by_themselves(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(writer_module, "ROW_GROUP_BYTES", 1000)
    large = [paper(number, metadata="{" + " " * 400 + "}") for number in range(1, 30)]
    large += [paper(number, "facts", metadata="{" + " " * 400 + "}") for number in range(30, 60)]
    write(tmp_path / "store", *large)
    path = shard_path(tmp_path / "store", 1)
    with pq.ParquetFile(path) as file:
        groups = [file.read_row_group(group) for group in range(file.num_row_groups)]
    sizes = [
        sum(len(row["xml"] or b"") + len(row["metadata"]) for row in group.to_pylist()) for group in groups
    ]
    assert sum(group.num_rows for group in groups) == 59
    assert len(groups) > 20
    assert max(sizes) <= 1000 + max(len(row.get("xml", b"")) + 402 for row in large)
    rows = pa.concat_tables(groups).to_pylist()
    for wanted in ([0], [58], [3, 4, 40], list(range(59)), []):
        found = list(rows_of(path, ("id", "xml"), wanted))
        assert found == [(row, rows[row]["id"], rows[row]["xml"]) for row in wanted]


def test_an_article_larger_than_a_shard_is_a_shard(tmp_path: Path):
    xml = random.Random(1).randbytes(3 << 20)
    write(tmp_path / "store", paper(1), paper(2, xml=xml, md5=md5(xml)), paper(3), shard_bytes=1 << 20)
    assert {row["id"]: len(row["xml"]) for row in log(tmp_path / "store")}["PMC2.1"] == 3 << 20
    assert names(read_index(tmp_path / "store")) == ["PMC1.1", "PMC2.1", "PMC3.1"]


def test_what_is_known_is_what_was_added_wherever_it_lies(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(writer_module, "BATCH_BYTES", 1)
    monkeypatch.setattr(writer_module, "BATCH_SECONDS", 0)
    with StoreWriter(tmp_path / "store", shard_bytes=2000) as writer:
        assert not writer.known("pmc").num_rows
        for number in range(1, 80):
            writer.add(**paper(number))
            assert writer.known("pmc").num_rows == number  # shards are being sealed meanwhile
        writer.add(**paper(5, "withdrawn"))
        assert writer.known("pmc").filter(pa.compute.field("id") == "PMC5.1")["state"].to_pylist() == [
            "withdrawn"
        ]
        assert not writer.known("pubmed").num_rows
    assert len(shard_numbers(tmp_path / "store")) > 5


def test_a_store_of_nothing_is_a_store(tmp_path: Path):
    write(tmp_path / "store")
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [
        *("files", "index.parquet", "manifest.json", "shards", "spool")
    ]
    assert not open_store(tmp_path / "store").index().num_rows
    assert not log(tmp_path / "store")


# Who may write where


def test_a_second_writer_is_told_in_one_line(tmp_path: Path):
    with StoreWriter(tmp_path / "store") as writer:
        writer.add(**paper(1))
        with pytest.raises(ArtifactError, match="another biolm process is writing"):
            StoreWriter(tmp_path / "store")
        done = subprocess.run(
            [sys.executable, "-m", "biolm", "papers", "update", str(tmp_path / "store")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.splitlines() == [
            f"biolm: another biolm process is writing {tmp_path / 'store'}; wait for it or stop it"
        ]
        writer.add(**paper(2))
    assert names(read_index(tmp_path / "store")) == ["PMC1.1", "PMC2.1"]
    write(tmp_path / "store", paper(3))  # the lock went with its writer


@pytest.mark.parametrize("held", ["notes.txt", "manifest.json", "shards/000001.parquet"])
def test_a_folder_with_other_things_is_left_alone(tmp_path: Path, held: str):
    (tmp_path / "store" / held).parent.mkdir(parents=True)
    (tmp_path / "store" / held).write_text('{"kind": "corpus"}')
    with pytest.raises(ArtifactError, match="choose another --out"):
        StoreWriter(tmp_path / "store")
    assert [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()] == [Path(held).name]


def test_a_store_of_another_version_is_refused(tmp_path: Path):
    write(tmp_path / "store", paper(1))
    manifest = tmp_path / "store" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    before = manifest.read_bytes()
    for use in (StoreWriter, open_store):
        with pytest.raises(ArtifactError, match="paper store format 2, this biolm reads 1"):
            use(tmp_path / "store")
    assert manifest.read_bytes() == before
    manifest.write_text('{"kind": "paper store", "version": 1}')
    with pytest.raises(ArtifactError, match="names no sources"):
        open_store(tmp_path / "store")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        *(("pubmed", name) for name in ("../x", "/etc/x", "", "a/../../../x")),
        *((source, "x") for source in ("", "..", ".", "/etc", "../x")),
    ],
)
def test_no_file_is_placed_outside_a_store(tmp_path: Path, source: str, name: str):
    with pytest.raises(ArtifactError, match="outside the store"):
        kept_path(tmp_path, source, name, "0" * 32)


# What killed writers leave


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Shards 1 to 3, each of four papers."""
    for first in (1, 5, 9):
        write(tmp_path / "store", *map(paper, range(first, first + 4)))
    return tmp_path / "store"


def spool(store: Path, number: int, *rows: dict[str, Any]) -> Path:
    path = store / "spool" / f"{number:06d}.arrows"
    with Spool(path, ROWS, is_whole) as opened:
        for row in rows:
            opened.append(tuples(row))
    return path


def check_whole(store: Path, numbers: range) -> None:
    """The store has each paper once, and nothing that a killed writer left."""
    assert Counter(row["id"] for row in log(store)) == Counter(f"PMC{number}.1" for number in numbers)
    left = [path.name for path in store.rglob("*") if path.suffix in (".partial", ".arrows")]
    assert not left
    index = read_index(store)
    assert index.equals(resolved([shard_facts(shard_path(store, n), n) for n in shard_numbers(store)]))
    assert len(set(names(index))) == len(numbers)
    assert verify_store(open_store(store), Silent()) == []


def test_a_spool_whose_shard_is_there_is_not_taken_up_twice(store: Path):
    spool(store, 3, *map(paper, range(9, 13)))
    write(store)
    check_whole(store, range(1, 13))
    spool(store, 3, *map(paper, range(9, 13)))
    spool(store, 4, paper(13))
    write(store, paper(14))
    check_whole(store, range(1, 15))
    assert shard_numbers(store) == [1, 2, 3, 4]


def test_several_spools_become_shards_in_their_order(store: Path):
    spool(store, 4, paper(13), paper(14))
    spool(store, 5, paper(15), paper(16))
    spool(store, 6, paper(17))
    with StoreWriter(store) as writer:
        assert writer.known("pmc").num_rows == 17
        writer.add(**paper(18))
    check_whole(store, range(1, 19))
    assert [row["id"] for row in pq.read_table(shard_path(store, 6)).to_pylist()] == ["PMC17.1", "PMC18.1"]


def test_a_full_spool_that_was_damaged_by_a_loss_of_power_is_taken_up_to_the_damage(store: Path):
    path = spool(store, 4, *map(paper, range(13, 17)))
    spool(store, 5, paper(17))
    contents = path.read_bytes()
    path.write_bytes(contents.replace(b"Paper 15, as of", b"\0" * 15))
    write(store, paper(15), paper(16))
    check_whole(store, range(1, 18))


def test_a_full_spool_that_was_not_sealed_is_sealed_before_more_comes(store: Path):
    spool(store, 4, *map(paper, range(13, 30)))
    write(store, paper(30), shard_bytes=1000)
    check_whole(store, range(1, 31))
    assert len(shard_numbers(store)) >= 4


def test_a_spool_that_nothing_of_is_whole_is_no_shard(store: Path):
    spool(store, 4, paper(13)).write_bytes(b"\0" * 5000)
    write(store)
    check_whole(store, range(1, 13))
    assert shard_numbers(store) == [1, 2, 3]


def test_leftovers_are_cleared_and_missing_folders_made(store: Path):
    for name in (
        ".index.parquet.9.partial",
        "shards/.000004.parquet.9.partial",
        "spool/000004.arrows.partial",
    ):
        (store / name).write_bytes(b"half")
    write(store, paper(13))
    check_whole(store, range(1, 14))
    shutil.rmtree(store / "spool")
    (store / "files").rmdir()
    write(store, paper(14))
    check_whole(store, range(1, 15))


@pytest.mark.parametrize("left", ["missing", "stale", "cut", "text", "other columns", "no list"])
def test_an_index_that_does_not_cover_the_shards_is_made_again(store: Path, left: str):
    whole = read_index(store)
    index = store / INDEX
    if left == "missing":
        index.unlink()
    elif left == "stale":
        write_index(store, resolved([shard_facts(shard_path(store, 1), 1)]), [1])
    elif left == "cut":
        index.write_bytes(index.read_bytes()[:-20])
    elif left == "text":
        index.write_text("PAR1")
    elif left == "other columns":
        table = pq.read_table(index)
        pq.write_table(table.drop_columns(["xml_md5"]).replace_schema_metadata(table.schema.metadata), index)
    else:
        pq.write_table(pq.read_table(index).replace_schema_metadata(None), index)
    assert read_index(store).equals(whole)
    write(store, paper(13))
    check_whole(store, range(1, 14))


def test_a_shard_that_was_removed_takes_its_papers_along_and_they_can_come_again(store: Path):
    shard_path(store, 2).unlink()
    assert names(read_index(store)) == sorted(f"PMC{number}.1" for number in (1, 2, 3, 4, 9, 10, 11, 12))
    write(store, *map(paper, range(5, 9)))
    check_whole(store, range(1, 13))
    shard_path(store, 4).unlink()  # the last: its number is given again
    write(store, *(paper(number, journal="Another") for number in range(5, 9)))
    assert shard_numbers(store) == [1, 3, 4]
    check_whole(store, range(1, 13))


def test_a_new_store_into_which_nothing_came_is_unmade_and_a_folder_that_was_there_stays(tmp_path: Path):
    (tmp_path / "there").mkdir()
    for name in ("there", "new"):
        with pytest.raises(InputError), StoreWriter(tmp_path / name):
            raise InputError("nothing answers")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert not list((tmp_path / "there").iterdir())
    with pytest.raises(InputError), StoreWriter(tmp_path / "new") as writer:
        writer.add(**paper(1))
        raise InputError("nothing answers any more")
    check_whole(tmp_path / "new", range(1, 2))


def test_a_store_that_lost_its_manifest_is_taken_up_with_all_its_papers(store: Path):
    (store / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match="no finished paper store"):
        open_store(store)
    write(store, paper(20))
    check_whole(store, [*range(1, 13), 20])


def test_text_that_cannot_be_written_is_refused_and_harms_no_other_row(tmp_path: Path):
    with StoreWriter(tmp_path / "store") as writer:
        writer.add(**paper(1))
        with pytest.raises(ValueError, match="surrogates"):
            writer.add(**{**paper(2), "etag": "\udcff"})
        writer.add(**paper(3))
    check_whole(tmp_path / "store", [1, 3])


def test_rows_without_an_id_end_what_is_taken_up_after_a_loss_of_power(tmp_path: Path):
    with Spool(tmp_path / "spool.arrows", ROWS, is_whole) as spool:
        spool.append(tuples(paper(1, "withdrawn")))
        spool.append(tuples(paper(2, "withdrawn") | {"id": ""}))
        spool.append(tuples(paper(3, "withdrawn")))
    with Spool(tmp_path / "spool.arrows", ROWS, is_whole) as spool:
        assert spool.rows == 1


def test_facts_about_xml_whose_shard_was_removed_are_no_paper(store: Path):
    write(store, paper(6, "article", 2), paper(7, "withdrawn"))
    write(store, paper(6, "facts", 2, retracted=True), paper(1, "facts", retracted=True))
    shard_path(store, 4).unlink()
    found = {row["id"]: row for row in read_index(store).to_pylist()}
    assert "PMC6.1" not in found  # what is there is older than what is known of it
    assert found["PMC1.1"]["retracted"]
    assert (found["PMC1.1"]["facts_shard"], found["PMC1.1"]["xml_shard"]) == (5, 1)
    write(store, paper(6, "article", 2))
    assert "PMC6.1" in names(read_index(store))


def test_a_paper_that_grew_into_a_large_file_is_that_file(tmp_path: Path):
    write(tmp_path / "store", paper(1, source="mine", id="a.xml"))
    write(
        tmp_path / "store",
        {"source": "mine", "id": "a.xml", "state": "file", "md5": "f" * 32, "bytes": 20_000_000},
    )
    (row,) = read_index(tmp_path / "store").to_pylist()
    assert (row["state"], row["bytes"], row["xml_row"], row["xml_md5"]) == ("file", 20_000_000, -1, None)
    write(tmp_path / "store", paper(1, version=2, source="mine", id="a.xml"))
    (row,) = read_index(tmp_path / "store").to_pylist()
    assert (row["state"], row["xml_shard"]) == ("article", 3)


CRASHING = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_store import paper
from biolm.papers import writer
writer.BATCH_BYTES = 1
def work(folder, last):
    left = last
    def count(event, found):
        nonlocal left
        changes = event in ("os.mkdir", "os.rename", "os.remove", "os.truncate") or (
            event == "open" and isinstance(found[0], str) and found[0].startswith(folder) and found[2] & 3)
        if changes and left is not None:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    with writer.StoreWriter(writer.Path(folder), shard_bytes=1200) as opened:
        opened.write_manifest()
        for number in range(1, 7):
            opened.add(**paper(number))
for last in range(10_000):
    child = os.fork()
    if not child:
        work(sys.argv[1] + "/" + str(last), last)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        print(last)
        break
"""


def test_a_writer_killed_before_any_change_on_disk_loses_nothing_that_was_there(tmp_path: Path):
    """Whichever step on the disk is the last before the kill, the next writer ends with the same store."""
    code = CRASHING.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    steps = int(done.stdout)
    assert steps > 20
    expected = None
    for step in range(steps, -1, -1):
        folder = tmp_path / str(step)
        with StoreWriter(folder, shard_bytes=1200) as writer:
            held = names(writer.known("pmc"))
            assert sorted(held) == sorted(f"PMC{number}.1" for number in range(1, len(held) + 1))
            for number in range(len(held) + 1, 7):
                writer.add(**paper(number))
        check_whole(folder, range(1, 7))
        expected = expected or without_time(log(folder))
        assert without_time(log(folder)) == expected


# The index is what the log says


@st.composite
def logs(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What writers do: facts and withdrawals are of what is there, and come with the MD5 of its last XML."""
    rows: list[dict[str, Any]] = []
    last: dict[int, tuple[str, int]] = {}
    for place in range(draw(st.integers(0, 25))):
        number = draw(st.integers(1, 4))
        state, version = last.get(number, ("none", 0))
        possible = ["article", "file"]
        possible += ["facts", "withdrawn"] if state in ("article", "facts", "withdrawn") else []
        possible += ["withdrawn"] if state == "file" else []
        chosen = draw(st.sampled_from(possible))
        if chosen == "article":
            version = draw(st.integers(1, 3))
        rows.append(
            paper(number, chosen, version, etag=str(place), note=f"{place}")
            | ({"bytes": place, "md5": f"file {place}"} if chosen == "file" else {})
        )
        gone = chosen == "file" or (state in ("file", "file gone") and chosen == "withdrawn")
        last[number] = ("file gone" if gone and chosen == "withdrawn" else chosen, version)
    return rows


def model(rows: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """Id → the rows of its last facts and of its XML, −1 for none, as a plain dictionary says it."""
    found: dict[str, tuple[int, int]] = {}
    for place, row in enumerate(rows):
        xml = {"article": place, "file": -1}.get(row["state"], found.get(row["id"], (0, -1))[1])
        found[row["id"]] = (place, xml)
    return found


def tables_of(rows: list[dict[str, Any]], cuts: list[int]) -> Iterator[tuple[int, pa.Table]]:
    bounds = [0, *cuts, len(rows)]
    for number, (begin, end) in enumerate(pairwise(bounds), 1):
        yield begin, placed(pa.Table.from_pylist(rows[begin:end], schema=ROWS).select(FACTS), number)


@EXAMPLES
@given(logs(), st.data())
def test_any_log_in_any_shards_under_any_index_says_the_same(rows: list[dict[str, Any]], data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    shards = list(tables_of(rows, cuts))
    begins = {number: begin for number, (begin, _) in enumerate(shards, 1)}
    tables = [table for _, table in shards]
    whole = resolved(tables)
    for covered in range(len(tables) + 1):
        assert resolved([resolved(tables[:covered]), *tables[covered:]]).equals(whole)
    found = {}
    for row in whole.to_pylist():
        xml = begins[row["xml_shard"]] + row["xml_row"] if row["xml_row"] >= 0 else -1
        found[row["id"]] = (begins[row["facts_shard"]] + row["facts_row"], xml)
        said = rows[found[row["id"]][0]]
        assert {name: row[name] for name in ("state", "etag", "note", "md5")} == {
            name: said[name] for name in ("state", "etag", "note", "md5")
        }
        of_xml = rows[xml] if xml >= 0 else said
        assert row["bytes"] == of_xml.get("bytes")
        assert row["journal"] == (of_xml["journal"] if xml >= 0 else None)
        assert row["xml_md5"] == (of_xml["md5"] if xml >= 0 else None)
    assert found == model(rows)
    assert names(whole) == sorted(found)


@settings(EXAMPLES, max_examples=15)
@given(logs(), st.data())
def test_an_index_on_disk_equals_one_made_of_the_shards_alone(rows: list[dict[str, Any]], data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    bounds = sorted({0, *cuts, len(rows)})  # no shard is empty
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number, (begin, end) in enumerate(pairwise(bounds), 1):
            write_shard(shard_path(folder, number), [batch_of(*rows[begin:end])], 500)
        alone = read_index(folder)
        covered = data.draw(st.integers(0, len(bounds) - 1))
        numbers = list(range(1, covered + 1))
        write_index(folder, resolved([shard_facts(shard_path(folder, n), n) for n in numbers]), numbers)
        assert read_index(folder).equals(alone)
        for row in alone.to_pylist():
            if row["xml_row"] >= 0:
                ((_, name, said),) = rows_of(
                    shard_path(folder, row["xml_shard"]), ("id", "md5"), [row["xml_row"]]
                )
                assert (name, said) == (row["id"], row["xml_md5"])
        assert tuple(alone.schema.names) == (*FACTS, *PLACES)


# Damage


def test_a_wrong_bit_in_a_page_is_never_read(tmp_path: Path):
    path, damaged = tmp_path / "000001.parquet", tmp_path / "damaged.parquet"
    write_shard(path, [batch_of(*map(paper, range(1, 41)))], 2000)
    columns = ("id", "md5", "metadata", "xml")
    whole = list(rows_of(path, columns, range(40)))
    contents = path.read_bytes()
    pages = len(contents) - 8 - int.from_bytes(contents[-8:-4], "little")  # the rest is the footer
    noticed = []
    for at in range(4, pages, 13):
        damaged.write_bytes(contents[:at] + bytes([contents[at] ^ 1 << at % 8]) + contents[at + 1 :])
        try:
            assert list(rows_of(damaged, columns, range(40))) == whole  # it lay in another column
        except ArtifactError as error:
            noticed.append(str(error))
    assert len(noticed) > 100
    assert all(
        "remove it and run the same `biolm papers fetch`" in line and "\n" not in line for line in noticed
    )


def test_a_shard_that_is_cut_or_gone_is_one_line(store: Path):
    path = shard_path(store, 2)
    (store / INDEX).unlink()
    for contents in (path.read_bytes()[:-100], b"", b"PAR1"):
        path.write_bytes(contents)
        with pytest.raises(ArtifactError, match=r"000002.parquet cannot be read \(.*\); remove it and run"):
            read_index(store)
        with pytest.raises(ArtifactError, match=r"000002.parquet cannot be read"):
            list(rows_of(path, ("xml",), [0]))
    with pytest.raises(ArtifactError, match=r"000009.parquet cannot be read"):
        list(open_store(store).column("xml", 9, [0]))


def test_a_seal_of_nothing_makes_no_shard(tmp_path: Path):
    with Spool(tmp_path / "000001.arrows", ROWS, is_whole):
        pass
    seal(tmp_path / "000001.arrows", tmp_path / "000001.parquet")
    assert not list(tmp_path.glob("0*"))


# Stores that were made before


def test_a_store_of_version_1_is_read_forever(tmp_path: Path):
    """Three articles, one with later facts, one withdrawn, and a file, as biolm 0.1.0 fetched and updated them."""
    for folder in (FROZEN, shutil.copytree(FROZEN, tmp_path / "store", ignore=shutil.ignore_patterns(INDEX))):
        index = {row["id"]: row for row in open_store(folder).index().to_pylist()}
        assert {name: row["state"] for name, row in index.items()} == {
            "PMC1.1": "article",
            "PMC2.1": "facts",
            "PMC3.1": "withdrawn",
            "baseline/pubmed26n0001.xml.gz": "file",
        }
        assert index["PMC2.1"]["retracted"]
        assert index["PMC3.1"]["note"] == "no longer at the service"
        for name in ("PMC1.1", "PMC2.1", "PMC3.1"):
            row = index[name]
            ((_, xml),) = open_store(folder).column("xml", row["xml_shard"], [row["xml_row"]])
            assert md5(xml) == row["xml_md5"]
            assert xml.count(name.partition(".")[0].encode()) == 1
        assert verify_store(open_store(folder), Silent()) == []
        assert len(attributions(folder)) == 2
        assert "As of 2026-11-25" in attributions(folder)[0]


def test_a_store_of_version_1_is_written_to(tmp_path: Path):
    store = shutil.copytree(FROZEN, tmp_path / "store")
    before = {path.name: path.read_bytes() for path in (store / "shards").iterdir()}
    write(store, paper(3), paper(4))
    assert {name: (store / "shards" / name).read_bytes() for name in before} == before
    found = {row["id"]: row["state"] for row in read_index(store).to_pylist()}
    assert found["PMC3.1"] == found["PMC4.1"] == "article"
    assert (store / INDEX).is_file()
