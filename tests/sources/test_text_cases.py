"""docs/text.md is what biolm writes: every row of its tables, and its table of characters."""

import re

import pytest

from biolm.records import Article
from biolm.sources.characters import REMOVED, REPLACED, clean
from biolm.sources.jats import parse_article
from biolm.sources.options import TextOptions
from biolm.sources.xml import parse_xml
from conftest import ROOT

PAGE = (ROOT / "docs" / "text.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (.+?) \| `(.*)` \| `(.*?)` \|$", re.MULTILINE)
CASES = ROW.findall(PAGE.partition("## Options")[0])
OPTIONS = ROW.findall(PAGE.partition("## Options")[2])
NAMESPACES = 'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:mml="http://www.w3.org/1998/Math/MathML"'


def read(xml: str, options: TextOptions) -> Article:
    """An article with the fragment where its outermost element belongs."""
    xml = xml.replace("⏎", "\n")
    abstract, body = "", xml
    if xml.startswith("<abstract"):
        abstract, body = xml, ""
    elif xml.startswith("<caption"):
        body = f"<fig>{xml}</fig>"
    elif not xml.startswith(("<fig", "<sub-article", "<supplementary-material")):
        body = f"<fig><caption><p>{xml}</p></caption></fig>"
    inside = "" if body.startswith("<sub-article") else body
    after = body if body.startswith("<sub-article") else ""
    page = (
        f"<article {NAMESPACES}><front><article-meta>{abstract}</article-meta></front>"
        f"<body>{inside}</body>{after}</article>"
    )
    return parse_article(parse_xml(page.encode()), "case.xml", options)


def text_in(article: Article) -> str:
    if article.abstracts:
        return article.abstracts[0].text
    return " ".join(f"{figure.title} {figure.caption}".strip() for figure in article.figures)


def test_the_page_has_its_cases():
    assert len(CASES) > 35
    assert len(OPTIONS) == 7


@pytest.mark.parametrize(("xml", "text"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_case_reads_as_the_page_says(xml: str, text: str):
    assert text_in(read(xml, TextOptions())) == text


@pytest.mark.parametrize(("option", "xml", "text"), OPTIONS)
def test_an_option_reads_as_the_page_says(option: str, xml: str, text: str):
    name, _, value = option.strip("`").partition("=")
    chosen = TextOptions(**{name: True if value == "True" else value})
    assert text_in(read(xml, chosen)) == text
    assert text_in(read(xml, TextOptions())) != text or not text


def test_supplements_and_rights_are_fields():
    (row,) = [row for row in OPTIONS if "Video 1" in row[1]]
    (figure,) = read(row[1], TextOptions(supplementary=True)).figures
    assert (figure.supplementary, figure.label) == (True, "Video 1")
    (case,) = [case for case in CASES if case[0] == "attribution is no text"]
    (figure,) = read(case[1], TextOptions()).figures
    assert figure.rights == "Source: FAOSTAT."


def test_the_table_of_characters_is_complete():
    table = PAGE.partition("## Characters")[2].partition("## What")[0]
    said = {chr(int(code, 16)) for code in re.findall(r"^\| .*?U\+([0-9A-F]{4})", table, re.MULTILINE)}
    said |= {"\u2011", *map(chr, range(0xFB01, 0xFB05))}
    assert said == set(REPLACED)
    assert clean("".join(f"a{character}" for character in REMOVED)) == "a" * len(REMOVED)
    for space in "\u00a0\u2009\u200a\u202f\u3000\n\t":
        assert clean(f"a{space}b") == "a b"
    assert clean("–—−“”°") == "–—−“”°"
