"""The shared real papers, against plain readings of their elements: nothing lost, nothing glued."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from biolm.records import Article
from biolm.sources.abstracts import without_imprint
from biolm.sources.characters import clean
from biolm.sources.jats import parse_article
from biolm.sources.options import TextOptions
from biolm.sources.text import BOILERPLATE, DOWNLOAD, LEFT_OUT
from biolm.sources.xml import Element, local_name, parse_xml

WORD = re.compile(r"[^\W_]+")
SCRIPT_MARK = re.compile(r"(?<=\S)[\^_](?=\S)")
APART = frozenset({"p", "title", "list", "list-item", "label", "break", "disp-formula"})
FORMULAS = frozenset({"alternatives", "inline-formula", "disp-formula", "math", "tex-math"})
IMPLIED_LABELS = "PMC6123649.xml"
"""The one article whose panels have letters that only the type of their list says."""
HEADINGS = frozenset({"ABSTRACT", "SUMMARY"})


def plain(element: Element) -> Iterator[str]:
    """The text in an element as it lies in the file, blocks apart.

    Without what docs/text.md leaves out, and without formulas, which read differently.
    """
    yield element.text or ""
    for child in element:
        name = local_name(child)
        apart = " " if name in APART else ""
        yield apart
        if name and name not in LEFT_OUT and name not in FORMULAS and not is_note(child):
            yield from plain(child)
        yield apart
        yield child.tail or ""


def is_note(element: Element) -> bool:
    """Whether it is "Click here for additional data file" or a section "Electronic supplementary material"."""
    if local_name(element) == "p":
        return DOWNLOAD.fullmatch("".join(element.itertext())) is not None
    title = element.findtext("title", "").strip().rstrip(":.")
    return local_name(element) == "sec" and BOILERPLATE.fullmatch(title) is not None


def is_set_off(script: Element) -> bool:
    """Whether a line break of the file stands before it, which may be no space of the page."""
    base = script.getprevious()
    return base is not None and "\n" in (base.tail or "") and (base.tail or "").isspace()


def words(text: str) -> Counter[str]:
    """Runs of letters and digits, small capitals and the marks of scripts aside."""
    return Counter(WORD.findall(SCRIPT_MARK.sub("", clean(text)).upper()))


def legends(root: Element, article: Article) -> Iterator[tuple[Element, str]]:
    """Each caption with words, and how it was read."""
    captions = [
        caption for figure in root.iter("fig", "fig-group") for caption in figure.iterchildren("caption")
    ]
    captions = [caption for caption in captions if "".join(caption.itertext()).strip()]
    texts = [f"{figure.title} {figure.caption}" for figure in article.figures]
    return zip(captions, texts, strict=True)


@pytest.fixture(scope="module")
def roots(shared: Path) -> dict[str, Element]:
    return {
        path.name: parse_xml(path.read_bytes()) for path in sorted((shared / "jats/articles").glob("*.xml"))
    }


@pytest.fixture(scope="module")
def articles(roots: dict[str, Element]) -> dict[str, Article]:
    return {name: parse_article(root, name) for name, root in roots.items()}


def test_no_word_of_a_legend_is_lost_glued_or_added(roots: dict[str, Element]):
    compared = with_formulas = set_off = 0
    for name, root in roots.items():
        article = parse_article(root, name, TextOptions(citations="keep"))
        for caption, text in legends(root, article):
            ours, theirs = words(text), words("".join(plain(caption)))
            if name == IMPLIED_LABELS and any(local_name(one) == "list" for one in caption.iter()):
                assert letters(theirs) <= letters(ours), name
            elif any(is_set_off(one) for one in caption.iter("sub", "sup")):
                set_off += 1
                assert letters(theirs) == letters(ours), (name, text)
            elif any(local_name(one) in FORMULAS for one in caption.iter()):
                with_formulas += 1
                assert letters(theirs) <= letters(ours), (name, text)
            else:
                compared += 1
                assert ours == theirs, (name, text)
    assert (compared, set_off, with_formulas) == (2_163, 10, 56)


def letters(counted: Counter[str]) -> Counter[str]:
    """Letters and digits of words: a formula may have stood inside one."""
    return Counter("".join(counted.elements()))


def test_abstracts_keep_their_words(roots: dict[str, Element]):
    """Each within 2 % of its element's words; what is missing is a heading "Abstract" or footnote marks."""
    for name, root in roots.items():
        article = parse_article(root, name, TextOptions(citations="keep"))
        (element,) = [one for one in root.iter("abstract") if one.get("abstract-type") is None]
        ours = words(article.abstracts[0].text)
        theirs = words(without_imprint(clean("".join(plain(element)))))
        if any(local_name(one) in FORMULAS for one in element.iter()):
            theirs |= ours & words("".join(element.itertext()))
        differ = (ours - theirs).total() + (theirs - ours).total()
        assert differ <= 0.02 * theirs.total(), (name, ours - theirs, theirs - ours)


def test_without_citations_words_only_go(roots: dict[str, Element], articles: dict[str, Article]):
    lost = kept = 0
    for name, root in roots.items():
        full = parse_article(root, name, TextOptions(citations="keep"))
        for with_all, without in zip(full.figures, articles[name].figures, strict=True):
            before, after = letters(words(with_all.caption)), letters(words(without.caption))
            assert after <= before, name
            lost, kept = lost + (before - after).total(), kept + after.total()
    assert 0 < lost < 0.005 * kept
