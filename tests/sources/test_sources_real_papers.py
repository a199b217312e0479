"""The shared real papers: nothing lost, nothing glued."""

import csv
import re
from pathlib import Path

import pytest
from lxml import etree

from biolm.records import Article
from biolm.sources import read_source

GLUED = re.compile(r"(?:fig(?:ure)?\.?|scheme)\s*[0-9]+[A-Z]?\.?(?=[A-Z])", re.IGNORECASE)


@pytest.fixture(scope="module")
def articles(shared: Path) -> list[Article]:
    found = list(read_source(shared / "jats" / "articles"))
    assert all(isinstance(one, Article) for one in found)
    return [one for one in found if isinstance(one, Article)]


def test_every_article_has_its_main_abstract_and_ids(articles: list[Article]):
    assert len(articles) == 403
    for article in articles:
        assert article.doi, article.source
        assert article.title
        assert article.journal
        assert article.year
        assert article.licence != "unknown"
        assert article.source.startswith("articles/")
        assert [abstract.kind for abstract in article.abstracts].count(None) == 1
        assert article.abstracts[0].kind is None
        assert len(article.abstracts[0].text) > 600


def test_no_figure_is_lost(articles: list[Article], shared: Path):
    for article in articles:
        root = etree.parse(shared / "jats" / article.source).getroot()
        captions = [caption.xpath("string()").strip() for caption in root.iterfind(".//fig/caption")]
        assert len(article.figures) == sum(map(bool, captions)), article.source
    assert sum(len(article.figures) for article in articles) == 2_239


def test_no_text_has_an_artefact_of_its_markup(articles: list[Article]):
    for article in articles:
        texts = [abstract.text for abstract in article.abstracts]
        texts += [text for figure in article.figures for text in (figure.title, figure.caption)]
        for text in texts:
            assert "documentclass" not in text, article.source
            assert "Electronic supplementary material" not in text, article.source
            assert not re.search(
                r"[\x00-\x1f\x7f\ufeff\xad\u200b\u2061-\u2064]|  |\( *\)|\[ *\]|,,", text
            ) or (
                "P tot" in text or "Ptot,," in text  # printed so in PMC5983567
            ), article.source
            assert not GLUED.match(text), (article.source, text)


CAPTIONLESS = {
    *("PMC5890381", "PMC5899762", "PMC5939949", "PMC5971217", "PMC6289226", "PMC6353629"),
    "PMC6349463",
}
"""The shared articles that have one figure without any words; the manifests count it as a figure."""


@pytest.mark.parametrize("folder", ["articles", "bundles"])
def test_every_figure_of_the_manifests_is_found(shared: Path, folder: str):
    with (shared / "jats" / folder / "manifest.csv").open(encoding="utf-8") as file:
        rows = {
            Path(row.get("file") or row["member"]).name: int(row["n_fig"]) for row in csv.DictReader(file)
        }
    found = {Path(one.source).name: len(one.figures) for one in read_source(shared / "jats" / folder)}
    assert found.keys() == rows.keys()
    for name, figures in rows.items():
        assert found[name] == figures - (name.removesuffix(".xml") in CAPTIONLESS), name


def test_abstracts_have_the_letters_of_their_elements(articles: list[Article], shared: Path):
    """Letters and digits of the main abstract against those of its element: within 2 % in sum, within 10 % each.

    What is missing are citations and the heading "Abstract"; elements with a section on supplements are left out.
    """
    ours = theirs = 0
    for article in articles:
        root = etree.parse(shared / "jats" / article.source).getroot()
        for abstract in root.iterfind("front/article-meta/abstract"):
            words = "".join(
                abstract.xpath(".//text()[not(ancestor::tex-math)]")
            )  # MathML beside it says the same
            if abstract.get("abstract-type") is not None or "supplementary material" in words:
                continue
            here, there = (sum(map(str.isalnum, text)) for text in (article.abstracts[0].text, words))
            assert 0.9 * there < here <= 1.01 * there, article.source
            ours, theirs = ours + here, theirs + there
    assert abs(ours - theirs) < 0.02 * theirs


def test_bundles_are_read_whole(shared: Path):
    found = list(read_source(shared / "jats" / "bundles"))
    assert len(found) == 1_600
    assert all(isinstance(one, Article) and one.abstracts[0].kind is None for one in found)
    assert sum(len(one.figures) for one in found if isinstance(one, Article)) == 8_747
