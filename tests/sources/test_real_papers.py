"""The shared real articles: nothing fails, nothing is lost, nothing is glued."""

import re
from pathlib import Path

import pytest
from lxml import etree

from biolm.records import Article
from biolm.sources import read_source
from biolm.sources.characters import clean

WITH_A_RULE = {
    *(
        "xref",
        "sup",
        "sc",
        "inline-formula",
        "disp-formula",
        "list",
        "permissions",
        "attrib",
        "inline-graphic",
    ),
    *("supplementary-material", "fn"),
}
"""Elements whose text is meant to change."""


@pytest.fixture(scope="module")
def articles(shared: Path) -> list[Article]:
    records = list(read_source(shared / "jats/articles"))
    assert all(isinstance(record, Article) for record in records)
    return records


def test_every_article_has_its_main_abstract_and_metadata(articles: list[Article]):
    assert len(articles) == 403
    for article in articles:
        assert article.abstracts[0].kind is None, article.source
        assert len(article.abstracts[0].text) > 500, article.source
        assert article.title, article.source
        assert article.journal, article.source
        assert article.year, article.source
        assert article.doi, article.source
        assert article.licence in {"CC-BY-4.0", "CC-BY-3.0", "CC-BY-2.0", "CC0-1.0"}, article.source


def test_no_legend_is_lost(shared: Path, articles: list[Article]):
    for article in articles:
        root = etree.parse(shared / "jats/articles" / Path(article.source).name).getroot()
        captioned = [
            figure
            for figure in root.iter("fig")
            if "".join(figure.xpath("string(caption)")).strip()
            and not figure.xpath("ancestor::abstract|ancestor::sub-article|ancestor::response")
        ]
        assert len(article.figures) == len(captioned), article.source


def test_no_word_of_a_legend_is_lost(shared: Path, articles: list[Article]):
    """Against the plain inner text of captions without formulas, references and superscripts."""
    compared = 0
    for article in articles:
        root = etree.parse(shared / "jats/articles" / Path(article.source).name).getroot()
        captions = [f.find("caption") for f in root.iter("fig") if not f.xpath("ancestor::abstract")]
        captions = [c for c in captions if c is not None and "".join(c.itertext()).strip()]
        for figure, caption in zip(article.figures, captions, strict=True):
            if WITH_A_RULE & {element.tag for element in caption.iter()}:
                continue
            plain = re.sub(r"\W", "", clean("".join(caption.itertext())))
            ours = re.sub(r"\W", "", figure.title + figure.caption)
            assert sorted(ours) == sorted(plain), article.source
            compared += 1
    assert compared > 1000


def test_labels_stay_out_of_legends_and_headings_out_of_paragraphs(articles: list[Article]):
    for article in articles:
        for figure in article.figures:
            assert not (figure.label and figure.caption.startswith(figure.label)), article.source
        text = article.abstracts[0].text
        assert not re.match(r"(Abstract|Background|Summary)[A-Z]", text), article.source
        assert "\\documentclass" not in text


@pytest.mark.slow
def test_the_bundles_are_read_whole(shared: Path):
    records = list(read_source(shared / "jats/bundles"))
    assert len(records) == 1600
    assert all(isinstance(record, Article) for record in records)
    assert sum(bool(record.abstracts) and record.abstracts[0].kind is None for record in records) == 1600
