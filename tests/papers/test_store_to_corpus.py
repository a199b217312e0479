"""From a paper store to a corpus: the papers that folders would give, with what the store knows of each."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from pmc import asked, fetch, update
from replica import Replica, invented_article, real_articles, serving

from biolm.cli import app
from biolm.corpus.build import Running, build_corpus
from biolm.corpus.config import CorpusConfig
from biolm.corpus.reader import Corpus, open_corpus
from biolm.corpus.split import parse_shares
from biolm.corpus.update import update_corpus
from biolm.errors import ArtifactError, InputError
from biolm.papers.export import export_papers
from biolm.papers.fetch import fetch_papers
from biolm.papers.runs import Fetching
from biolm.papers.selection import Selection
from biolm.papers.store import INDEX, open_store, shard_numbers, shard_path
from biolm.papers.writer import StoreWriter
from biolm.progress import Silent
from biolm.sources import stored

LATER = "2026-11-27"


def config(**settings: Any) -> CorpusConfig:
    return CorpusConfig(**({"shares": parse_shares("1/1/1")} | settings))


def build(*sources: Path, out: Path, **settings: Any) -> Corpus:
    """A corpus in `out`, with its extracts in the cache that the tests have."""
    build_corpus(sources, out, config(**settings), Silent(), Running(workers=1))
    return open_corpus(out)


def passages(corpus: Corpus) -> list[dict[str, Any]]:
    """Every passage in the corpus's order, without the file that it comes from."""
    return [
        {name: value for name, value in row.items() if name != "source"}
        for split in corpus.splits
        for batch in corpus.iter_batches(split)
        for row in batch.to_pylist()
    ]


def papers(corpus: Corpus) -> set[str]:
    return {row["pmcid"] for row in passages(corpus)}


def dropped(corpus: Corpus) -> dict[str, int]:
    return {reason: count for reason, count in corpus.manifest["counts"]["dropped"].items() if count}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def extracts() -> set[Path]:
    return set(Path(os.environ["BIOLM_CACHE"], "extracts").rglob("*.json"))


def put(replica: Replica, name: str, xml: bytes | None = None, **metadata: Any) -> None:
    number, _, version = name[3:].partition(".")
    replica.put_article(name, xml or invented_article(int(number), int(version), paragraphs=1), **metadata)


@pytest.fixture
def store(tmp_path: Path, replica: Replica, url: str) -> Path:
    """All kinds of articles: retracted, under several licences, manuscripts, versions, metadata of another paper."""
    replica.change("PMC12.1", license_code="TDM")
    put(replica, "PMC13.2", is_manuscript=True)
    put(replica, "PMC14.2")
    replica.change("PMC15.1", is_manuscript=True)
    replica.change("PMC16.1", pmid=999)
    replica.take_inventory("2026-11-25")
    fetch(tmp_path / "store", url)
    replica.change("PMC11.1", is_retracted=True)
    replica.take_inventory("2026-11-26")
    update(tmp_path / "store", url)
    return tmp_path / "store"


def test_a_store_gives_what_its_papers_give_as_plain_files(store: Path, tmp_path: Path):
    export_papers(open_store(store), tmp_path / "plain" / "store", (), every_version=True, progress=Silent())
    made, plain = (
        build(source, out=tmp_path / name)
        for name, source in (("made", store), ("from-files", tmp_path / "plain" / "store"))
    )
    assert passages(made) == passages(plain)
    assert made.manifest["counts"] == plain.manifest["counts"]
    assert made.manifest["licences"] == plain.manifest["licences"]


def test_counts_add_up_and_each_paper_is_dropped_for_its_own_reason(
    store: Path, tmp_path: Path, replica, url
):
    replica.remove_article("PMC17.1")
    replica.take_inventory(LATER)
    update(store, url)
    made = build(store, out=tmp_path / "corpus")
    counts = made.manifest["counts"]
    assert counts["articles_read"] == 42 == open_store(store).index().num_rows
    assert counts["passages_found"] == counts["passages_kept"] + sum(counts["dropped"].values()) == 84
    # Two passages each: PMC17 is withdrawn, PMC11 retracted, 14.1 older than 14.2; 13.1 goes before the manuscript.
    assert dropped(made) == {"deleted": 2, "retracted": 2, "older_version": 2, "other_record": 2}
    assert papers(made) == {f"PMC{number}" for number in range(1, 41)} - {"PMC11", "PMC17"}
    (lost,) = json.loads((made.folder / "report.json").read_text())["unreadable"]
    assert lost == {"source": "store/pmc/PMC16.1.xml (metadata)", "reason": "it is about 999, not 40000016"}
    assert made.manifest["sources"][0]["files"] == 42
    texts = {row["text"] for row in passages(made)}
    assert texts >= texts_of(tmp_path, invented_article(13, 1, paragraphs=1))
    assert texts.isdisjoint(texts_of(tmp_path, invented_article(13, 2, paragraphs=1)))
    assert texts >= texts_of(tmp_path, invented_article(14, 2, paragraphs=1))


def texts_of(folder: Path, xml: bytes) -> set[str]:
    """The abstract and legends of one article."""
    from biolm.sources.shards import read_source

    (folder / "one.xml").write_bytes(xml)
    (article,) = read_source(folder / "one.xml")
    return {abstract.text for abstract in article.abstracts} | {figure.caption for figure in article.figures}


def test_licences_that_only_the_metadata_tell_are_filtered_by(tmp_path: Path, replica: Replica, url: str):
    for number in range(1, 41):
        xml = invented_article(number, paragraphs=1)
        silent = xml[: xml.index(b"<permissions>")] + xml[xml.index(b"</permissions>") + 14 :]
        put(replica, f"PMC{number}.1", silent, license_code="CC BY-NC" if number % 2 else "CC0")
    replica.take_inventory(LATER)
    fetch(tmp_path / "store", url)
    made = build(tmp_path / "store", out=tmp_path / "corpus", licence="commercial")
    assert papers(made) == {f"PMC{number}" for number in range(2, 41, 2)}
    assert dropped(made) == {"licence": 40}


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some ten groups of the few papers that a test has."""
    monkeypatch.setattr(stored, "GROUP_PAPERS", 4)


@pytest.mark.usefixtures("small_groups")
def test_new_facts_change_the_next_corpus_without_the_xml_and_make_one_extract_anew(
    store: Path, tmp_path: Path, replica: Replica, url: str
):
    before = build(store, out=tmp_path / "before")
    made = extracts()
    assert len(made) >= 5
    begin = len(replica.log)
    replica.change("PMC20.1", is_retracted=True)
    replica.take_inventory(LATER)
    update(store, url)
    assert asked(replica, begin) == ["metadata/PMC20.1.json"]
    after = build(store, out=tmp_path / "after")
    assert papers(before) - papers(after) == {"PMC20"}
    assert dropped(after)["retracted"] == dropped(before)["retracted"] + 2
    assert len(extracts() - made) == 1
    assert (
        len(set(before.manifest["sources"][0]["extracts"]) - set(after.manifest["sources"][0]["extracts"]))
        == 1
    )


@pytest.mark.usefixtures("small_groups")
def test_changed_and_new_papers_make_only_their_groups_anew(store: Path, tmp_path: Path, replica, url):
    before = build(store, out=tmp_path / "before")
    made = extracts()
    put(replica, "PMC21.1", invented_article(21, paragraphs=1, seed=9))
    put(replica, "PMC211.1")
    replica.remove_article("PMC30.1")
    replica.take_inventory(LATER)
    update(store, url)
    after = build(store, out=tmp_path / "after")
    assert papers(after) == papers(before) - {"PMC30"} | {"PMC211"}
    assert 1 <= len(extracts() - made) <= 4
    assert (
        len(made & {path for path in extracts() if path.stem in after.manifest["sources"][0]["extracts"]})
        >= 2
    )


def test_a_corpus_does_not_depend_on_how_papers_lie_in_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One store is fetched at once into one shard, the other bit by bit, backwards, with a shard for each few."""
    made = []
    for place, shard_bytes, selections in (
        ("one", 1 << 28, [None]),
        ("two", 20_000, [Selection(pmcids=f"PMC{first}-PMC{first + 30}") for first in range(181, 0, -12)]),
    ):
        monkeypatch.setitem(StoreWriter.__init__.__kwdefaults__, "shard_bytes", shard_bytes)
        replica = Replica()
        for number in range(1, 201):  # of some the same text again: which paper keeps it must not change
            put(replica, f"PMC{number}.1", twin(number) if number % 10 == 0 else None)
        replica.take_inventory("2026-11-25")
        store = tmp_path / place / "store"
        with serving(replica) as url:
            for selection in selections:
                fetch(store, url, selection)
            replica.put_article("PMC50.1", invented_article(50, paragraphs=1, seed=3))
            replica.change("PMC60.1", is_retracted=True)
            replica.take_inventory(LATER)
            update(store, url)
        build_corpus(
            [store],
            tmp_path / place / "corpus",
            config(),
            Silent(),
            Running(workers=1, work=str(tmp_path / place)),
        )
        made.append(files(tmp_path / place / "corpus"))
    assert len(shard_numbers(tmp_path / "two" / "store")) > 10
    assert json.loads(made[0]["manifest.json"])["counts"]["dropped"]["duplicate"] >= 10
    assert made[0] == made[1]


def twin(number: int) -> bytes:
    """An article with the text of the one before it under ids of its own."""
    xml = invented_article(number - 1, paragraphs=1)
    for old, new in ((number - 1, number), (40_000_000 + number - 1, 40_000_000 + number)):
        xml = xml.replace(f">PMC{old}<".encode(), f">PMC{new}<".encode()).replace(
            f">{old}<".encode(), f">{new}<".encode()
        )
    return xml.replace(f"replica.{number - 1}.".encode(), f"replica.{number}.".encode())


def test_a_corpus_is_updated_with_a_store_that_grew(store: Path, tmp_path: Path, replica: Replica, url: str):
    old = build(store, out=tmp_path / "old")
    for number in range(41, 61):
        put(replica, f"PMC{number}.1")
    replica.remove_article("PMC7.1")
    replica.take_inventory(LATER)
    update(store, url)
    update_corpus(old.folder, [store], tmp_path / "new", Silent(), Running(workers=1))
    new, everything = open_corpus(tmp_path / "new"), build(store, out=tmp_path / "everything")
    assert new.manifest["counts"] == everything.manifest["counts"]
    assert sorted(map(repr, passages(new))) == sorted(map(repr, passages(everything)))
    assert papers(new) == papers(old) - {"PMC7"} | {f"PMC{number}" for number in range(41, 61)}

    shard_path(store, 1).unlink()
    with pytest.raises(
        ArtifactError, match=r"store would stand for .* of its files are not in it.*--replace"
    ):
        update_corpus(old.folder, [store], tmp_path / "newer", Silent(), Running(workers=1))


def test_a_damaged_shard_costs_its_papers_until_it_is_mended(store: Path, tmp_path: Path, replica, url):
    for number in range(41, 61):
        put(replica, f"PMC{number}.1")
    replica.take_inventory(LATER)
    update(store, url)
    path = shard_path(store, shard_numbers(store)[-1])
    contents = path.read_bytes()
    column = pq.read_metadata(path).row_group(0).column(17)
    assert column.path_in_schema == "xml"
    at = column.data_page_offset + column.total_compressed_size // 2
    path.write_bytes(contents[:at] + bytes([contents[at] ^ 4]) + contents[at + 1 :])
    hurt = build(store, out=tmp_path / "hurt")
    lost = json.loads((hurt.folder / "report.json").read_text())["unreadable"]
    assert Counter(entry["reason"].partition(";")[0] for entry in lost)["in a damaged shard"] == 20
    assert all(str(tmp_path) not in str(entry) for entry in lost)
    assert {f"store/pmc/PMC{number}.1.xml" for number in range(41, 61)} <= {entry["source"] for entry in lost}
    assert hurt.manifest["counts"]["articles_read"] == 42
    assert hurt.manifest["counts"]["articles_failed"] == len(lost) == 21
    path.unlink()
    update(store, url)
    mended = build(store, out=tmp_path / "mended")
    assert mended.manifest["counts"]["articles_read"] == 62
    assert papers(mended) == papers(hurt) | {f"PMC{number}" for number in range(41, 61)}


def test_a_store_whose_log_cannot_be_read_or_is_empty_is_one_line(store: Path, tmp_path: Path):
    shard_path(store, 1).write_bytes(b"PAR1")
    with pytest.raises(
        InputError, match=r"000001.parquet cannot be read \(.*\); remove it and run the same `biolm papers"
    ):
        build(store, out=tmp_path / "corpus")
    (store / INDEX).unlink()
    done = subprocess.run(
        [sys.executable, "-m", "biolm", "corpus", "build", str(store), "--out", str(tmp_path / "corpus")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "000001.parquet cannot be read" in done.stderr
    with StoreWriter(tmp_path / "none"):
        pass
    with pytest.raises(InputError, match="holds no papers yet; fetch some with `biolm papers fetch`"):
        build(tmp_path / "none", out=tmp_path / "corpus")
    with StoreWriter(tmp_path / "none") as writer:
        writer.add(source="pubmed", id="a.xml.gz", state="file", md5="0" * 32, bytes=1)
        writer.add(source="pubmed", id="a.xml.gz", state="withdrawn")
    with pytest.raises(InputError, match="holds no papers yet"):
        build(tmp_path / "none", out=tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


def test_manifest_and_card_say_whom_the_papers_are_owed_to_and_of_which_day_they_are(
    store: Path, tmp_path: Path
):
    made = build(store, out=tmp_path / "corpus")
    (source,) = made.manifest["sources"]
    (attribution,) = source["attribution"]
    assert "U.S. National Library of Medicine" in attribution
    assert attribution.endswith("As of 2026-11-26; not kept current since.")
    card = (made.folder / "README.md").read_text()
    assert f"- {attribution}\n" in card
    assert "paper store, 42 papers and files" in card
    assert str(tmp_path) not in card + (made.folder / "manifest.json").read_text()


def test_a_folder_of_ones_own_gives_the_same_from_a_store(tmp_path: Path):
    """Bundles, PubMed's files with their deletions, archives: as the folder gives them; what it loses is dropped."""
    own = tmp_path / "own"
    (own / "deep").mkdir(parents=True)
    for number in range(1, 8):
        (own / f"{number}.nxml").write_bytes(invented_article(number, paragraphs=1))
    bundle = b"".join(
        invented_article(number, paragraphs=1).partition(b'.dtd">\n')[2] for number in range(8, 12)
    )
    (own / "deep" / "bundle.xml").write_bytes(b"<articles>" + bundle + b"</articles>")
    (own / "pubmed26n0001.xml").write_text(pubmed(501, 502, 503))
    (own / "pubmed26n0002.xml").write_text(pubmed(504, deleted=(502,)))
    store = tmp_path / "store"
    fetch_papers(store, str(own), Selection(), Fetching(), Silent())
    made, plain = build(store, out=tmp_path / "made"), build(own, out=tmp_path / "plain")
    assert passages(made) == passages(plain)
    assert made.manifest["counts"] == plain.manifest["counts"]
    assert dropped(made) == {"deleted": 1}
    assert "Papers from own" in made.manifest["sources"][0]["attribution"][0]

    for name in ("1.nxml", "deep/bundle.xml", "pubmed26n0002.xml"):
        (own / name).unlink()
    fetch_papers(store, str(own), Selection(), Fetching(), Silent())
    fewer, plain = build(store, out=tmp_path / "fewer"), build(own, out=tmp_path / "plain-fewer")
    assert passages(fewer) == passages(
        plain
    )  # nor does a list of deletions that is withdrawn delete anything
    assert dropped(fewer) == {"deleted": 2 + 8 + 1}


def pubmed(*numbers: int, deleted: tuple[int, ...] = ()) -> str:
    texts = {
        number: invented_article(number, paragraphs=1).decode().partition("<abstract><p>")[2]
        for number in numbers
    }
    records = "".join(
        f'<PubmedArticle><MedlineCitation Status="MEDLINE"><PMID Version="1">{number}</PMID><Article><Journal><Title>J'
        f"</Title></Journal><ArticleTitle>Paper {number}.</ArticleTitle><Abstract><AbstractText>"
        f"{text.partition('</p>')[0]}</AbstractText></Abstract><Language>eng</Language></Article></MedlineCitation>"
        "</PubmedArticle>"
        for number, text in texts.items()
    )
    gone = "".join(f'<PMID Version="1">{number}</PMID>' for number in deleted)
    return (
        f"<PubmedArticleSet>{records}<DeleteCitation>{gone}</DeleteCitation></PubmedArticleSet>"
        if gone
        else (f"<PubmedArticleSet>{records}</PubmedArticleSet>")
    )


# The whole way, with the commands


def run_without_ray(*words: str | Path) -> None:
    code = "import sys; sys.modules['ray'] = None; from biolm.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def run(*words: str | Path) -> None:
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output + repr(done.exception)


def test_a_fetch_leads_to_a_pretraining_step(tmp_path: Path, replica: Replica, url: str, tiny_roberta: Path):
    store, corpus, tokens, out = (tmp_path / name for name in ("store", "corpus", "tokens", "run"))
    run_without_ray("papers", "fetch", "--all", "--endpoint", f"{url}/{replica.bucket}", "--out", store)
    run_without_ray("corpus", "build", store, "--out", corpus, "--split", "70/10/20")
    run("tokenize", corpus, "--tokenizer", tiny_roberta, "--out", tokens)
    run(
        *("pretrain", tokens, "--base", tiny_roberta, "--out", out, "--max-steps", "1"),
        *("--examples-per-step", "8", "--evaluate-split", "none"),
    )
    assert (out / "model" / "model.safetensors").is_file()
    steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert max(step["step"] for step in steps) == 1


@pytest.fixture(scope="module")
def real(shared: Path) -> dict[str, bytes]:
    return real_articles(shared)


@pytest.mark.slow
def test_two_thousand_real_articles_give_every_legend_that_their_folder_gives(real, tmp_path: Path):
    replica = Replica(keep_log=False)
    plain = tmp_path / "plain"
    plain.mkdir()
    for name, xml in real.items():
        replica.put_article(name, xml)
        (plain / f"{name}.xml").write_bytes(xml)
    replica.take_inventory("2026-11-25")
    with serving(replica) as url:
        outcome = fetch(tmp_path / "store", url)
    assert outcome.counts == {"new": len(real)}
    settings = {"near_duplicates": None, "detect_language": False}
    corpora = []
    for source in (tmp_path / "store", plain):
        made = tmp_path / f"corpus-{source.name}"
        build_corpus([source], made, config(**settings), Silent(), Running(workers=2))
        corpora.append(open_corpus(made))
    for corpus in corpora:
        counts = corpus.manifest["counts"]
        assert counts["articles_read"] == len(real)
        assert counts["passages_found"] == counts["passages_kept"] + sum(counts["dropped"].values())
    ours, theirs = (
        Counter((row["title"], row["section"], row["label"], row["text"]) for row in passages(corpus))
        for corpus in corpora
    )
    assert ours == theirs
    assert sum(section == "figure_legend" for _, section, *_ in ours) > 5000
