import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from corpus_papers import article, corpus_of, prose, rows_of, write_pubmed

import biolm
from biolm.artifacts import verify_files
from biolm.cli import app
from biolm.corpus.build import Running, build_corpus
from biolm.corpus.config import CorpusConfig
from biolm.corpus.reader import open_corpus
from biolm.corpus.split import Shares, split_of
from biolm.corpus.writer import SCHEMA
from biolm.errors import ArtifactError, InputError
from biolm.progress import Silent
from biolm.records import Figure, Unreadable
from conftest import folder_bytes

THIRDS = CorpusConfig(shares=Shares(train=1, validation=1, test=1))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOLM_CACHE", str(tmp_path_factory.mktemp("cache")))


def build(sources: Iterable[Path], out: Path, config: CorpusConfig = THIRDS, workers: int = 1) -> dict:
    return build_corpus(list(sources), out, config, Silent(), Running(workers=workers))


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    write_pubmed(tmp_path / "papers" / "a.xml", range(1, 60))
    write_pubmed(tmp_path / "papers" / "deep" / "b.xml", range(50, 120))
    return tmp_path / "papers"


def test_two_builds_are_byte_identical_wherever_they_lie(papers: Path, tmp_path: Path):
    build([papers], tmp_path / "one")
    elsewhere = tmp_path / "some" / "where" / "else" / "papers"
    shutil.copytree(papers, elsewhere)
    build([elsewhere], tmp_path / "two")
    assert folder_bytes(tmp_path / "one") == folder_bytes(tmp_path / "two")
    assert not any(str(tmp_path).encode() in data for data in folder_bytes(tmp_path / "one").values())


def test_the_manifest_counts_what_the_files_hold(papers: Path, tmp_path: Path):
    manifest = build([papers], tmp_path / "corpus")
    corpus = open_corpus(tmp_path / "corpus")
    assert corpus.manifest == manifest
    assert verify_files(corpus.folder, manifest) == []
    assert manifest["counts"]["articles_read"] == 129
    assert manifest["counts"]["dropped"]["other_record"] == 10
    for split, facts in manifest["splits"].items():
        rows = pq.read_table(corpus.files(split)).to_pylist()
        assert len(rows) == facts["passages"] == facts["sections"]["abstract"]["passages"]
        assert sum(len(row["text"]) for row in rows) == facts["characters"]
        assert len({row["document"] for row in rows}) == facts["documents"]
        assert {split_of(row["document"], THIRDS.shares) for row in rows} == {split}


def test_columns_and_types_are_those_of_the_format(papers: Path, tmp_path: Path):
    build([papers], tmp_path / "corpus")
    (path,) = open_corpus(tmp_path / "corpus").files("train")
    assert pq.read_schema(path).equals(SCHEMA)
    row = pq.read_table(path).to_pylist()[0]
    assert row["doi"] == f"10.1000/paper.{row['pmid']}"
    assert row["document"] == f"doi:{row['doi']}"
    assert row["text"] == prose(int(row["pmid"]), 60)
    assert (row["year"], row["licence"], row["pmcid"]) == (2000 + int(row["pmid"]) % 20, "unknown", None)
    assert row["source"].startswith("papers/")


def test_long_splits_become_several_files_and_a_papers_passages_stay_together(tmp_path: Path):
    stream = [
        article(n, figures=tuple(Figure(label=f"Fig. {i}", caption=prose(10 * n + i)) for i in range(4)))
        for n in range(1001, 1009)
    ]
    corpus = corpus_of(tmp_path, stream, passages_per_file=12)
    files = corpus.files("train")
    assert [path.name for path in files] == [f"train-{index:05d}-of-00004.parquet" for index in range(4)]
    documents = [set(pq.read_table(path)["document"].to_pylist()) for path in files]
    assert [len(found) for found in documents] == [2, 2, 2, 2]
    assert len(set.union(*documents)) == 8


def test_passages_of_a_paper_read_twice_count_as_one_document(tmp_path: Path):
    figures = (Figure(caption=prose(1)),)
    corpus = corpus_of(tmp_path, [article(1), article(2)], [article(1, form="jats", figures=figures)])
    assert sum(split["documents"] for split in corpus.manifest["splits"].values()) == 2
    assert len(rows_of(corpus)) == 3


def test_every_unreadable_file_is_in_the_report(tmp_path: Path):
    bad = [Unreadable(source=f"{n}.xml", reason='no "XML"') for n in range(300)]
    corpus = corpus_of(tmp_path, [article(), *bad])
    report = json.loads((corpus.folder / "report.json").read_text())
    assert report["unreadable"] == [{"source": f"{n}.xml", "reason": 'no "XML"'} for n in range(300)]
    assert corpus.manifest["counts"]["articles_failed"] == 300


def test_a_report_without_failures_is_empty(tmp_path: Path):
    corpus = corpus_of(tmp_path, [article()])
    assert json.loads((corpus.folder / "report.json").read_text()) == {"unreadable": []}


def test_an_empty_split_is_named_and_has_no_file(papers: Path, tmp_path: Path):
    config = CorpusConfig(shares=Shares(train=1, validation=0, test=0))
    manifest = build([papers], tmp_path / "corpus", config)
    assert manifest["empty_splits"] == ["validation", "test"]
    assert [*manifest["splits"]] == ["train"]
    assert {path.name for path in (tmp_path / "corpus").glob("*.parquet")} == {
        "dropped.parquet",
        "train-00000-of-00001.parquet",
    }
    assert "No passage fell into validation or test" in (tmp_path / "corpus" / "README.md").read_text()


def test_the_same_work_again_reuses_the_folder(papers: Path, tmp_path: Path):
    first = build([papers], tmp_path / "corpus")
    before = (tmp_path / "corpus" / "manifest.json").stat().st_mtime_ns
    assert build([papers], tmp_path / "corpus") == first
    assert (tmp_path / "corpus" / "manifest.json").stat().st_mtime_ns == before


def test_other_settings_sources_or_version_do_not_touch_a_finished_corpus(
    papers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "corpus"
    build([papers], out)
    before = folder_bytes(out)
    with pytest.raises(ArtifactError, match="with other settings; choose another --out"):
        build([papers], out, CorpusConfig(shares=THIRDS.shares, min_chars=90))
    with monkeypatch.context() as patch:
        patch.setattr(biolm, "__version__", "9.9.9")
        with pytest.raises(ArtifactError, match="with other biolm;"):
            build([papers], out)
    write_pubmed(papers / "c.xml", range(200, 205))
    with pytest.raises(ArtifactError, match="with other sources;"):
        build([papers], out)
    assert folder_bytes(out) == before


def test_a_damaged_corpus_is_not_reused(papers: Path, tmp_path: Path):
    build([papers], tmp_path / "corpus")
    (tmp_path / "corpus" / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"missing .* after removing"):
        build([papers], tmp_path / "corpus")


def test_a_folder_of_other_things_is_left_alone(papers: Path, tmp_path: Path):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="holds other files; choose another --out"):
        build([papers], out)
    assert folder_bytes(out) == {"chapter1.txt": b"years of work"}


@pytest.mark.parametrize("content", ["", "no XML at all", "<html><body>Not found</body></html>"])
def test_nothing_kept_is_one_line_and_leaves_nothing(tmp_path: Path, content: str):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "paper.xml").write_text(content)
    with pytest.raises(InputError, match=r"no passages kept from .*in \(0 articles read, \d"):
        build([tmp_path / "in"], tmp_path / "corpus")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_only_short_passages_point_to_the_minimum(tmp_path: Path):
    source = write_pubmed(tmp_path / "a.xml", range(3), words=2)
    with pytest.raises(InputError, match=r"3 articles read.*dropped 3 too_short; lower --min-chars"):
        build([source], tmp_path / "corpus")


def test_a_missing_source_is_named_before_any_work(papers: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"no file or folder at .*absent.xml"):
        build([papers, tmp_path / "absent.xml"], tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


def test_a_folder_is_named_the_same_however_it_is_reached(
    papers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    build([papers], tmp_path / "one")
    (tmp_path / "link").symlink_to(papers)
    monkeypatch.chdir(papers)
    for source in (tmp_path / "link", Path(), Path("deep/..")):
        build([source], tmp_path / "one")


def test_the_corpus_cannot_lie_inside_its_source(papers: Path):
    with pytest.raises(InputError, match="lies inside the source"):
        build([papers], papers / "corpus")


def test_a_file_name_that_is_no_utf8_is_written_with_escapes(papers: Path, tmp_path: Path):
    (papers / "a.xml").rename(papers / os.fsdecode(b"caf\xe9.xml"))
    (papers / os.fsdecode(b"na\xefve.xml")).write_text("")
    build([papers], tmp_path / "corpus")
    corpus = open_corpus(tmp_path / "corpus")
    sources = {row["source"].partition("#")[0] for row in rows_of(corpus)}
    assert "papers/caf\\xe9.xml" in sources
    assert "na\\\\xefve.xml" in (tmp_path / "corpus" / "report.json").read_text()


def test_the_command_line_builds_shows_and_refuses(papers: Path, tmp_path: Path):
    out, run = tmp_path / "corpus", CliRunner().invoke
    built = run(app, ["corpus", "build", str(papers), "--out", str(out), "--split", "2/1/1", "--seed", "3"])
    assert built.exit_code == 0, built.output
    assert "passages of" in built.stdout
    assert "biolm corpus show" in built.stdout
    again = ["corpus", "build", str(papers), "--out", str(out), "--split", "2/1/1", "--seed", "3", "--quiet"]
    assert run(app, again).output == ""
    refused = run(app, ["corpus", "build", str(papers), "--out", str(out)])
    assert isinstance(refused.exception, ArtifactError)
    facts = json.loads(run(app, ["corpus", "show", str(out), "--json"]).stdout)
    assert facts["counts"]["passages_kept"] == 119
    shown = run(app, ["corpus", "show", str(out)])
    assert shown.exit_code == 0
    assert "119" in shown.stdout
    assert "dropped: other_record" in shown.stdout
    assert facts["examples"][0]["text"][:60] in shown.stdout
