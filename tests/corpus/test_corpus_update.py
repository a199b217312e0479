"""A corpus with more papers, what happened to one paper, and how two corpora differ."""

import json
import shutil
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from corpus_papers import rows_of, write_pubmed

from biolm.cli import app
from biolm.corpus.build import Running, build_corpus
from biolm.corpus.config import CorpusConfig
from biolm.corpus.diff import corpus_diff
from biolm.corpus.explain import explain
from biolm.corpus.reader import Corpus, open_corpus
from biolm.corpus.split import parse_shares
from biolm.corpus.update import update_corpus
from biolm.errors import ArtifactError, ConfigError, InputError
from biolm.progress import Silent
from conftest import folder_bytes

CONFIG = CorpusConfig(shares=parse_shares("1/1/1"), min_chars=90)


@pytest.fixture
def running(tmp_path: Path) -> Running:
    return Running(workers=1, work=str(tmp_path / "work"))


@pytest.fixture
def old(tmp_path: Path, running: Running) -> Corpus:
    source = write_pubmed(tmp_path / "pubmed20n0001.xml", range(1, 101))
    build_corpus([source], tmp_path / "old", CONFIG, Silent(), running)
    return open_corpus(tmp_path / "old")


def splits(corpus: Corpus) -> dict[str, str]:
    return {
        row["pmid"]: split
        for split in corpus.splits
        for batch in corpus.iter_batches(split, ["pmid"])
        for row in batch.to_pylist()
    }


def without_command(folder: Path) -> dict[str, bytes]:
    """The files of a corpus, but for the two that hold what made it."""
    found = folder_bytes(folder)
    return {name: data for name, data in found.items() if name not in ("README.md", "manifest.json")}


def test_an_update_has_the_passages_of_a_build_of_everything(old: Corpus, tmp_path: Path, running: Running):
    new = write_pubmed(tmp_path / "pubmed20n0002.xml", range(90, 131))
    sources = [tmp_path / "pubmed20n0001.xml", new]
    build_corpus(sources, tmp_path / "everything", CONFIG, Silent(), running)
    sources[0].unlink()  # its extract is enough
    before = folder_bytes(old.folder)
    update_corpus(old.folder, [new], tmp_path / "new", Silent(), running)
    assert without_command(tmp_path / "new") == without_command(tmp_path / "everything")
    assert folder_bytes(old.folder) == before
    new_one, everything = open_corpus(tmp_path / "new"), open_corpus(tmp_path / "everything")
    assert new_one.fingerprint == everything.fingerprint


def test_an_update_says_what_it_is_and_passes_for_no_build(old: Corpus, tmp_path: Path, running: Running):
    new = write_pubmed(tmp_path / "pubmed20n0002.xml", range(90, 131))
    update_corpus(old.folder, [new], tmp_path / "new", Silent(), running)
    manifest = open_corpus(tmp_path / "new").manifest
    assert manifest["updates"] == old.fingerprint
    assert manifest["command"] == "biolm corpus update OLD pubmed20n0002.xml --out NEW"
    card = (tmp_path / "new" / "README.md").read_text("utf-8")
    assert old.fingerprint in card
    assert "updates" not in old.manifest
    assert "corpus before" not in (old.folder / "README.md").read_text("utf-8")
    with pytest.raises(ArtifactError, match=r"new holds a corpus that was updated.*choose another --out"):
        build_corpus([tmp_path / "pubmed20n0001.xml", new], tmp_path / "new", CONFIG, Silent(), running)
    shutil.copytree(old.folder, tmp_path / "renamed")
    update_corpus(tmp_path / "renamed", [new], tmp_path / "again", Silent(), running)
    assert folder_bytes(tmp_path / "again") == folder_bytes(tmp_path / "new")


def test_papers_stay_in_their_split_when_a_better_id_is_found(old: Corpus, tmp_path: Path, running: Running):
    text = write_pubmed(tmp_path / "pubmed20n0002.xml", range(1, 101)).read_text()
    (tmp_path / "pubmed20n0002.xml").write_text(text.replace("10.1000/paper.", "10.0001/better."))
    update_corpus(old.folder, [tmp_path / "pubmed20n0002.xml"], tmp_path / "new", Silent(), running)
    new = open_corpus(tmp_path / "new")
    assert {row["document"][:12] for row in rows_of(new)} == {"doi:10.0001/"}
    assert splits(new) == splits(old)


def test_no_text_of_the_test_split_moves_to_a_preferred_record_elsewhere(
    old: Corpus, tmp_path: Path, running: Running
):
    before = {
        row["text"]: split
        for split in old.splits
        for b in old.iter_batches(split, ["text"])
        for row in b.to_pylist()
    }
    (tmp_path / "jats").mkdir()
    for number, text in enumerate(before):
        (tmp_path / "jats" / f"{number}.xml").write_text(
            f"<article><front><article-meta><article-id pub-id-type='doi'>10.5555/j{number}</article-id>"
            f"<abstract><p>{text}</p></abstract></article-meta></front></article>"
        )
    update_corpus(old.folder, [tmp_path / "jats"], tmp_path / "new", Silent(), running)
    new = open_corpus(tmp_path / "new")
    assert {
        row["text"]: split
        for split in new.splits
        for b in new.iter_batches(split, ["text"])
        for row in b.to_pylist()
    } == before


def test_one_of_two_sources_of_a_name_does_not_replace_both(tmp_path: Path, running: Running):
    both = [
        write_pubmed(tmp_path / folder / "s.xml", range(n, n + 20)) for folder, n in (("one", 1), ("two", 30))
    ]
    build_corpus(both, tmp_path / "old", CONFIG, Silent(), running)
    with pytest.raises(ArtifactError, match=r"has 2 sources called s\.xml, and 1 of them"):
        update_corpus(tmp_path / "old", both[:1], tmp_path / "new", Silent(), running)
    update_corpus(tmp_path / "old", both, tmp_path / "new", Silent(), running)
    assert open_corpus(tmp_path / "new").manifest["counts"]["articles_read"] == 40


def test_a_source_given_again_replaces_itself(old: Corpus, tmp_path: Path, running: Running):
    write_pubmed(tmp_path / "pubmed20n0001.xml", range(1, 51))
    update_corpus(old.folder, [tmp_path / "pubmed20n0001.xml"], tmp_path / "new", Silent(), running)
    assert len(rows_of(open_corpus(tmp_path / "new"))) == 50


def test_no_paper_goes_because_a_source_has_the_name_of_another(
    old: Corpus, tmp_path: Path, running: Running
):
    for month, numbers in (("may", (200, 201)), ("june", (202,))):
        for number in numbers:
            write_pubmed(tmp_path / month / "new" / f"{number}.xml", [number])
    update_corpus(old.folder, [tmp_path / "may" / "new"], tmp_path / "two", Silent(), running)
    june = [tmp_path / "june" / "new"]
    with pytest.raises(
        ArtifactError, match=r"new would stand for .* and 2 of its files are not in it.*--replace"
    ):
        update_corpus(tmp_path / "two", june, tmp_path / "three", Silent(), running)
    update_corpus(tmp_path / "two", june, tmp_path / "three", Silent(), running, replace=True)
    assert set(splits(open_corpus(tmp_path / "three"))) == {*map(str, range(1, 101)), "202"}
    shutil.copytree(tmp_path / "may" / "new", tmp_path / "june" / "new", dirs_exist_ok=True)
    update_corpus(tmp_path / "two", june, tmp_path / "four", Silent(), running)
    assert set(splits(open_corpus(tmp_path / "four"))) == {*map(str, range(1, 101)), "200", "201", "202"}


def test_missing_extracts_are_one_line(old: Corpus, tmp_path: Path, running: Running):
    shutil.rmtree(tmp_path / "work")
    new = write_pubmed(tmp_path / "pubmed20n0002.xml", range(90, 131))
    with pytest.raises(
        ArtifactError, match=r"1 of 1 extracts of pubmed20n0001.xml are not in .*give that source"
    ):
        update_corpus(old.folder, [new], tmp_path / "new", Silent(), running)
    assert not (tmp_path / "new").exists()


def test_extracts_that_are_gone_are_made_again_where_the_source_is_given(
    old: Corpus, tmp_path: Path, running: Running
):
    new = write_pubmed(tmp_path / "pubmed20n0002.xml", range(90, 131))
    sources = [tmp_path / "pubmed20n0001.xml", new]
    update_corpus(old.folder, [new], tmp_path / "before", Silent(), running)
    shutil.rmtree(tmp_path / "work")
    update_corpus(old.folder, sources, tmp_path / "new", Silent(), running)
    assert without_command(tmp_path / "new") == without_command(tmp_path / "before")


def test_texts_of_other_code_are_read_again_and_never_mixed(
    old: Corpus, tmp_path: Path, running: Running, monkeypatch: pytest.MonkeyPatch
):
    new = write_pubmed(tmp_path / "pubmed20n0002.xml", range(90, 131))
    before = set((tmp_path / "work").rglob("*.parquet"))
    for module in ("build", "extract", "update"):
        monkeypatch.setattr(f"biolm.corpus.{module}.code_hash", lambda: "another day's code")
    with pytest.raises(
        ArtifactError, match=r"read by another biolm.* give .* again too: pubmed20n0001\.xml$"
    ):
        update_corpus(old.folder, [new], tmp_path / "new", Silent(), running)
    update_corpus(old.folder, [tmp_path / "pubmed20n0001.xml", new], tmp_path / "new", Silent(), running)
    added = set((tmp_path / "work").rglob("*.parquet")) - before
    assert len(added) == 4  # both sources, two tables each
    corpus = open_corpus(tmp_path / "new")
    assert {source["name"] for source in corpus.manifest["sources"]} == {"pubmed20n0001.xml", new.name}
    assert corpus.manifest["code"] == "another day's code"
    assert len(rows_of(corpus)) == 130


def test_a_corpus_that_does_not_say_what_code_read_it_needs_its_sources(
    old: Corpus, tmp_path: Path, running: Running
):
    manifest = json.loads((old.folder / "manifest.json").read_text())
    del manifest["code"]
    manifest["sources"] = [manifest["sources"][0] | {"name": f"{n}.xml"} for n in range(7)]
    (old.folder / "manifest.json").write_text(json.dumps(manifest))
    new = write_pubmed(tmp_path / "pubmed20n0002.xml", range(90, 131))
    with pytest.raises(ArtifactError, match=r"too: 0\.xml, 1\.xml, 2\.xml, 3\.xml, 4\.xml and 2 more"):
        update_corpus(old.folder, [new], tmp_path / "new", Silent(), running)


@pytest.mark.parametrize(
    ("table", "column", "other_type"),
    [
        *(("articles", column, other) for column in ("licence", "passages") for other in (None, pa.date32())),
        *(("passages", column, other) for column in ("boilerplate", "text") for other in (None, pa.date32())),
        ("passages", "certainty", None),
        ("passages", "signature", None),
    ],
)
def test_an_extract_with_other_columns_is_one_line(
    old: Corpus, tmp_path: Path, running: Running, table: str, column: str, other_type: pa.DataType | None
):
    (path,) = (tmp_path / "work").rglob(f"*.{table}.parquet")
    there = pq.read_table(path)
    other = there.drop_columns([column])
    if other_type is not None:
        other = other.append_column(column, pa.nulls(len(there), other_type))
    pq.write_table(other, path)
    new = write_pubmed(tmp_path / "pubmed20n0002.xml", range(90, 131))
    key = path.name.partition(".")[0]
    for sources in ([new], [tmp_path / "pubmed20n0001.xml", new]):
        with pytest.raises(ArtifactError, match=rf"no column {column} as this biolm .*; remove {key}\.\*"):
            update_corpus(old.folder, sources, tmp_path / "new", Silent(), running)
    assert not (tmp_path / "new").exists()
    for part in path.parent.glob(f"{key}.*"):
        part.unlink()
    update_corpus(old.folder, [tmp_path / "pubmed20n0001.xml", new], tmp_path / "new", Silent(), running)
    assert len(rows_of(open_corpus(tmp_path / "new"))) == 130


@pytest.mark.parametrize("place", [10, -100])
def test_a_damaged_extract_is_one_line(old: Corpus, tmp_path: Path, running: Running, place: int):
    (path,) = (tmp_path / "work").rglob("*.passages.parquet")
    data = bytearray(path.read_bytes())
    begin = place % len(data)  # in the first page's header, in the footer
    data[begin : begin + 40] = bytes(byte ^ 0xFF for byte in data[begin : begin + 40])
    path.write_bytes(data)
    new = write_pubmed(tmp_path / "pubmed20n0002.xml", range(90, 131))
    with pytest.raises(ArtifactError, match=r"^the extract .* cannot be read .* remove \w+\.\* and run"):
        update_corpus(old.folder, [new], tmp_path / "new", Silent(), running)


def test_facts_of_other_code_count_as_no_extract(old: Corpus, tmp_path: Path, running: Running):
    (path,) = (tmp_path / "work").rglob("*.json")
    facts = json.loads(path.read_text())
    new = write_pubmed(tmp_path / "pubmed20n0002.xml", range(90, 131))
    for other in (facts | {"pages": 3}, {k: v for k, v in facts.items() if k != "passages"}, [facts], None):
        path.write_text(json.dumps(other))
        with pytest.raises(ArtifactError, match=r"1 of 1 extracts of pubmed20n0001.xml are not in"):
            update_corpus(old.folder, [new], tmp_path / "new", Silent(), running)
    update_corpus(old.folder, [tmp_path / "pubmed20n0001.xml", new], tmp_path / "new", Silent(), running)
    assert json.loads(path.read_text()) == facts


def test_a_source_that_has_vanished_is_one_line(old: Corpus, tmp_path: Path, running: Running):
    gone = tmp_path / "pubmed20n0001.xml"
    gone.unlink()
    with pytest.raises(InputError, match=r"^no file or folder at .*pubmed20n0001\.xml; give papers"):
        update_corpus(old.folder, [gone], tmp_path / "new", Silent(), running)
    assert not (tmp_path / "new").exists()


def test_a_setting_of_another_biolm_is_one_line(old: Corpus, tmp_path: Path, running: Running):
    new = write_pubmed(tmp_path / "pubmed20n0002.xml", range(90, 131))
    path = old.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for settings in (
        manifest["settings"] | {"smell": 1},
        manifest["settings"] | {"text": manifest["settings"]["text"] | {"smell": 1}},
    ):
        path.write_text(json.dumps(manifest | {"settings": settings}))
        with pytest.raises(ConfigError, match=r"the setting (text\.)?smell, which this biolm does not have"):
            update_corpus(old.folder, [new], tmp_path / "new", Silent(), running)


def test_a_diff_counts_what_came_and_went(old: Corpus, tmp_path: Path, running: Running):
    write_pubmed(tmp_path / "pubmed20n0001.xml", range(11, 121))
    config = CorpusConfig(shares=parse_shares("1/1/1"), min_chars=91)
    build_corpus([tmp_path / "pubmed20n0001.xml"], tmp_path / "new", config, Silent(), running)
    facts = corpus_diff(old, open_corpus(tmp_path / "new"))
    assert facts["papers"] == {"old": 100, "new": 110, "added": 20, "removed": 10, "moved": {}}
    assert facts["passages"] == {"old": 100, "new": 110, "added": 20, "removed": 10}
    assert facts["settings"] == {"min_chars": [90, 91]}
    assert not facts["same"]
    assert corpus_diff(old, old)["same"]
    shown = CliRunner().invoke(app, ["corpus", "diff", str(old.folder), str(tmp_path / "new")])
    assert "papers             100 → 110         +20 −10" in shown.stdout


@pytest.mark.parametrize("name", ["95", "pmid:95", "10.1000/paper.95", "https://doi.org/10.1000/PAPER.95"])
def test_one_paper_is_explained(old: Corpus, tmp_path: Path, running: Running, name: str):
    new = write_pubmed(tmp_path / "pubmed20n0002.xml", range(90, 131))
    update_corpus(old.folder, [new], tmp_path / "new", Silent(), running)
    rows = list(explain(open_corpus(tmp_path / "new"), name))
    assert [(row["outcome"], row["source"]) for row in rows] == [
        ("kept", "pubmed20n0002.xml#95"),
        ("older_version", "pubmed20n0001.xml#95"),
    ]
    shown = CliRunner().invoke(app, ["corpus", "show", str(tmp_path / "new"), "--explain", name])
    assert "older_version: of a record that a newer version of itself replaces" in shown.stdout
    as_json = CliRunner().invoke(app, ["corpus", "show", str(tmp_path / "new"), "--explain", name, "--json"])
    assert json.loads(as_json.stdout) == rows


def test_a_paper_that_is_not_there_is_one_line(old: Corpus):
    with pytest.raises(
        InputError, match=r"no paper that .*old was built from has the PMID 4711; PMC4711 is another id"
    ):
        list(explain(old, "4711"))
    with pytest.raises(InputError, match=r"'kinase' is no PMID, PMCID or DOI"):
        list(explain(old, "kinase"))


def test_a_corpus_of_format_1_says_that_it_cannot_explain_or_be_updated(tmp_path: Path):
    first = Path(__file__).parent / "corpus-v1"
    with pytest.raises(ArtifactError, match="does not say what it dropped"):
        list(explain(open_corpus(first), "1"))
    source = write_pubmed(tmp_path / "a.xml", range(3))
    with pytest.raises(ArtifactError, match="old format, which cannot be updated"):
        update_corpus(first, [source], tmp_path / "new", Silent())


def test_held_out_ids_come_from_a_file(tmp_path: Path, running: Running):
    source = write_pubmed(tmp_path / "a.xml", range(1, 11))
    ids = tmp_path / "ids.txt"
    ids.write_text("# our test set\n1\nPMID: 2\n\n10.1000/paper.3  # by DOI\n")
    command = [
        "corpus",
        "build",
        str(source),
        "--out",
        str(tmp_path / "corpus"),
        "--hold-out",
        str(ids),
        "--quiet",
    ]
    done = CliRunner().invoke(app, [*command, "--work", str(tmp_path / "work")])
    assert done.exit_code == 0, done.output
    assert {row["pmid"] for row in rows_of(open_corpus(tmp_path / "corpus"))} == set(map(str, range(4, 11)))
    ids.write_text("1\nkinase\n")
    done = CliRunner().invoke(app, command)
    assert "ids.txt, line 2: 'kinase' is no PMID, PMCID or DOI" in str(done.exception)


@pytest.mark.parametrize("layout", ["lines", "pubtator", "conll"])
def test_held_out_texts_enter_nowhere_whatever_their_spacing(tmp_path: Path, running: Running, layout: str):
    from biolm.sources import read_source

    source = write_pubmed(tmp_path / "a.xml", range(1, 31))
    text = list(read_source(source))[4].abstracts[0].text
    words = text.replace(".", " .").split()[10:40]
    held = tmp_path / f"{layout}.txt"
    held.write_text(
        {
            "lines": " ".join(words),
            "pubtator": f"5|t|Paper\n5|a|{' '.join(words)}\n5\t0\t4\tkinase\tGene\n",
            "conll": "\n".join(f"{word}\tO" for word in words) + "\n\nCase\tO\nreport\tO\n",
        }[layout]
    )
    build_corpus([source], tmp_path / "corpus", CONFIG, Silent(), running, [held])
    corpus = open_corpus(tmp_path / "corpus")
    assert {row["pmid"] for row in rows_of(corpus)} == {str(n) for n in range(1, 31) if n != 5}
    assert corpus.manifest["counts"]["dropped"]["held_out"] == 1
    assert f"--hold-out-text {held.name}" in corpus.manifest["command"]
    new = write_pubmed(tmp_path / "b.xml", range(40, 45))
    with pytest.raises(ArtifactError, match=rf"other held-out texts \({held.name}\); give the same"):
        update_corpus(corpus.folder, [new], tmp_path / "new", Silent(), running)
    update_corpus(corpus.folder, [new], tmp_path / "new", Silent(), running, [held])
    assert len(rows_of(open_corpus(tmp_path / "new"))) == 34


def test_a_file_without_texts_is_one_line(tmp_path: Path, running: Running):
    source = write_pubmed(tmp_path / "a.xml", range(1, 3))
    (tmp_path / "empty.txt").write_text("Case report\n")
    for name, message in {"empty.txt": "has no text of 8 words", "absent.txt": "is no file"}.items():
        with pytest.raises(InputError, match=message):
            build_corpus([source], tmp_path / "corpus", CONFIG, Silent(), running, [tmp_path / name])


def test_the_shipped_list_names_the_papers_of_ner_benchmarks(shared: Path):
    from biolm.corpus.holdout import NER_PAPERS, read_held_out

    ids = set(read_held_out(Path(NER_PAPERS)))
    text = (shared / "ner" / "NCBI-disease-original" / "NCBItestset_corpus.txt").read_text()
    test_set = {f"pmid:{line.partition('|')[0]}" for line in text.splitlines() if "|t|" in line}
    assert len(test_set) == 100
    assert test_set < ids
    assert len(ids) == 792 + 1500  # NCBI-disease has 793 texts, one of them twice


def test_a_source_may_lie_elsewhere(tmp_path: Path, running: Running):
    import fsspec

    files = fsspec.filesystem("memory")
    source = write_pubmed(tmp_path / "pubmed" / "a.xml", range(1, 31))
    files.pipe("/bucket/pubmed/a.xml", source.read_bytes())
    try:
        build_corpus([source.parent], tmp_path / "here", CONFIG, Silent(), running)
        build_corpus(["memory://bucket/pubmed"], tmp_path / "there", CONFIG, Silent(), running)
    finally:
        files.rm("/bucket", recursive=True)
    here, there = open_corpus(tmp_path / "here"), open_corpus(tmp_path / "there")
    assert rows_of(here) == rows_of(there)
    done = CliRunner().invoke(
        app, ["corpus", "build", "memory://bucket/none", "--out", str(tmp_path / "none")]
    )
    assert isinstance(done.exception, InputError)
    assert "memory://bucket/none" in str(done.exception)


def test_a_paper_that_a_store_did_not_give_is_read_the_next_time(
    tmp_path: Path, running: Running, monkeypatch: pytest.MonkeyPatch
):
    store = fsspec.filesystem("memory")
    for number in range(3):
        source = write_pubmed(tmp_path / f"{number}.xml", range(10 * number + 1, 10 * number + 6))
        store.pipe_file(f"/flaky/{number}.xml", source.read_bytes())
    opened = type(store)._open

    def broken(self, path, *arguments, **options):
        if path.endswith("1.xml"):
            raise ConnectionError("down")
        return opened(self, path, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(type(store), "_open", broken)
        patched.setattr("biolm.sources.remote.BACKOFF_SECONDS", 0.0)
        build_corpus(["memory://flaky"], tmp_path / "first", CONFIG, Silent(), running)
    build_corpus(["memory://flaky"], tmp_path / "second", CONFIG, Silent(), running)
    store.rm("/flaky", recursive=True)
    counts = [
        open_corpus(tmp_path / name).manifest["counts"]["articles_read"] for name in ("first", "second")
    ]
    assert counts == [10, 15]
