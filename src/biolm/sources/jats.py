"""A JATS (or NLM) article element as an `Article`."""

import hashlib
import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

from biolm.records import Abstract, Article, Figure
from biolm.sources.licence import spdx_licence
from biolm.sources.text import LEFT_OUT, finish, text_of
from biolm.sources.xml import local_name

OTHER_ARTICLES = frozenset({"sub-article", "response"})
"""Articles inside the article: reviews, replies, translations. None of theirs is the article's."""
ABSTRACTS = frozenset({"abstract", "trans-abstract"})
SHORT_KINDS = frozenset(
    [
        "graphical",
        "teaser",
        "toc",
        "precis",
        "author-highlights",
        "highlights",
        "key-points",
        "web-summary",
        "plain-language-summary",
        "editor",
        "editors-summary",
    ]
)
"""Types of abstract that cannot stand for the main one where it is missing."""
PLAIN_HEADINGS = frozenset({"abstract", "summary"})
"""An abstract's own heading that says nothing."""
BOILERPLATE = re.compile(
    r"(electronic )?supplementary (material|information)s?|supporting information", re.IGNORECASE
)
"""Sections of an abstract that are no part of it."""
XLINK_HREF = "{http://www.w3.org/1999/xlink}href"
XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
NOT_PUBLISHED = frozenset(
    {"pmc-release", "received", "accepted", "rev-recd", "retracted", "corrected", "preprint"}
)
"""Dates that are not those of publication."""


def parse_article(root: Any, source: str) -> Article:
    """Read one article. `root`: its lxml element; `source`: where it was read. Missing parts stay empty."""
    meta = _first(root, "front", "article-meta")
    if meta is None:
        meta = _first(root, "front")  # a few old NLM files
    journal_meta = _first(root, "front", "journal-meta")
    ids = _ids(meta)
    return Article(
        source=source,
        pmid=ids["pmid"],
        pmcid=ids["pmcid"],
        doi=ids["doi"],
        title=text_of(_first(meta, "title-group", "article-title")),
        abstracts=tuple(_abstracts(meta)),
        figures=tuple(_figures(root)),
        journal=_journal(journal_meta),
        year=_year(meta),
        licence=_licence(meta),
        language=root.get(XML_LANG),
        content_hash=""
        if any(ids.values())
        else hashlib.sha256(etree.tostring(root, with_tail=False)).hexdigest(),
    )


def _children(element: Any, *names: str) -> Iterator[Any]:
    if element is not None:
        for child in element:
            if local_name(child) in names:
                yield child


def _first(element: Any, *path: str) -> Any:
    for name in path:
        element = next(_children(element, name), None)
    return element


def _ids(meta: Any) -> dict[str, str | None]:
    """PMID and PMCID as digits and "PMC" + digits, DOI in lower case; the first of each kind counts."""
    found: dict[str, str | None] = {"pmid": None, "pmcid": None, "doi": None}
    for element in _children(meta, "article-id"):
        kind, value = element.get("pub-id-type", ""), finish("".join(element.itertext()))
        if kind == "pmid" and value.isdigit():
            found["pmid"] = found["pmid"] or value
        elif kind in ("pmc", "pmcid", "pmc-aiid", "pmcaid"):
            digits = re.fullmatch(r"(?:PMC)?(\d+)(?:\.\d+)?", value, re.IGNORECASE)
            if digits and kind in ("pmc", "pmcid"):
                found["pmcid"] = found["pmcid"] or f"PMC{digits[1]}"
        elif kind == "doi":
            found["doi"] = found["doi"] or plain_doi(value)
    return found


def plain_doi(value: str) -> str | None:
    """A DOI in lower case without resolver; None where the text is none."""
    found = re.search(r"10\.\d{4,9}/\S+", value.lower())
    return found[0] if found else None


def _abstracts(meta: Any) -> Iterator[Abstract]:
    """The main abstract first, if any: the longest untyped one, else the longest of a type that can stand for it."""
    found: list[tuple[str | None, Abstract]] = []
    for element in _children(meta, *ABSTRACTS):
        translated = local_name(element) == "trans-abstract"
        kind = "translation" if translated else element.get("abstract-type")
        text = _abstract_text(element)
        if text:
            found.append((kind, Abstract(text=text, kind=kind, language=element.get(XML_LANG))))
    plain = [abstract for kind, abstract in found if kind is None]
    standing = [abstract for kind, abstract in found if kind not in {None, "translation", *SHORT_KINDS}]
    main = max(plain or standing, key=lambda abstract: len(abstract.text), default=None)
    if main is not None:
        yield Abstract(text=main.text, language=main.language)
    for kind, abstract in found:
        if abstract is not main:
            yield Abstract(text=abstract.text, kind=kind or "other", language=abstract.language)


def _abstract_text(element: Any) -> str:
    parts = []
    for child in element:
        name = local_name(child)
        if name == "sec":
            parts.append(_section_text(child))
        elif name == "title":
            heading = text_of(child)
            if heading.lower().rstrip(":.") not in PLAIN_HEADINGS:
                parts.append(_with_colon(heading))
        elif name and name not in LEFT_OUT:
            parts.append(text_of(child))
    own = finish(element.text or "")
    return " ".join(part for part in (own, *parts) if part)


def _section_text(section: Any) -> str:
    heading = text_of(_first(section, "title"))
    if BOILERPLATE.fullmatch(heading.rstrip(":.")):
        return ""
    parts = [
        _section_text(child) if local_name(child) == "sec" else text_of(child)
        for child in section
        if local_name(child) not in {"title", "", *LEFT_OUT}
    ]
    body = " ".join(part for part in parts if part)
    if heading.lower().rstrip(":.") in PLAIN_HEADINGS:
        return body
    return f"{_with_colon(heading)} {body}".strip() if body else heading


def _with_colon(heading: str) -> str:
    if not heading:
        return ""
    return heading if heading[-1] in ":.?!" else f"{heading}:"


def _figures(root: Any) -> Iterator[Figure]:
    """Every figure with its own legend, in document order; a group's caption is a legend of its own."""
    for element in root.iter("{*}fig", "{*}fig-group"):
        outside = OTHER_ARTICLES | ABSTRACTS
        if any(local_name(ancestor) in outside for ancestor in element.iterancestors()):
            continue
        caption = _first(element, "caption")
        title = text_of(_first(caption, "title"))
        rest = " ".join(filter(None, (text_of(c) for c in _children_but(caption, "title"))))
        own = finish(caption.text or "") if caption is not None else ""
        if title or rest or own:
            yield Figure(
                label=text_of(_first(element, "label")), title=title, caption=f"{own} {rest}".strip()
            )


def _children_but(element: Any, left_out: str) -> Iterator[Any]:
    if element is not None:
        for child in element:
            if local_name(child) not in {left_out, "", *LEFT_OUT}:
                yield child


def _journal(journal_meta: Any) -> str | None:
    grouped = _first(journal_meta, "journal-title-group", "journal-title")
    return text_of(grouped if grouped is not None else _first(journal_meta, "journal-title")) or None


def _year(meta: Any) -> int | None:
    """The earliest year of publication, in print or online."""
    years = []
    for date in _children(meta, "pub-date"):
        if date.get("pub-type", date.get("date-type", "")) not in NOT_PUBLISHED:
            year = text_of(_first(date, "year"))
            if re.fullmatch(r"1[5-9]\d\d|20\d\d", year):
                years.append(int(year))
    return min(years, default=None)


def _licence(meta: Any) -> str:
    permissions = _first(meta, "permissions")
    licence = _first(permissions, "license") if permissions is not None else _first(meta, "license")
    urls: list[str] = []
    kind = ""
    if licence is not None:
        kind = licence.get("license-type", "")
        urls.append(licence.get(XLINK_HREF, ""))
        urls += ["".join(element.itertext()) for element in licence.iter("{*}license_ref")]
        urls += [element.get(XLINK_HREF, "") for element in licence.iter("{*}ext-link", "{*}uri")]
    words = licence if licence is not None else permissions
    if words is None:
        words = _first(meta, "copyright-statement")
    text = "" if words is None else " ".join("".join(words.itertext()).split())
    return spdx_licence(urls, kind, text)
