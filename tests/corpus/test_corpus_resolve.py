"""What becomes of a paper's passages: joined, replaced, withdrawn, filtered, kept once."""

import random
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
import pytest
from corpus_papers import WORDS, article, corpus_of, dropped, prose, records, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm.corpus.config import CorpusConfig
from biolm.corpus.reader import DROPPED
from biolm.errors import ConfigError
from biolm.licences import allows
from biolm.records import Abstract, Article, Deletion, Figure, Unreadable
from biolm.sources.ids import plain_pmcid

LONG = "A sentence that is long enough to be kept, since it has more than eighty characters in it."


def pubmed(number: int, **fields: object) -> Article:
    return article(number, **({"form": "pubmed"} | fields))


def abstract(text: str, **fields: object) -> dict:
    return {"abstracts": (Abstract(text=text, **fields),)}


def texts(corpus) -> list[str]:
    return [row["text"] for row in rows_of(corpus)]


@given(st.lists(records, min_size=1, max_size=3), st.integers(1, 40), st.sampled_from([None, 40, 50]))
@settings(max_examples=25, deadline=None)
def test_found_is_kept_plus_dropped(shards: list[list[Article | Unreadable]], least: int, most: int | None):
    shards = [[article(9), *shards[0]], *shards[1:]]
    with TemporaryDirectory() as folder:
        corpus = corpus_of(Path(folder), *shards, min_chars=least, max_chars=None if most is None else 400)
        facts = corpus.manifest["counts"]
        rows = rows_of(corpus)
        gone = pq.read_table(corpus.folder / DROPPED).to_pylist()
    stream = [record for shard in shards for record in shard]
    articles = [record for record in stream if isinstance(record, Article)]
    assert facts["articles_read"] == len(articles)
    assert facts["articles_failed"] == len(stream) - len(articles)
    assert facts["passages_found"] == sum(len(a.abstracts) + len(a.figures) for a in articles)
    assert facts["passages_found"] == facts["passages_kept"] + sum(facts["dropped"].values())
    assert facts["passages_kept"] == len(rows)
    assert sum(row["section"] is not None for row in gone) == sum(facts["dropped"].values())
    assert len({row["text"].casefold() for row in rows}) == len(rows)


@given(st.lists(records, min_size=1, max_size=4), st.randoms())
@settings(max_examples=25, deadline=None)
def test_the_cut_into_shards_changes_no_byte(shards: list[list[Article | Unreadable]], chance: random.Random):
    stream = [article(9), *(record for shard in shards for record in shard)]
    cuts = sorted(chance.randrange(len(stream) + 1) for _ in range(3))
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        whole = corpus_of(Path(one), stream, min_chars=20, passages_per_file=5)
        cut = corpus_of(Path(other), *parts, min_chars=20, passages_per_file=5)
        assert whole.fingerprint == cut.fingerprint
        assert whole.manifest["counts"] == cut.manifest["counts"]


def test_title_and_caption_of_a_figure_are_one_text_and_the_label_is_apart(tmp_path: Path):
    figure = Figure(label="Figure 2", title="Kinase activity.", caption=LONG, rights="© 2017 Wiley")
    (row,) = rows_of(corpus_of(tmp_path, [article(abstracts=(), figures=(figure,), types=("review",))]))
    assert (row["text"], row["label"], row["section"]) == (
        f"Kinase activity. {LONG}",
        "Figure 2",
        "figure_legend",
    )
    assert (row["rights"], row["article_type"], row["kind"]) == ("© 2017 Wiley", "review", None)


def test_each_drop_has_its_reason(tmp_path: Path):
    figures = (
        *(Figure(label="Fig. 1"), Figure(title="Short."), Figure(caption=LONG), Figure(caption=LONG.upper())),
        Figure(caption="1.0 2.0 3.0 4.0 5.0 " * 5),
        Figure(caption="Este corrige. This article corrects the article " + LONG),
        Figure(caption="This article has been retracted at the request of " + LONG),
    )
    corpus = corpus_of(tmp_path, [article(abstracts=(), figures=figures)], max_chars=150)
    found = {"no_text": 1, "too_short": 1, "duplicate": 1, "symbols": 1, "boilerplate": 1}
    assert dropped(corpus) == found


def test_the_limits_are_inclusive(tmp_path: Path):
    paper = article(**abstract("x" * 80))
    assert texts(corpus_of(tmp_path, [paper], min_chars=80, max_chars=80)) == ["x" * 80]


def test_other_abstracts_come_by_type(tmp_path: Path):
    abstracts = (
        Abstract(text=LONG),
        Abstract(text=f"Graphical. {prose(1)}", kind="graphical"),
        Abstract(text=f"Plain. {prose(2)}", kind="plain-language-summary"),
    )
    paper = article(abstracts=abstracts)
    assert texts(corpus_of(tmp_path / "main", [paper])) == [LONG]
    corpus = corpus_of(tmp_path / "one", [paper], abstracts=("graphical",))
    assert [(row["kind"], row["text"][:9]) for row in rows_of(corpus)] == [
        (None, "A sentenc"),
        ("graphical", "Graphical"),
    ]
    assert len(texts(corpus_of(tmp_path / "all", [paper], abstracts=("all",)))) == 3


def test_a_papers_abstract_comes_from_its_jats_and_its_ids_from_all_its_records(tmp_path: Path):
    ids = {"pmid": "7", "doi": "10.1/x"}
    record = pubmed(7, **ids, **abstract(f"As PubMed has it. {prose(1)}"))
    paper = article(
        7,
        pmid=None,
        pmcid="PMC7",
        doi="10.1/x",
        licence="CC-BY-4.0",
        **abstract(f"As JATS has it. {prose(2)}"),
    )
    for name, shards in {"one": [[record, paper]], "other": [[paper], [record]]}.items():
        corpus = corpus_of(tmp_path / name, *shards)
        (row,) = rows_of(corpus)
        assert row["text"].startswith("As JATS")
        assert (row["document"], row["pmid"], row["pmcid"]) == ("doi:10.1/x", "7", "PMC7")
        assert dropped(corpus) == {"other_record": 1}


def test_pubmed_gives_the_abstract_where_jats_has_none_under_the_papers_licence(tmp_path: Path):
    record = pubmed(7, doi="10.1/x")
    paper = article(7, doi="10.1/x", abstracts=(), figures=(Figure(caption=LONG),), licence="CC-BY-4.0")
    rows = rows_of(corpus_of(tmp_path, [record, paper], licence="by"))
    assert {(row["section"], row["licence"]) for row in rows} == {
        ("abstract", "CC-BY-4.0"),
        ("figure_legend", "CC-BY-4.0"),
    }


def test_an_abstract_that_was_too_short_does_not_hide_the_other_records(tmp_path: Path):
    first = article(1, **abstract("Short."))
    second = pubmed(1, **abstract(LONG))
    assert texts(corpus_of(tmp_path, [first, second])) == [LONG]


def test_a_paper_that_joins_two_that_came_before_makes_them_one(tmp_path: Path):
    first = article(1, pmid="1", doi=None, abstracts=(), figures=(Figure(caption=prose(1)),))
    second = article(2, pmid=None, pmcid="PMC2", doi=None, abstracts=(), figures=(Figure(caption=prose(2)),))
    bridge = article(3, pmid="1", pmcid="PMC2", doi="10.1/b")
    (document,) = {row["document"] for row in rows_of(corpus_of(tmp_path, [first, second], [bridge]))}
    assert document == "doi:10.1/b"


def test_the_newest_version_of_a_pmid_wins_wherever_it_stands(tmp_path: Path):
    def version(number: int, revised: int, source: str) -> Article:
        text = f"Version {number} of {revised} in {source[:14]}. {LONG}"
        return pubmed(5, version=number, revised=revised, source=source, **abstract(text))

    stream = [
        version(2, 20200101, "pubmed20n0009.xml.gz#5"),
        version(1, 20210101, "pubmed21n0009.xml.gz#5"),
        version(2, 20200301, "pubmed20n0001.xml.gz#5"),
        version(2, 20200301, "pubmed20n0003.xml.gz#5"),
    ]
    for name, order in {"one": stream, "other": stream[::-1]}.items():
        corpus = corpus_of(tmp_path / name, order)
        assert [text[:38] for text in texts(corpus)] == ["Version 2 of 20200101 in pubmed20n0009"]
        assert dropped(corpus) == {"older_version": 3}


def test_a_withdrawn_pmid_goes_unless_a_later_file_brings_it_again(tmp_path: Path):
    stream = [
        pubmed(1, source="pubmed20n0001.xml.gz#1"),
        pubmed(2, source="pubmed20n0001.xml.gz#2"),
        pubmed(3, source="pubmed20n0001.xml.gz#3"),
        Deletion(source="pubmed20n0005.xml.gz", pmids=("1", "2")),
        pubmed(2, source="pubmed20n0006.xml.gz#2"),
    ]
    corpus = corpus_of(tmp_path, stream)
    assert [row["pmid"] for row in rows_of(corpus)] == ["3", "2"]
    assert dropped(corpus) == {"deleted": 2}


def test_the_published_article_goes_before_the_manuscript_of_a_higher_version(tmp_path: Path):
    ids = {"pmid": None, "pmcid": "PMC1"}
    manuscript = article(1, **ids, version=2, manuscript=True, **abstract(f"Manuscript. {prose(1)}"))
    published = article(1, **ids, version=1, **abstract(f"Published. {prose(2)}"))
    assert texts(corpus_of(tmp_path, [manuscript, published]))[0].startswith("Published.")


def test_a_retracted_paper_goes_whoever_says_so(tmp_path: Path):
    itself = pubmed(1, retracted=True)
    other_record = article(1, figures=(Figure(caption=LONG),))
    noticed = article(2, doi="10.1/two")
    notice = pubmed(3, types=("retraction-of-publication",), retracts=("doi:10.1/two", "pmid:999"))
    corpus = corpus_of(tmp_path / "a", [itself, other_record, noticed, notice, article(4)])
    assert [row["pmid"] for row in rows_of(corpus)] == ["4"]
    assert dropped(corpus) == {"retracted": 4, "article_type": 1}
    kept = corpus_of(tmp_path / "b", [itself, other_record, noticed, article(4)], retracted=True)
    assert {row["pmid"] for row in rows_of(kept)} == {"1", "2", "4"}


@pytest.mark.parametrize(
    ("licence", "commercial", "by"),
    [
        ("CC-BY-4.0", True, True),
        ("CC-BY", True, True),
        ("CC-BY-3.0-IGO", True, True),
        ("CC0-1.0", True, True),
        ("CC-PDM-1.0", True, True),
        ("CC-BY-SA-4.0", True, False),
        ("CC-BY-ND-4.0", True, False),
        ("CC-BY-NC-4.0", False, False),
        ("CC-BY-NC-ND-4.0", False, False),
        ("LicenseRef-TDM", False, False),
        ("unknown", False, False),
    ],
)
def test_which_licences_pass(licence: str, commercial: bool, by: bool):
    assert allows(licence, "any")
    assert allows(licence, "commercial") == commercial
    assert allows(licence, "by") == by


def test_article_types_are_chosen_or_left_out(tmp_path: Path):
    stream = [
        article(1, types=("research-article",)),
        article(2, types=("review-article",)),
        article(3, types=("correction",)),
        article(4),
    ]
    assert [row["pmid"] for row in rows_of(corpus_of(tmp_path / "a", stream))] == ["1", "2", "4"]
    only = corpus_of(tmp_path / "b", stream, article_types=("research-article",))
    assert [row["pmid"] for row in rows_of(only)] == ["1"]
    assert dropped(only) == {"article_type": 3}


def test_a_stated_language_is_a_filter(tmp_path: Path):
    stream = [
        article(1, language="en-GB"),
        article(2, language="de"),
        article(3, language="de", **abstract(LONG, language="en")),
        article(4),
    ]
    assert [row["pmid"] for row in rows_of(corpus_of(tmp_path / "a", stream))] == ["1", "3", "4"]
    assert len(rows_of(corpus_of(tmp_path / "b", stream, languages=None))) == 4


def test_a_held_out_paper_enters_by_none_of_its_ids_and_in_no_copy(tmp_path: Path):
    text = prose(5, words=120)
    held = article(5, doi="10.1/held", pmcid="PMC5", **abstract(text))
    copy = article(6, **abstract(text.replace("cells", "cell", 1)))
    same = article(7, **abstract(text))
    corpus = corpus_of(tmp_path, [copy, same, held, article(8)], hold_out=("pmcid:PMC5",))
    assert [row["pmid"] for row in rows_of(corpus)] == ["8"]
    assert dropped(corpus) == {"held_out": 3}


@pytest.mark.parametrize("near", [None, 0.8])
def test_a_held_out_text_is_held_out_of_other_papers_though_a_filter_drops_its_own(
    tmp_path: Path, near: float | None
):
    words = " ".join(f"{WORDS[n % len(WORDS)]}{n}" for n in range(200))
    copy = words if near is None else words.replace("50 ", "x ")
    papers = [
        article(1, abstracts=(Abstract(text=words),), licence="CC-BY-NC-4.0"),
        article(2, abstracts=(Abstract(text=copy),), licence="CC-BY-4.0"),
        article(3, licence="CC-BY-4.0"),
    ]
    corpus = corpus_of(tmp_path, papers, hold_out=("pmid:1",), licence="by", near_duplicates=near)
    assert [row["pmid"] for row in rows_of(corpus)] == ["3"]
    reasons = {
        row["pmid"]: row["reason"] for row in pq.read_table(corpus.folder / "dropped.parquet").to_pylist()
    }
    assert reasons == {"1": "licence", "2": "held_out"}


@pytest.mark.parametrize("wanted", ["en", "EN", "en-GB", "eng"])
@pytest.mark.parametrize("stated", ["en", "eng", "EN-us", "en_GB"])
def test_a_language_is_the_same_however_it_is_written(tmp_path: Path, wanted: str, stated: str):
    papers = [article(1, language=stated), article(2, language="ger")]
    assert [row["pmid"] for row in rows_of(corpus_of(tmp_path, papers, languages=(wanted,)))] == ["1"]


def test_of_two_versions_of_a_preprint_the_newer_counts(tmp_path: Path):
    papers = [
        article(1, pmid=None, doi="10.1101/1", version=number, **abstract(f"Version {number}. {LONG}"))
        for number in (1, 2)
    ]
    assert texts(corpus_of(tmp_path, papers)) == [f"Version 2. {LONG}"]


def test_the_last_of_pubmeds_files_counts_whatever_its_dates(tmp_path: Path):
    papers = [
        pubmed(1, source="pubmed21n0001.xml#1", revised=20210101, **abstract(f"Old text. {LONG}")),
        pubmed(1, source="pubmed21n0002.xml#1", **abstract(f"New text. {LONG}")),
    ]
    assert texts(corpus_of(tmp_path, papers)) == [f"New text. {LONG}"]


def test_papers_without_a_real_pmcid_are_apart(tmp_path: Path):
    assert plain_pmcid("0") is None
    assert plain_pmcid("PMC0123.2") == "PMC123"


def test_the_newest_file_counts_in_a_folder_with_any_name(tmp_path: Path):
    papers = [
        pubmed(1, source="s#1/pubmed21n0001.xml#1", **abstract(f"Old text. {LONG}")),
        pubmed(1, source="s#1/pubmed21n0002.xml#1", **abstract(f"New text. {LONG}")),
    ]
    assert texts(corpus_of(tmp_path, papers)) == [f"New text. {LONG}"]


def test_a_notice_may_name_a_doi_with_any_sign(tmp_path: Path):
    papers = [
        article(1, doi="10.1234/a|b"),
        article(2, retracts=("doi:10.1234/a|b", "pmid:9")),
        article(9),
        article(3),
    ]
    assert [row["pmid"] for row in rows_of(corpus_of(tmp_path, papers))] == ["2", "3"]


def test_nearly_the_same_text_is_kept_once_and_the_drop_says_for_which(tmp_path: Path):
    text = prose(5, words=200)
    words = text.split()
    changed = " ".join([*words[:50], "another", *words[51:]])
    different = " ".join(random.Random(1).sample(words, len(words)))
    stream = [article(n, **abstract(t)) for n, t in enumerate((text, changed, different), 1)]
    corpus = corpus_of(tmp_path / "a", stream)
    assert [row["pmid"] for row in rows_of(corpus)] == ["1", "3"]
    (gone,) = pq.read_table(corpus.folder / DROPPED).to_pylist()
    assert (gone["reason"], gone["pmid"], gone["instead"]) == ("near_duplicate", "2", "pmid:1")
    assert len(rows_of(corpus_of(tmp_path / "b", stream, near_duplicates=None))) == 3
    assert len(rows_of(corpus_of(tmp_path / "c", stream, near_duplicates=1.0))) == 3


def test_legends_of_one_paper_may_be_nearly_alike(tmp_path: Path):
    text = prose(5, words=100)
    figures = (Figure(caption=f"Wild type. {text}"), Figure(caption=f"Mutant. {text}"))
    assert len(rows_of(corpus_of(tmp_path, [article(1, abstracts=(), figures=figures)]))) == 2


def test_supplementary_legends_are_a_section_of_their_own(tmp_path: Path):
    figures = (Figure(caption=LONG, supplementary=True, label="Video 1"),)
    corpus = corpus_of(tmp_path, [article(1, figures=figures)])
    assert {row["section"] for row in rows_of(corpus)} == {"abstract", "supplementary_legend"}
    assert corpus.manifest["splits"]["train"]["sections"]["supplementary_legend"]["passages"] == 1


def test_a_record_without_passages_is_among_the_dropped(tmp_path: Path):
    corpus = corpus_of(tmp_path, [article(1), replace(article(2), abstracts=())])
    (gone,) = pq.read_table(corpus.folder / DROPPED).to_pylist()
    assert (gone["section"], gone["reason"], gone["pmid"]) == (None, "no_text", "2")
    assert corpus.manifest["counts"]["passages_found"] == 1


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"pmcid": "PMC7", "doi": "10.1/x"}, "doi:10.1/x"),
        ({"pmcid": "PMC7"}, "pmid:1"),
        ({"pmid": None, "pmcid": "PMC7"}, "pmcid:PMC7"),
        ({"pmid": None}, f"sha256:{article().content_hash}"),
    ],
)
def test_a_paper_is_named_by_its_best_id(tmp_path: Path, fields: dict[str, str], name: str):
    (row,) = rows_of(corpus_of(tmp_path, [article(**fields)]))
    assert row["document"] == name


@pytest.mark.parametrize(
    "setting",
    [
        {"min_chars": 0},
        {"min_chars": 80, "max_chars": 79},
        {"passages_per_file": 0},
        {"min_letters": 2},
        {"near_duplicates": 0.1},
        {"languages": ()},
        {"languages": ("any",)},
        {"languages": ("english",)},
    ],
)
def test_an_impossible_setting_is_refused(setting: dict):
    with pytest.raises(ConfigError):
        CorpusConfig(**setting)
