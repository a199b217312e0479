"""What a store holds: counted, checked, and given out as plain files."""

import gzip
import hashlib
import json
import os
import shutil
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from replica import Replica, invented_article, serving

from biolm.corpus.build import CorpusConfig, build_corpus
from biolm.corpus.reader import open_corpus
from biolm.errors import ArtifactError, InputError
from biolm.licences import TEXT_MINING
from biolm.papers.answers import HttpConfig
from biolm.papers.contents import store_facts
from biolm.papers.export import export_papers, preferred
from biolm.papers.fetch import fetch_papers, update_papers
from biolm.papers.runs import Fetching
from biolm.papers.selection import Selection
from biolm.papers.store import kept_path, open_store
from biolm.papers.verify import verify_store
from biolm.progress import Silent
from biolm.records import Article
from biolm.sources.shards import read_source

FAST = HttpConfig(in_flight=32, backoff_seconds=0.01, backoff_most_seconds=0.05, silence_seconds=2)
CODES = ("CC BY", "CC BY-NC", "CC0", "TDM")


def services(url: str) -> Fetching:
    return Fetching(endpoints=(f"pmc={url}/{Replica.bucket}", f"pubmed={url}/pubmed"), http=FAST)


def made(folder: Path) -> Path:
    """A store of PMC, PubMed and a folder, fetched and updated: changed, withdrawn and retracted papers in it.

    PMC1 to PMC12 each in a version 1; PMC1 and PMC2 in a version 2 too, where that of PMC2 is a manuscript.
    """
    replica = Replica(keep_log=False)
    for number in range(1, 13):
        name = f"PMC{number}.1"
        replica.put_article(name, invented_article(number), license_code=CODES[number % 4])
    replica.put_article("PMC1.2", invented_article(1, 2))
    replica.put_article("PMC2.2", invented_article(2, 2), is_manuscript=True, license_code="TDM")
    replica.take_inventory("2026-11-25")
    for number in (1, 2):
        data = gzip.compress(b"<PubmedArticleSet></PubmedArticleSet>" + b"\n" * number)
        replica.put_file(f"/pubmed/baseline/pubmed26n{number:04d}.xml.gz", data)
        replica.put_file(f"/pubmed/updatefiles/pubmed26n{number + 2:04d}.xml.gz", data)
    own = folder / "mine"
    (own / "sub").mkdir(parents=True)
    for number in (101, 102, 103):
        (own / "sub" / f"{number}.v1.xml").write_bytes(invented_article(number))
    with tarfile.open(own / "more.tar", "w") as archive:
        archive.add(own / "sub" / "103.v1.xml", "104.xml")
    (own / "PMC105.1.nxml.gz").write_bytes(gzip.compress(invented_article(105)))
    (own / "PMC105.1.json").write_text('{"pmcid": "PMC105", "version": 1, "license_code": "CC BY-ND"}')
    store = folder / "store"
    with serving(replica) as url:
        fetch_papers(store, "pmc", Selection(), services(url), Silent(), everything=True)
        fetch_papers(store, "pubmed", Selection(), services(url), Silent(), everything=True)
        fetch_papers(store, str(own), Selection(), services(url), Silent())
        replica.change("PMC3.1", is_retracted=True)
        replica.change("PMC4.1", license_code="CC BY-SA")
        replica.put_article("PMC5.1", invented_article(5, seed=1), license_code="CC BY-NC")
        replica.remove_article("PMC6.1")
        replica.remove_file("/pubmed/baseline/pubmed26n0001.xml.gz")
        (own / "sub" / "102.v1.xml").unlink()
        replica.take_inventory("2026-11-26")
        update_papers(store, services(url), Silent())
    return store


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`made`, to look at only."""
    folder = tmp_path_factory.mktemp("contents")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BIOLM_CACHE", str(folder / "cache"))
        return made(folder)


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Path:
    """A copy of `made`, to damage."""
    return shutil.copytree(finished, tmp_path / "store")


def live(store: Path) -> dict[str, bytes]:
    """Source/id → XML of every paper that is not withdrawn."""
    found = {}
    opened = open_store(store)
    for row in opened.index().to_pylist():
        if row["state"] in ("article", "facts"):
            ((_, xml),) = opened.column("xml", row["xml_shard"], [row["xml_row"]])
            found[f"{row['source']}/{row['id']}"] = xml
    return found


def kept(store: Path, path: str) -> Path:
    """Where a file of a source (source/id) lies in a store."""
    source, _, name = path.partition("/")
    rows = open_store(store).index().to_pylist()
    (md5,) = (row["md5"] for row in rows if (row["source"], row["id"]) == (source, name))
    return kept_path(store, source, name, md5)


def export(store: Path, out: Path, *ids: str, every_version: bool = False) -> dict[str, bytes]:
    """Export papers; every file but the manifest with its contents."""
    export_papers(open_store(store), out, ids, every_version=every_version, progress=Silent())
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }


def xml_of(files: dict[str, bytes]) -> set[str]:
    return {name.rpartition("/")[2] for name in files if not name.endswith(".json")}


PMC = [f"PMC{number}.1" for number in range(1, 13) if number != 6] + ["PMC1.2", "PMC2.2"]
LICENCES = {
    "CC-BY": 3,
    "CC-BY-NC": 3,
    "CC0-1.0": 2,
    "CC-BY-SA": 1,
    "CC-BY-ND": 1,
    TEXT_MINING: 4,
    "unknown": 2,
}
MINE = ["sub/101.v1.xml", "sub/103.v1.xml", "PMC105.1.nxml.gz"]


def test_the_facts_add_up(finished: Path):
    facts = store_facts(open_store(finished))
    papers = live(finished)
    assert sorted(papers) == sorted([*(f"pmc/{name}" for name in PMC), *(f"mine/{name}" for name in MINE)])
    counted = {
        name: tuple(of[key] for key in ("papers", "withdrawn", "retracted", "manuscripts", "files"))
        for name, of in facts["sources"].items()
    }
    assert counted == {"pmc": (13, 1, 1, 1, 0), "pubmed": (0, 1, 0, 0, 3), "mine": (3, 1, 0, 0, 1)}
    assert facts["papers"] == len(papers) == sum(of["papers"] for of in facts["sources"].values())
    assert facts["articles"] == 11 + 3
    assert facts["xml_bytes"] == sum(map(len, papers.values()))
    for kind in ("licences", "years", "journals", "types"):
        assert sum(facts[kind].values()) == facts["papers"], kind
    assert facts["licences"] == LICENCES
    assert facts["journals"] == {"Journal of Replicas": 15, "unknown": 1}
    assert facts["types"] == {"research-article": 15, "unknown": 1}
    assert list(facts["years"]) == sorted(facts["years"])
    assert sum(facts["notes"].values()) == sum(of["withdrawn"] for of in facts["sources"].values())
    assert facts["notes"] == {"no longer at the service": 2, "no longer in the folder": 1}
    assert facts["disk_bytes"] == sum(path.stat().st_size for path in finished.rglob("*") if path.is_file())
    assert facts["shards"] == len(list((finished / "shards").glob("*.parquet")))
    assert facts["waiting_bytes"] == 0
    assert facts["sources"]["pmc"]["as_of"] == "2026-11-26"
    assert facts["sources"]["mine"]["address"] == str(finished.parent / "mine")
    assert len(facts["attribution"]) == 3


def test_an_empty_store_has_facts_too(tmp_path: Path):
    from biolm.papers.writer import StoreWriter

    with StoreWriter(tmp_path / "store"):
        pass
    facts = store_facts(open_store(tmp_path / "store"))
    assert (facts["papers"], facts["articles"], facts["xml_bytes"], facts["licences"]) == (0, 0, 0, {})
    assert verify_store(open_store(tmp_path / "store"), Silent()) == []


def test_nothing_is_damaged_at_first(finished: Path):
    assert verify_store(open_store(finished), Silent()) == []


def first_shard(store: Path) -> Path:
    return min((store / "shards").glob("*.parquet"))


def test_verify_finds_a_byte_that_flipped_in_the_xml_of_a_shard(store: Path):
    shard = first_shard(store)
    table = pq.read_table(shard)
    place = table["id"].to_pylist().index("PMC7.1")
    xml = table["xml"].to_pylist()
    xml[place] = (
        xml[place].replace(b"protein", b"protean", 1) if b"protein" in xml[place] else xml[place][:-1]
    )
    column = table.column_names.index("xml")
    pq.write_table(table.set_column(column, "xml", pa.array(xml, pa.binary())), shard)
    assert verify_store(open_store(store), Silent()) == [
        ("PMC7.1", f"another MD5 than the shard {shard.name} states")
    ]


@pytest.mark.parametrize("column", ["xml", "metadata", "url", "etag"])
def test_verify_finds_a_flipped_byte_in_any_column_of_a_shard(column: str, store: Path):
    shard = first_shard(store)
    data = bytearray(shard.read_bytes())
    group = pq.read_metadata(shard).row_group(0)
    columns = {group.column(place).path_in_schema: group.column(place) for place in range(group.num_columns)}
    data[columns[column].data_page_offset + columns[column].total_compressed_size // 2] ^= 0xFF
    shard.write_bytes(data)
    damage = verify_store(open_store(store), Silent())
    assert [name for name, _ in damage] == [f"shards/{shard.name}"]
    assert "\n" not in damage[0][1]


@pytest.mark.parametrize("left", [0, 5, 1000, -8])
def test_a_shard_that_was_cut_off_is_named_with_what_to_do(left: int, store: Path):
    shard = first_shard(store)
    shard.write_bytes(shard.read_bytes()[:left])
    with pytest.raises(ArtifactError, match=rf"{shard.name} cannot be read .*papers fetch"):
        verify_store(open_store(store), Silent())


def test_verify_finds_files_that_changed_or_are_missing(store: Path):
    changed = kept(store, "pubmed/updatefiles/pubmed26n0003.xml.gz")
    data = bytearray(changed.read_bytes())
    data[-1] ^= 1
    changed.write_bytes(data)
    kept(store, "pubmed/updatefiles/pubmed26n0004.xml.gz").unlink()
    kept(store, "pubmed/baseline/pubmed26n0001.xml.gz").unlink(missing_ok=True)  # withdrawn: nobody reads it
    assert sorted(verify_store(open_store(store), Silent())) == [
        ("updatefiles/pubmed26n0003.xml.gz", "another MD5 than the store states"),
        ("updatefiles/pubmed26n0004.xml.gz", "the file is missing"),
    ]


def test_export_gives_the_preferred_version_of_each_article_with_its_newest_metadata(
    finished: Path, tmp_path: Path
):
    files = export(finished, tmp_path / "out")
    papers = live(finished)
    versions = [name for name in PMC if name not in ("PMC1.1", "PMC2.2")]
    expected = {f"pmc/{name}/{name}.xml": papers[f"pmc/{name}"] for name in versions}
    expected |= {f"mine/{name}": papers[f"mine/{name}"] for name in MINE}
    for path in ("mine/more.tar", *(f"pubmed/{name}" for name in _pubmed(finished))):
        expected[path] = kept(finished, path).read_bytes()
    assert {name: data for name, data in files.items() if not name.endswith(".json")} == expected
    metadata = {name: json.loads(data) for name, data in files.items() if name.endswith(".json")}
    assert set(metadata) == {*(f"pmc/{name}/{name}.json" for name in versions), "mine/PMC105.1.json"}
    assert metadata["pmc/PMC3.1/PMC3.1.json"]["is_retracted"]
    assert metadata["pmc/PMC4.1/PMC4.1.json"]["license_code"] == "CC BY-SA"
    assert metadata["pmc/PMC5.1/PMC5.1.json"]["xml_url"].endswith(
        hashlib.md5(files["pmc/PMC5.1/PMC5.1.xml"]).hexdigest()  # noqa: S324
    )
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert (manifest["kind"], manifest["papers"], manifest["files_kept"]) == ("exported papers", 14, 4)
    assert manifest["attribution"] == store_facts(open_store(finished))["attribution"]


def _pubmed(store: Path) -> list[str]:
    rows = open_store(store).index().to_pylist()
    return [row["id"] for row in rows if row["source"] == "pubmed" and row["state"] == "file"]


def test_export_gives_every_version_when_asked(finished: Path, tmp_path: Path):
    files = export(finished, tmp_path / "out", every_version=True)
    names = {name.split("/")[1] for name in files if name.startswith("pmc/")}
    assert names == set(PMC)
    assert "PMC6.1" not in names  # withdrawn


@pytest.mark.parametrize(
    ("ids", "every_version", "names"),
    [
        (["PMC1"], False, {"PMC1.2.xml"}),
        (["PMC2"], False, {"PMC2.1.xml"}),
        (["PMC2"], True, {"PMC2.1.xml", "PMC2.2.xml"}),
        (["PMC2.2"], False, {"PMC2.2.xml"}),
        (["PMC1.1", "PMC1.2"], False, {"PMC1.1.xml", "PMC1.2.xml"}),
        (["PMC1.1", "PMC1"], False, {"PMC1.1.xml", "PMC1.2.xml"}),
        (["3", "pmc004", "PMC5.1"], False, {"PMC3.1.xml", "PMC4.1.xml", "PMC5.1.xml"}),
        (["sub/101.v1.xml", "PMC105"], False, {"101.v1.xml", "PMC105.1.nxml.gz"}),
    ],
)
def test_export_gives_what_is_named(
    ids: list[str], every_version: bool, names: set[str], finished: Path, tmp_path: Path
):
    assert xml_of(export(finished, tmp_path / "out", *ids, every_version=every_version)) == names


@pytest.mark.parametrize("missing", ["PMC1.3", "PMC999", "nonsense"])
def test_export_of_what_the_store_has_not_is_refused(missing: str, finished: Path, tmp_path: Path):
    with pytest.raises(InputError, match=rf"has no {missing.replace('.', '[.]')}; see"):
        export(finished, tmp_path / "out", "PMC1", missing)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("PMC6", "is withdrawn ('no longer at the service')"),
        ("PMC6.1", "is withdrawn ('no longer at the service')"),
        ("sub/102.v1.xml", "is withdrawn ('no longer in the folder')"),
        ("more.tar", "is a file of many papers"),
    ],
)
def test_export_of_what_is_withdrawn_says_why(name: str, why: str, finished: Path, tmp_path: Path):
    with pytest.raises(InputError) as refused:
        export(finished, tmp_path / "out", "PMC1", name, "PMC999")
    assert str(refused.value).startswith(f"{name} {why}")
    assert "has no PMC999; see" in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_export_into_a_folder_that_holds_something_is_refused(finished: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    with pytest.raises(ArtifactError, match="holds other files"):
        export(finished, tmp_path / "out")
    export(finished, tmp_path / "new", "PMC1")
    with pytest.raises(ArtifactError, match="already holds"):
        export(finished, tmp_path / "new", "PMC1")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def other_disk(here: Path) -> Path:
    """A folder on another file system than `here`."""
    for place in (Path("/dev/shm"), Path("/work"), Path.home(), Path("/var/tmp")):  # noqa: S108
        if place.is_dir() and os.access(place, os.W_OK) and place.stat().st_dev != here.stat().st_dev:
            return place
    pytest.skip("there is one file system only")


def test_export_to_another_disk_copies_the_files(finished: Path, tmp_path: Path):
    here = export(finished, tmp_path / "out")
    out = other_disk(finished) / f"biolm-export-{os.getpid()}"
    try:
        assert export(finished, out) == here
    finally:
        shutil.rmtree(out, ignore_errors=True)


def test_export_of_a_store_whose_file_is_missing_says_what_to_do(store: Path, tmp_path: Path):
    kept(store, "mine/more.tar").unlink()
    with pytest.raises(ArtifactError, match=r"more.tar is missing; run `biolm papers update`"):
        export(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def with_place(store: Path, name: str, source: str, paper: str) -> None:
    """Another source and id for a paper or file of the first shard that has it."""
    for shard in sorted((store / "shards").glob("*.parquet")):
        table = pq.read_table(shard)
        rows = table.to_pylist()
        if any(row["id"] == paper for row in rows):
            for row in rows:
                if row["id"] == paper:
                    row |= {"id": name, "source": source}
            pq.write_table(pa.Table.from_pylist(rows, table.schema), shard)
            (store / "index.parquet").unlink(missing_ok=True)
            return
    raise AssertionError(f"no {paper}")


@pytest.mark.parametrize("paper", ["PMC7.1", "more.tar"])
@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("mine", "../../outside.xml"),
        ("mine", "/outside.xml"),
        ("mine", "a/../../../outside.xml"),
        ("/tmp/biolm-outside", "outside.xml"),  # noqa: S108
        ("..", "outside.xml"),
        ("../..", "outside.xml"),
        ("a/../..", "outside.xml"),
        (".", "outside.xml"),
        ("", "outside.xml"),
    ],
)
def test_a_store_that_names_a_place_outside_is_refused(
    source: str, name: str, paper: str, store: Path, tmp_path: Path
):
    """A store can come from anybody."""
    with_place(store, name, source, paper)
    with pytest.raises(ArtifactError, match="outside"):
        export(store, tmp_path / "in" / "out")
    assert not list(tmp_path.rglob("outside.xml"))
    assert not Path("/tmp/biolm-outside").exists()  # noqa: S108
    assert ("would lie outside" in str(verify_store(open_store(store), Silent()))) == (paper == "more.tar")
    store_facts(open_store(store))


def test_an_exported_folder_gives_the_corpus_of_the_store(finished: Path, tmp_path: Path):
    export_papers(open_store(finished), tmp_path / "out", (), every_version=True, progress=Silent())
    texts = {}
    for name, source in (("a", finished), ("b", tmp_path / "out")):
        config = CorpusConfig(min_chars=20, detect_language=False)
        manifest = build_corpus([source], tmp_path / name, config, Silent())
        corpus = open_corpus(tmp_path / name)
        columns = ["text", "document", "section", "licence", "pmcid", "kind", "article_type"]
        texts[name] = [
            sorted(map(str, pq.read_table(file, columns=columns).to_pylist()))
            for split in corpus.splits
            for file in corpus.files(split)
        ]
        assert manifest["counts"]["passages_kept"] > 20
    assert texts["a"] == texts["b"]
    kept = Counter(record.pmcid for record in read_source(finished) if isinstance(record, Article))
    assert kept["PMC6"] == 1  # the store gives what is withdrawn, to be counted


def _row(name: str, manuscript: Any = False, source: str = "pmc") -> dict[str, Any]:
    return {"source": source, "id": name, "manuscript": manuscript}


@pytest.mark.parametrize(
    ("rows", "taken"),
    [
        ([_row("PMC1.9"), _row("PMC1.10")], ["PMC1.10"]),
        ([_row("PMC1.2", True), _row("PMC1.1")], ["PMC1.1"]),
        ([_row("PMC1.1", True), _row("PMC1.2", True)], ["PMC1.2"]),
        ([_row("PMC1.1", None), _row("PMC1.2", True)], ["PMC1.1"]),
        ([_row("a.1", source="mine"), _row("a.2", source="mine")], ["a.1", "a.2"]),
        ([_row("PMC1"), _row("PMC1.1"), _row("PMC1.x")], ["PMC1.1", "PMC1.x"]),
        ([], []),
    ],
)
def test_of_versions_the_published_goes_before_the_manuscript_and_the_later_before_the_earlier(
    rows: list[dict[str, Any]], taken: list[str]
):
    schema = pa.schema([("source", pa.string()), ("id", pa.string()), ("manuscript", pa.bool_())])
    for order in (rows, rows[::-1]):
        assert sorted(preferred(pa.Table.from_pylist(order, schema))["id"].to_pylist()) == taken
