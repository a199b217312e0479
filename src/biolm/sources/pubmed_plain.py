"""PubMed records by their bytes, where they are written as PubMed writes them: in less than half the time.

A record is read here only if each part that is looked at stands where PubMed's DTD has it and is written the usual
way; any other is left to `pubmed.py`, and so is one with another abstract, a retraction, a DOI among its locations
only, or no title. What lies between those parts (authors, headings, references) is passed over unread.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from biolm.records import Abstract, Article
from biolm.sources.ids import earliest_year, plain_doi, plain_pmcid, plain_pmid
from biolm.sources.options import TextOptions
from biolm.sources.pubmed import (
    RETRACTED,
    day_number,
    joined_sections,
    language_of,
    number_of,
    untranslated,
    with_hyphens,
)
from biolm.sources.text import Rules, finished, rules_for, text_of
from biolm.sources.xml import Element, Unusable

_BEGIN, _END, _CITATION_END = b"<PubmedArticle>", b"</PubmedArticle>", b"</MedlineCitation>"
_ATTRIBUTES = r'(?: \w++="[^"<>&]*+")*+'


def _in_turn(*parts: str) -> str:
    """Parts with white space behind each."""
    return "".join(rf"{part}\s*+" for part in parts)


def _perhaps(*parts: str) -> str:
    return f"(?:{_in_turn(*parts)})?+"


def _any_number(part: str) -> str:
    return f"(?:{_in_turn(part)})*+"


def _leaf(name: str) -> str:
    """An element without others in it."""
    return f"<{name}{_ATTRIBUTES}>[^<]*+</{name}>"


def _rich(name: str) -> str:
    """What is in an element that has others in it, of other names."""
    return f"[^<]*+(?:<(?!/{name}>)[^<]*+)*+"


def _compiled(*parts: str) -> re.Pattern[bytes]:
    return re.compile(_in_turn(*parts).encode())


_DATE_PART = _leaf(r"\w++")
_HEAD = _compiled(
    "<PubmedArticle>",
    f"<MedlineCitation{_ATTRIBUTES}>",
    r'<PMID(?: Version="(\d+)")?>(\d+)</PMID>',
    _perhaps("<DateCompleted>", _DATE_PART, _DATE_PART, _DATE_PART, "</DateCompleted>"),
    _perhaps(
        "<DateRevised>",
        *(r"<Year>(\d+)</Year>", r"<Month>(\d+)</Month>", r"<Day>(\d+)</Day>"),
        "</DateRevised>",
    ),
    f"<Article{_ATTRIBUTES}>",
    "<Journal>",
    _perhaps(_leaf("ISSN")),
    f"<JournalIssue{_ATTRIBUTES}>",
    _perhaps(_leaf("Volume")),
    _perhaps(_leaf("Issue")),
    "<PubDate>",
    "(?:"
    + _in_turn("<Year>([^<&]*+)</Year>", *map(_perhaps, map(_leaf, ("Month", "Day", "Season"))))
    + "|<MedlineDate>([^<&]*+)</MedlineDate>)",
    "</PubDate>",
    "</JournalIssue>",
    "<Title>([^<]*+)</Title>",
    _perhaps(_leaf("ISOAbbreviation")),
    "</Journal>",
    f"<ArticleTitle>({_rich('ArticleTitle')})</ArticleTitle>",
    _perhaps("<Pagination>", _any_number(_DATE_PART), "</Pagination>"),
    f"({_any_number(_leaf('ELocationID'))})",
    "(<Abstract>)?",
)
"""From its begin to its abstract."""
_SECTION = _compiled(
    r'<AbstractText(?: Label="([^"<&]*+)")?(?: NlmCategory="\w*")?>'
    + f"({_rich('AbstractText')})</AbstractText>"
)
_ABSTRACT_END = _compiled(
    _perhaps(f"<CopyrightInformation>{_rich('CopyrightInformation')}</CopyrightInformation>"), "</Abstract>"
)
_LANGUAGE = _compiled("", r"<Language>(\w*)</Language>", _any_number(_leaf("Language")))
_TYPE = f"<PublicationType{_ATTRIBUTES}>([^<&]*+)</PublicationType>"
_DATE = _in_turn(
    f"<ArticleDate{_ATTRIBUTES}>", "<Year>([^<&]*+)</Year>", _DATE_PART, _DATE_PART, "</ArticleDate>"
)
_ID = '<ArticleId IdType="([^"<&]*+)">([^<]*+)</ArticleId>'
_TYPES_AND_DATES = _compiled(
    "",
    "<PublicationTypeList>",
    f"(?P<types>{_any_number(_TYPE)})",
    "</PublicationTypeList>",
    _perhaps(f"<VernacularTitle>{_rich('VernacularTitle')}</VernacularTitle>"),
    f"(?P<dates>{_any_number(_DATE)})",
    "</Article>",
)
_DATA = _compiled("", "<PubmedData>")
_IDS = _compiled(
    "",
    _perhaps(_leaf("PublicationStatus")),
    "<ArticleIdList>",
    f"(?P<ids>{_any_number(_ID)})",
    "</ArticleIdList>",
)
_EACH_TYPE, _EACH_DATE, _EACH_ID = map(_compiled, (_TYPE, _DATE, _ID))
_OTHER_REFERENCE = re.compile(rb"&(?!(?:lt|gt|amp);)")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
"""What XML does not allow, and `parse_xml` repairs."""

Parse = Callable[[bytes], list[Element]]
"""Elements of bytes, as `Records.parse` makes them."""


class _Unusual(Exception):  # noqa: N818  of a record, which is left to `pubmed.py`
    pass


def plain_records(run: bytes) -> list[tuple[int, int]] | None:
    """Where each record of a run begins and ends; None where that is not certain, or one is not of an article."""
    start = run.find(_BEGIN)
    if start < 0 or run[:start].strip() or not _holds_tags_only(run):
        return None
    bounds = []
    while start >= 0:
        after = run.find(_BEGIN, start + 1)
        end = run.find(_END, start) + len(_END)
        if end < start or 0 <= after < end or run[end : None if after < 0 else after].strip():
            return None
        bounds.append((start, end))
        start = after
    return bounds


def _holds_tags_only(run: bytes) -> bool:
    """Whether there are no comments and CDATA sections, and no tags in instructions."""
    return not any(run[place - 1 : place] == b"<" for place in _places(run, b"!")) and not any(
        run[place - 1 : place] == b"<" and run.find(b"<", place, run.find(b"?>", place)) >= 0
        for place in _places(run, b"?")
    )


def _places(run: bytes, sign: bytes) -> Iterator[int]:
    """Where a rare byte is; sixteen times as fast as a search for two."""
    place = run.find(sign)
    while place >= 0:
        yield place
        place = run.find(sign, place + 1)


def plain_article(
    run: bytes, start: int, end: int, name: str, options: TextOptions, parse: Parse
) -> Article | None:
    """The article of a record, its source named after the file `name`; None where it has to be read by elements.

    `start`, `end`: as `plain_records` has found them.
    """
    try:
        return _article(run, start, end, name, rules_for(options), parse)
    except (_Unusual, Unusable, UnicodeDecodeError):
        return None


def _article(run: bytes, start: int, end: int, name: str, rules: Rules, parse: Parse) -> Article:
    head = _expected(_HEAD.match(run, start, end))
    version, number, year, month, day, issue, date, journal, title, places, abstract = head.groups()
    place = head.end()
    sections = []
    if abstract:
        while section := _SECTION.match(run, place, end):
            sections.append((_plain(section[1] or b""), _text(section[2], rules, parse)))
            place = section.end()
        place = _expected(_ABSTRACT_END.match(run, place, end)).end()
    language = _expected(_LANGUAGE.match(run, _behind(run, b"AuthorList", place, end), end))
    place = _behind(run, b"GrantList", _behind(run, b"DataBankList", language.end(), end), end)
    listed = _expected(_TYPES_AND_DATES.match(run, place, end))
    types, place = _types(listed["types"]), listed.end()
    dates = _EACH_DATE.findall(listed["dates"]) if listed["dates"] else ()
    last = run.find(_CITATION_END, place, end)
    if last < 0 or run.find(b"<OtherAbstract", place, last) >= 0 or run.find(b"Retraction", place, last) >= 0:
        raise _Unusual
    place = _expected(_DATA.match(run, last + len(_CITATION_END), end)).end()
    listed = _expected(_IDS.match(run, _behind(run, b"History", place, end), end))
    ids = dict(_EACH_ID.findall(listed["ids"]))
    doi = plain_doi(_plain(ids[b"doi"])) if b"doi" in ids else None
    pmid = plain_pmid(number.decode())
    words = untranslated(_text(title, None, parse))
    if not words or pmid is None or (doi is None and b"doi" in places) or ids.get(b"pubmed") != number:
        raise _Unusual  # with other ids it may be made of two records that lost what was between them
    main = joined_sections(sections)
    return Article(
        source=f"{name}#{number.decode()}",
        pmid=pmid,
        pmcid=plain_pmcid(_plain(ids[b"pmc"])) if b"pmc" in ids else None,
        doi=doi,
        title=words,
        abstracts=(Abstract(text=main, language="en"),) if main else (),
        journal=_words(journal),
        year=_earliest((issue or b"", *dates), date or b""),
        language=language_of(language[1].decode()),
        form="pubmed",
        version=number_of((version or b"").decode()),
        revised=day_number(year.decode(), month.decode(), day.decode()) if year else 0,
        retracted=RETRACTED in types,
        types=types,
    )


def _expected(found: re.Match[bytes] | None) -> re.Match[bytes]:
    if found is None:
        raise _Unusual
    return found


def _behind(run: bytes, name: bytes, place: int, end: int) -> int:
    """Where such an element ends if it begins at `place`, with white space behind others at most; else `place`."""
    if not run.startswith(b"<" + name, place):
        return place
    tag = b"</%b>" % name
    place = run.find(tag, place, end)
    if place < 0:
        raise _Unusual
    return place + len(tag)


def _plain(raw: bytes) -> str:
    """Text with no more than the usual references."""
    if b"&" in raw:
        if b"<" in raw or _OTHER_REFERENCE.search(raw):
            raise _Unusual
        raw = raw.replace(b"&lt;", b"<").replace(b"&gt;", b">").replace(b"&amp;", b"&")
    text = raw.decode()
    if not text.isprintable() and _FORBIDDEN.search(text):
        raise _Unusual
    return text


def _text(raw: bytes, rules: Rules | None, parse: Parse) -> str:
    """What `text_of` makes of an element that has this inside."""
    if b"<" in raw or (b"&" in raw and _OTHER_REFERENCE.search(raw)):
        elements = parse(b"<AbstractText>%b</AbstractText>" % raw)
        if len(elements) != 1:
            raise _Unusual
        return text_of(elements[0], rules=rules)
    return finished(_plain(raw), rules)


@lru_cache(maxsize=4096)
def _words(raw: bytes) -> str:
    words = " ".join(_plain(raw).split())
    if not words or not words.isprintable():
        raise _Unusual
    return words


@lru_cache(maxsize=4096)
def _types(listed: bytes) -> tuple[str, ...]:
    return tuple(with_hyphens(_plain(name)) for name in _EACH_TYPE.findall(listed))


@lru_cache(maxsize=4096)
def _earliest(years: tuple[bytes, ...], date: bytes) -> int | None:
    return earliest_year([year.decode() for year in years]) or earliest_year([date.decode()])
