"""The shared real papers: nothing lost, nothing glued."""

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


def test_bundles_are_read_whole(shared: Path):
    found = list(read_source(shared / "jats" / "bundles"))
    assert len(found) == 1_600
    assert all(isinstance(one, Article) and one.abstracts[0].kind is None for one in found)
    assert sum(len(one.figures) for one in found if isinstance(one, Article)) == 8_747
