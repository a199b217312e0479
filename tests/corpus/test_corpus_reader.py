import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from corpus_papers import article, corpus_of, prose, rows_of, write_pubmed

from biolm.artifacts import read_manifest, verify_files, write_manifest
from biolm.cli import app
from biolm.corpus.build import Running
from biolm.corpus.card import hub_languages, hub_licences
from biolm.corpus.config import config_of
from biolm.corpus.explain import explain
from biolm.corpus.reader import KIND, VERSION, Corpus, open_corpus
from biolm.corpus.show import corpus_facts
from biolm.corpus.update import update_corpus
from biolm.errors import ArtifactError
from biolm.progress import Silent
from biolm.records import Figure


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    stream = [
        article(
            n,
            journal=f"J{n % 3}",
            year=2000 + n % 2,
            figures=(Figure(label="Figure 1", caption=prose(1000 + n)),),
        )
        for n in range(1, 41)
    ]
    return corpus_of(tmp_path, stream, passages_per_file=30)


def test_batches_bring_every_passage_once_in_order(corpus: Corpus):
    batches = list(corpus.iter_batches("train", ["pmid", "section"], batch_rows=7))
    assert max(batch.num_rows for batch in batches) <= 7
    rows = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
    assert rows == [(str(n), section) for n in range(1, 41) for section in ("abstract", "figure_legend")]
    assert corpus.passages == 80
    assert corpus.splits == ("train",)


def test_a_split_without_passages_is_named(corpus: Corpus):
    with pytest.raises(ArtifactError, match=r"no passages in test; it has train, and .* --split"):
        next(corpus.iter_batches("test"))


def test_an_unknown_column_is_named(corpus: Corpus):
    with pytest.raises(ArtifactError, match=r"has no column author; it has text, section"):
        next(corpus.iter_batches("train", ["author"]))


def test_a_damaged_file_is_one_line_with_the_command_to_build_again(corpus: Corpus):
    path = corpus.files("train")[0]
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(ArtifactError, match=r"is damaged .* build it again with `biolm corpus build x`"):
        list(open_corpus(corpus.folder).iter_batches("train"))


def test_opening_anything_else_says_how_to_build(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"make it with `biolm corpus build SOURCE... --out"):
        open_corpus(tmp_path)


def test_the_fingerprint_follows_texts_and_settings_not_wording(tmp_path: Path):
    one = corpus_of(tmp_path / "one", [article(1), article(2)])
    same = corpus_of(tmp_path / "same", [article(1), article(2)])
    (same.folder / "README.md").write_text("Another card.")
    facts = read_manifest(one.folder, kind=KIND, version=VERSION, rebuild="")
    for name in ("kind", "version", "biolm", "files"):
        del facts[name]
    write_manifest(same.folder, kind=KIND, version=VERSION, **facts)
    assert open_corpus(same.folder).fingerprint == one.fingerprint
    assert corpus_of(tmp_path / "text", [article(1), article(3)]).fingerprint != one.fingerprint
    assert corpus_of(tmp_path / "set", [article(1), article(2)], min_chars=81).fingerprint != one.fingerprint


def test_facts_for_show_agree_with_the_passages(corpus: Corpus):
    facts = corpus_facts(corpus)
    assert facts["journals"] == {"different": 3, "top": {"J1": 28, "J0": 26, "J2": 26}}
    assert facts["years"] == {"2000": 40, "2001": 40}
    lengths = sorted(len(article(n).abstracts[0].text) for n in range(1, 41))
    assert facts["characters"]["abstract"]["0.5"] == lengths[19]
    assert sum(facts["histogram"]["abstract"].values()) == 40
    assert facts["histogram"]["abstract"]["0–99"] == sum(length < 100 for length in lengths)
    assert [example["section"] for example in facts["examples"]].count("figure_legend") == 1
    assert len(facts["examples"]) == 3
    other = corpus_facts(corpus, examples=6, seed=1)["examples"]
    assert len({example["text"] for example in other}) == 6
    assert other == corpus_facts(corpus, examples=6, seed=1)["examples"]
    assert other != corpus_facts(corpus, examples=6, seed=2)["examples"]


def test_examples_of_one_section_stand_in_for_those_of_another(tmp_path: Path):
    figures = tuple(Figure(caption=f"Legend {n} of the paper. " * 9) for n in range(5))
    corpus = corpus_of(tmp_path, [article(1, abstracts=(), figures=figures, journal=None, year=None)])
    assert len(corpus_facts(corpus)["examples"]) == 3
    assert len(corpus_facts(corpus, examples=9)["examples"]) == 5
    shown = CliRunner().invoke(app, ["corpus", "show", str(corpus.folder)]).stdout
    assert "Years" not in shown


def test_a_manifest_without_its_keys_is_one_line(corpus: Corpus, tmp_path: Path):
    shutil.copytree(corpus.folder, tmp_path / "copy")
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_text("utf-8"))
    del manifest["settings"]
    (tmp_path / "copy" / "manifest.json").write_text(json.dumps(manifest | {"splits": 3}))
    with pytest.raises(
        ArtifactError, match="its manifest says nothing of splits, settings; make it again with"
    ):
        open_corpus(tmp_path / "copy")


def test_legends_of_supplements_have_a_column_where_there_are_any(corpus: Corpus, tmp_path: Path):
    def headings(of: Corpus) -> str:
        shown = CliRunner().invoke(app, ["corpus", "show", str(of.folder)])
        return next(line for line in shown.stdout.splitlines() if "abstracts" in line)

    film = Figure(label="Movie 1", caption=prose(7), supplementary=True)
    with_films = corpus_of(tmp_path / "films", [article(1, figures=(film,))])
    assert headings(corpus).split() == ["split", "papers", "passages", "abstracts", "legends", "characters"]
    assert headings(with_films).split()[3:] == ["abstracts", "legends", "supplements", "characters"]


def test_facts_of_a_single_passage(tmp_path: Path):
    facts = corpus_facts(corpus_of(tmp_path, [article(1)]))
    assert [example["document"] for example in facts["examples"]] == ["pmid:1"]


def test_the_card_states_metadata_for_the_hub(corpus: Corpus):
    card = (corpus.folder / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["task_categories"] == ["fill-mask"]
    assert metadata["license"] == ["unknown"]
    assert metadata["size_categories"] == ["n<1K"]
    assert metadata["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "train-*.parquet"}]}
    ]


def test_the_card_warns_of_texts_without_licence(tmp_path: Path, corpus: Corpus):
    assert "80 passages have no stated licence" in (corpus.folder / "README.md").read_text()
    free = corpus_of(tmp_path / "free", [article(1, licence="CC-BY-4.0")])
    assert "no stated licence" not in (free.folder / "README.md").read_text()


def test_licences_and_languages_are_named_as_the_hub_names_them():
    assert hub_licences(["CC-BY-4.0", "CC-BY", "unknown", "CC0-1.0", "CC-BY-9.9"]) == [
        "cc",
        "cc-by-4.0",
        "cc0-1.0",
        "other",
        "unknown",
    ]
    assert hub_languages(["en", "en-GB", "de", "unknown", "afr"]) == ["afr", "de", "en"]


def test_a_corpus_of_format_1_is_read_forever():
    """`corpus-v1` was written when the format was new; never rebuild it to make this test pass."""
    corpus = open_corpus(Path(__file__).parent / "corpus-v1")
    assert verify_files(corpus.folder, corpus.manifest) == []
    assert corpus.fingerprint == "d77dad2b902a3bac665c1eda8cb97acf8f0e136e705d5941c4e36cc01a001298"
    rows = [
        row for split in corpus.splits for batch in corpus.iter_batches(split) for row in batch.to_pylist()
    ]
    (legend,) = [row for row in rows if row["document"] == "pmcid:PMC3" and row["label"]]
    assert legend == {
        "text": f"Binding. {prose(103)}",
        "section": "figure_legend",
        "label": "Figure 1",
        "title": "Paper 3",
        "document": "pmcid:PMC3",
        "pmid": "3",
        "pmcid": "PMC3",
        "doi": "10.1000/3",
        "journal": "Journal of Tests",
        "year": 2020,
        "licence": "CC-BY-4.0",
        "language": "en",
        "source": "papers.xml",
    }
    (bare,) = [row for row in rows if row["document"].startswith("sha256:")]
    assert [name for name, value in bare.items() if value is None] == [
        "pmid",
        "pmcid",
        "doi",
        "journal",
        "year",
        "language",
    ]


def test_a_corpus_of_format_2_is_read_forever():
    """`corpus-v2` was written out of `corpus-v2-papers`, which nobody published, on the day of its format's last
    change; never rebuild it to make this test pass."""
    corpus = open_corpus(Path(__file__).parent / "corpus-v2")
    assert corpus.manifest["version"] == 2
    assert verify_files(corpus.folder, corpus.manifest) == []
    assert corpus.fingerprint == "22833bf00a58147392e18262ad37d36900dedecb4dc59e003b6aeaace07f9726"
    assert corpus.splits == ("train", "validation", "test")
    assert corpus.columns == (
        *("text", "section", "label", "title", "document", "pmid", "pmcid", "doi", "journal", "year"),
        *("licence", "language", "source", "kind", "article_type", "rights"),
    )
    rows = rows_of(corpus)
    assert [(row["document"][:16], row["section"]) for row in rows] == [
        ("sha256:7c4b2b198", "abstract"),
        ("pmid:90000003", "abstract"),
        ("doi:10.5555/inve", "abstract"),
        ("doi:10.5555/inve", "figure_legend"),
        ("doi:10.5555/inve", "figure_legend"),
        ("doi:10.5555/inve", "supplementary_legend"),
        ("pmcid:PMC9990000", "abstract"),
        ("pmcid:PMC9990000", "figure_legend"),
    ]
    assert rows[2]["text"].startswith(
        "Background: The invented kinase TST1 was looked for in 10^6 cells of a"
    )
    assert rows[4] == {
        "text": "Structure of the kinase, drawn after another drawing that an artist has lent us for this test.",
        "section": "figure_legend",
        "label": "Figure 2",
        "title": "A kinase that only exists in tests",
        "document": "doi:10.5555/invented.1",
        "pmid": "90000001",
        "pmcid": "PMC99900001",
        "doi": "10.5555/invented.1",
        "journal": "Journal of Invented Cells",
        "year": 2024,
        "licence": "CC-BY-4.0",
        "language": "en",
        "source": "corpus-v2-papers/PMC99900001.xml",
        "kind": None,
        "article_type": "research-article",
        "rights": "Drawing by A. N. Artist, used with permission.",
    }


def test_a_corpus_of_format_2_is_shown_explained_and_updated_forever(tmp_path: Path):
    """Its settings are understood; its extracts are of other code, so that its papers have to be given again."""
    corpus = open_corpus(Path(__file__).parent / "corpus-v2")
    facts = corpus_facts(corpus)
    assert facts["counts"]["passages_kept"] == 8
    assert {reason: count for reason, count in facts["counts"]["dropped"].items() if count} == {
        "retracted": 1,
        "other_abstract": 1,
        "too_short": 1,
        "other_record": 1,
    }
    assert [row["outcome"] for row in explain(corpus, "90000001")] == [
        *("kept", "kept", "kept", "kept"),
        *("other_abstract", "too_short", "other_record"),
    ]
    assert [row["outcome"] for row in explain(corpus, "90000005")] == ["no_text"]
    report = json.loads((corpus.folder / "report.json").read_text())
    assert [failed["source"] for failed in report["unreadable"]] == ["corpus-v2-papers/broken.xml"]
    config = config_of(corpus.manifest["settings"])
    assert (str(config.shares), config.text.supplementary, config.min_chars) == ("2/1/1", True, 80)
    running = Running(workers=1, work=str(tmp_path / "work"))
    more = write_pubmed(tmp_path / "more.xml", range(1, 4))
    with pytest.raises(
        ArtifactError, match=r"give .* again.* corpus-v2-papers|are not in .*; give that source"
    ):
        update_corpus(corpus.folder, [more], tmp_path / "new", Silent(), running)
    papers = corpus.folder.with_name("corpus-v2-papers")
    update_corpus(corpus.folder, [papers, more], tmp_path / "new", Silent(), running)
    splits = {
        row["document"]: split
        for split in ("train", "validation", "test")
        for batch in corpus.iter_batches(split)
        for row in batch.to_pylist()
    }
    new = open_corpus(tmp_path / "new")
    for split in new.splits:
        for batch in new.iter_batches(split):
            assert {splits.get(name, split) for name in batch["document"].to_pylist()} == {split}
    assert new.manifest["splits"]["test"]["sections"]["supplementary_legend"]["passages"] == 1
