from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from corpus_papers import article, records
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm.corpus.build import CorpusConfig, write_passages
from biolm.corpus.documents import Documents
from biolm.corpus.hashes import HashTable, hash64
from biolm.corpus.passages import Sieve
from biolm.errors import ConfigError
from biolm.progress import Silent
from biolm.records import Abstract, Article, Figure, Passage, Unreadable

LONG = "A sentence that is long enough to be kept, since it has more than eighty characters in it."


def sift(*articles: Article, min_chars: int = 80, max_chars: int | None = None) -> list[Passage | str]:
    sieve = Sieve(min_chars=min_chars, max_chars=max_chars)
    return [found for paper in articles for found in sieve.sift(paper, f"pmid:{paper.pmid}")]


def texts(found: list[Passage | str]) -> list[str]:
    return [passage.text if isinstance(passage, Passage) else passage for passage in found]


@given(records, st.integers(1, 40), st.sampled_from([None, 40, 50]))
@settings(max_examples=60, deadline=None)
def test_found_is_kept_plus_dropped(stream: list[Article | Unreadable], least: int, most: int | None):
    config = CorpusConfig(min_chars=least, max_chars=most, passages_per_file=4)
    with TemporaryDirectory() as folder:
        counts = write_passages(stream, Path(folder), config, Silent())
    facts = counts.facts()["counts"]
    articles = [record for record in stream if isinstance(record, Article)]
    assert facts["articles_read"] == len(articles)
    assert facts["articles_failed"] == len(stream) - len(articles)
    assert facts["passages_found"] == sum(len(a.abstracts) + len(a.figures) for a in articles)
    assert facts["passages_found"] == facts["passages_kept"] + sum(facts["dropped"].values())


def test_title_and_caption_of_a_figure_are_one_text_and_the_label_is_apart():
    figure = Figure(label="Figure 2", title="Kinase activity.", caption=LONG)
    (passage,) = sift(article(abstracts=(), figures=(figure,)))
    assert (passage.text, passage.label, passage.section) == (
        f"Kinase activity. {LONG}",
        "Figure 2",
        "figure_legend",
    )


def test_only_the_main_abstract_is_kept():
    abstracts = (Abstract(text=LONG), Abstract(text=LONG, kind="graphical"))
    assert texts(sift(article(abstracts=abstracts))) == [LONG, "other_abstract"]


def test_each_drop_has_its_reason():
    figures = (Figure(label="Fig. 1"), Figure(title="Short."), Figure(caption=LONG), Figure(caption=LONG))
    assert texts(sift(article(abstracts=(), figures=figures))) == ["no_text", "too_short", LONG, "duplicate"]
    assert texts(sift(article(abstracts=(Abstract(text=LONG),)), max_chars=80)) == ["too_long"]


def test_the_limits_are_inclusive():
    paper = article(abstracts=(Abstract(text="x" * 80),))
    assert texts(sift(paper, min_chars=80, max_chars=80)) == ["x" * 80]


def test_a_second_source_of_a_paper_adds_its_legends_but_not_its_abstract():
    first = article(abstracts=(Abstract(text=LONG),))
    second = article(abstracts=(Abstract(text=f"Other wording. {LONG}"),), figures=(Figure(caption=LONG),))
    assert texts(sift(first, second)) == [LONG, "duplicate", LONG]


def test_an_abstract_that_was_too_short_does_not_hide_the_next():
    first, second = article(abstracts=(Abstract(text="Short."),)), article(abstracts=(Abstract(text=LONG),))
    assert texts(sift(first, second)) == ["too_short", LONG]


def test_the_same_legend_in_two_papers_is_kept_twice():
    figures = (Figure(caption=LONG),)
    found = sift(article(1, abstracts=(), figures=figures), article(2, abstracts=(), figures=figures))
    assert texts(found) == [LONG, LONG]


def test_the_language_is_the_abstracts_before_the_articles():
    paper = article(language="de", abstracts=(Abstract(text=LONG, language="en"),))
    assert [passage.language for passage in sift(paper)] == ["en"]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"pmcid": "PMC7", "doi": "10.1/x"}, "pmcid:PMC7"),
        ({"doi": "10.1/x"}, "doi:10.1/x"),
        ({}, "pmid:1"),
        ({"pmid": None}, f"sha256:{article().content_hash}"),
    ],
)
def test_a_paper_is_named_by_its_best_id(fields: dict[str, str], name: str):
    documents = Documents()
    assert documents.name(documents.number_of(article(**fields))) == name


def test_articles_that_share_any_id_are_one_paper():
    documents = Documents()
    pubmed = documents.number_of(article(1, doi="10.1/x"))
    bundle = documents.number_of(article(2, pmid=None, doi="10.1/x", pmcid="PMC7"))
    archive = documents.number_of(article(3, pmid=None, pmcid="PMC7"))
    other = documents.number_of(article(4))
    assert pubmed == bundle == archive != other
    assert [documents.name(archive), documents.name(other)] == ["doi:10.1/x", "pmid:4"]


def test_a_pmid_is_not_taken_for_a_doi():
    documents = Documents()
    assert documents.number_of(article(pmid="5")) != documents.number_of(article(pmid=None, doi="5"))


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 2**32 - 1)), max_size=3000))
@settings(deadline=None)
def test_the_hash_table_is_a_dict_that_keeps_the_first(pairs: list[tuple[int, int]]):
    table, plain = HashTable(), {}
    for number, value in pairs:
        key = hash64(str(number))
        assert table.add(key, value) == (key not in plain)
        plain.setdefault(key, value)
    assert len(table) == len(plain)
    assert all(table.get(key) == value for key, value in plain.items())
    assert table.get(hash64("absent")) is None


@pytest.mark.parametrize(
    "setting", [{"min_chars": 0}, {"min_chars": 80, "max_chars": 79}, {"passages_per_file": 0}]
)
def test_an_impossible_setting_is_refused(setting: dict[str, int]):
    with pytest.raises(ConfigError):
        CorpusConfig(**setting)
