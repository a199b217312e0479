"""docs/text.md is what biolm writes: every row of its tables, and its table of characters."""

import re
from dataclasses import fields
from xml.sax.saxutils import escape

import pytest
from jats_papers import record

from biolm.records import Article
from biolm.sources.characters import REMOVED, REPLACED, clean
from biolm.sources.jats import parse_article
from biolm.sources.options import TextOptions
from biolm.sources.xml import parse_xml
from conftest import ROOT

PAGE = (ROOT / "docs" / "text.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (.+?) \| `(.*)` \| `(.*?)` \|$", re.MULTILINE)


def section(name: str) -> str:
    return PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


CASES, TEX, OPTIONS = (ROW.findall(section(name)) for name in ("Cases", "TeX", "Options"))
NAMESPACES = 'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:mml="http://www.w3.org/1998/Math/MathML"'


def read(xml: str, options: TextOptions) -> Article:
    """An article with the fragment where its outermost element belongs."""
    xml = xml.replace("⏎", "\n")
    if xml.startswith("<Abstract>"):
        return record(xml)
    if xml.startswith("<article>"):
        return parse_article(parse_xml(xml.encode()), "case.xml", options)
    abstract, body = "", xml
    if xml.startswith("<abstract"):
        abstract, body = xml, ""
    elif xml.startswith("<caption"):
        body = f"<fig>{xml}</fig>"
    elif not xml.startswith(("<fig>", "<fig-group>", "<sub-article", "<supplementary-material")):
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
    names = [case[0] for case in CASES]
    assert len(CASES) >= 70
    assert len(names) == len(set(names))
    assert len(TEX) >= 10
    rows = [line for line in PAGE.splitlines() if line.startswith("|") and line.count("`") >= 4]
    headings = [line for line in rows if "tex-math` | reads" in line]
    assert len(rows) - len(headings) == len(CASES) + len(TEX) + len(OPTIONS)  # none is passed over


def test_every_option_has_a_row():
    assert {row[0].strip("`").partition("=")[0] for row in OPTIONS} == {
        field.name for field in fields(TextOptions)
    }


@pytest.mark.parametrize(("xml", "text"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_case_reads_as_the_page_says(xml: str, text: str):
    assert text_in(read(xml, TextOptions())) == text


@pytest.mark.parametrize(("tex", "text"), [case[1:] for case in TEX], ids=[case[0] for case in TEX])
def test_tex_reads_as_the_page_says(tex: str, text: str):
    assert text_in(read(f"<tex-math>{escape(tex)}</tex-math>", TextOptions())) == text


@pytest.mark.parametrize(("option", "xml", "text"), OPTIONS, ids=[row[0].strip("`") for row in OPTIONS])
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
    table = section("Characters")
    said = {chr(int(code, 16)) for code in re.findall(r"^\| .*?U\+([0-9A-F]{4})", table, re.MULTILINE)}
    said |= {"\u2011", *map(chr, range(0xFB01, 0xFB05))}
    assert said == set(REPLACED)
    assert clean("".join(f"a{character}" for character in REMOVED)) == "a" * len(REMOVED)
    for space in "\u00a0\u2009\u200a\u202f\u3000\n\t":
        assert clean(f"a{space}b") == "a b"
    assert clean("–—−“”°") == "–—−“”°"
