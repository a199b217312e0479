"""A PubMed record as an `Article`."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from biolm.records import Abstract, Article, Deletion
from biolm.sources.abstracts import without_imprint
from biolm.sources.ids import content_hash, earliest_year, plain_doi, plain_pmcid, plain_pmid
from biolm.sources.options import TextOptions
from biolm.sources.text import Rules, rules_for, text_of, with_colon
from biolm.sources.xml import Element, Unusable, words_of

RECORDS = ("PubmedArticle", "PubmedBookArticle")
"""Elements that hold one record each."""
DELETION = "DeleteCitation"
"""The element that lists withdrawn PMIDs."""
RETRACTED = "retracted-publication"
"""The type of a retracted paper."""
TRUNCATED = re.compile(r"\s*\(ABSTRACT TRUNCATED(?: AT \d+ WORDS)?\)\s*\.?$", re.IGNORECASE)
_TRANSLATED = re.compile(r"\s*\(author's transl\)")
_BRACKETED = re.compile(r"\[((?:[^][]|\[[^][]*\])*?)\.?\]\.?")
LANGUAGES = {
    **{
        "eng": "en",
        "fre": "fr",
        "ger": "de",
        "spa": "es",
        "ita": "it",
        "por": "pt",
        "rus": "ru",
        "jpn": "ja",
    },
    **{
        "chi": "zh",
        "dut": "nl",
        "pol": "pl",
        "cze": "cs",
        "hun": "hu",
        "swe": "sv",
        "dan": "da",
        "nor": "no",
    },
    **{
        "fin": "fi",
        "heb": "he",
        "ara": "ar",
        "tur": "tr",
        "ukr": "uk",
        "rum": "ro",
        "bul": "bg",
        "kor": "ko",
    },
}
"""PubMed's ISO 639-2 codes as BCP 47 has them; another one stays as it is."""


_DEFAULT = TextOptions()


def parse_deletion(element: Element, source: str) -> Deletion:
    """The PMIDs that a file withdraws."""
    pmids = (plain_pmid(words_of(child)) for child in element.iterfind("PMID"))
    return Deletion(source=source, pmids=tuple(filter(None, pmids)))


def first_pmid(record: Element) -> Element | None:
    """The first PMID inside a record, its own where it has one."""
    usual = record[0][0] if len(record) and len(record[0]) else None
    return usual if usual is not None and usual.tag == "PMID" else next(record.iter("PMID"), None)


def parse_record(record: Element, source: str, options: TextOptions = _DEFAULT) -> Article:
    """Read one record. `record`: its lxml element; `source`: where it was read. Missing parts stay empty.

    Raises Unusable where it holds neither an article nor a book's chapter, or is made of two records.
    """
    parts = _parts(record)
    citation = parts.get("MedlineCitation")
    about = _parts(citation)
    article = about.get("Article")
    if citation is None:
        citation = article = parts.get("BookDocument")
        about = _parts(citation)
    if citation is None or article is None:
        raise Unusable("a PubMed record without an article")
    fields = _parts(article)
    data = parts.get("PubmedData")
    listed_ids = _parts(parts.get("PubmedBookData") if data is None else data).get("ArticleIdList")
    ids = {} if listed_ids is None else {element.get("IdType"): element for element in listed_ids}
    doi = plain_doi(words_of(ids["doi"])) if "doi" in ids else None
    if doi is None and "ELocationID" in fields:
        doi = _electronic_doi(article)
    number = about.get("PMID")
    pmid = plain_pmid(words_of(number))
    other = plain_pmid(words_of(ids["pubmed"])) if "pubmed" in ids else None
    if pmid and other and pmid != other:
        raise Unusable(f"ids of two records: PMID {pmid} and {other}")
    pmcid = plain_pmcid(words_of(ids["pmc"])) if "pmc" in ids else None
    listed: Element = fields.get("PublicationTypeList", article)  # a book has no list
    types = tuple(with_hyphens(element.text or "") for element in listed.iterchildren("PublicationType"))
    remarks = about.get("CommentsCorrectionsList")
    comments = [
        (comment.get("RefType"), plain_pmid(words_of(comment.find("PMID"))))
        for comment in (() if remarks is None else remarks)
        if comment.get("RefType") in ("RetractionIn", "RetractionOf")
    ]
    journal = _parts(fields.get("Journal"))
    return Article(
        source=source,
        pmid=pmid,
        pmcid=pmcid,
        doi=doi,
        title=_title(fields),
        abstracts=_abstracts(fields.get("Abstract"), about, citation, rules_for(options)),
        journal=words_of(journal.get("Title"))
        or words_of(_parts(about.get("MedlineJournalInfo")).get("MedlineTA"))
        or None,
        year=_year(article, fields, journal),
        language=language_of(words_of(fields.get("Language"))),
        content_hash="" if pmid or pmcid or doi else content_hash(record),
        form="pubmed",
        version=number_of("" if number is None else number.get("Version", "")),
        revised=_day(about.get("DateRevised")),
        retracted=RETRACTED in types or any(kind == "RetractionIn" for kind, _ in comments),
        retracts=tuple(f"pmid:{other}" for kind, other in comments if kind == "RetractionOf" and other),
        types=types,
    )


def _electronic_doi(article: Element) -> str | None:
    """The first DOI of its electronic locations that is not marked as wrong."""
    texts = (
        words_of(element)
        for element in article.iterchildren("ELocationID")
        if element.get("EIdType") == "doi" and element.get("ValidYN") != "N"
    )
    return next(filter(None, map(plain_doi, texts)), None)


def _parts(element: Element | None) -> dict[Any, Element]:
    """The first child of each name; faster than to look for one after another."""
    return {} if element is None else {child.tag: child for child in reversed(element)}


def untranslated(title: str) -> str:
    """PubMed brackets a title that it translated: "[The pineal body]." reads "The pineal body."."""
    if "transl)" in title:
        title = _TRANSLATED.sub("", title)
    if title[:1] == "[" and (found := _BRACKETED.fullmatch(title)):
        title = f"{found[1]}."
    return title


def _title(fields: dict[Any, Element]) -> str:
    title = untranslated(text_of(fields.get("ArticleTitle"))) or text_of(fields.get("VernacularTitle"))
    return title or text_of(_parts(fields.get("Book")).get("BookTitle"))


def _abstracts(
    own: Element | None, about: dict[Any, Element], citation: Element, rules: Rules
) -> tuple[Abstract, ...]:
    """The record's `Abstract`, English by PubMed's rules, and every `OtherAbstract` behind it, typed."""
    found = []
    if main := _sections(own, rules):
        found.append(Abstract(text=main, language="en"))
    for other in citation.iterchildren("OtherAbstract") if "OtherAbstract" in about else ():
        if text := _sections(other, rules):
            language = language_of(other.get("Language", ""))
            found.append(Abstract(text=text, kind=(other.get("Type") or "other").lower(), language=language))
    return tuple(found)


def _sections(abstract: Element | None, rules: Rules) -> str:
    sections = () if abstract is None else abstract.iterchildren("AbstractText")
    return joined_sections((element.get("Label", ""), text_of(element, rules=rules)) for element in sections)


def joined_sections(sections: Iterable[tuple[str, str]]) -> str:
    """ "Label: text" for each label and text; a label without text is content itself."""
    parts = []
    for label, text in sections:
        label = " ".join(label.split())
        if label.upper() in ("UNLABELLED", "UNASSIGNED"):
            label = ""
        if label and text:
            parts.append(f"{with_colon(label)} {text}")
        elif label or text:
            parts.append(label or text)
    whole = " ".join(parts)
    if whole.endswith((")", ").", ") .")):  # a search from every space is slow
        whole = TRUNCATED.sub("", whole)
    return without_imprint(whole)


def _year(article: Element, fields: dict[Any, Element], journal: dict[Any, Element]) -> int | None:
    """The earliest of its years: of the issue, online, or of the book."""
    issue = _parts(_parts(journal.get("JournalIssue")).get("PubDate"))
    dates = [issue]
    if "Book" in fields:
        dates.append(_parts(_parts(fields["Book"]).get("PubDate")))
    if "ArticleDate" in fields:
        dates += map(_parts, article.iterchildren("ArticleDate"))
    years = [words_of(date["Year"]) for date in dates if "Year" in date]
    return earliest_year(years) or earliest_year([words_of(issue.get("MedlineDate"))])


@lru_cache(maxsize=256)
def language_of(code: str) -> str | None:
    """A language's code as BCP 47 has it; None for none."""
    return LANGUAGES.get(code.lower(), code.lower()) or None


def _day(date: Element | None) -> int:
    """A date as 20261123; 0 where there is none."""
    if date is None:
        return 0
    parts = {child.tag: child.text for child in date}
    return day_number(parts.get("Year"), parts.get("Month"), parts.get("Day"))


@lru_cache(maxsize=8192)
def day_number(year: str | None, month: str | None, day: str | None) -> int:
    """A date as 20261123."""
    year_number, month_number, day_number = (number_of((part or "").strip()) for part in (year, month, day))
    return 10_000 * year_number + 100 * month_number + day_number


def number_of(text: str) -> int:
    """A number of at most four digits; 0 for anything else."""
    return int(text) if len(text) <= 4 and text.isascii() and text.isdigit() else 0


@lru_cache(maxsize=1024)
def with_hyphens(name: str) -> str:
    """ "Journal Article" as "journal-article"."""
    return "-".join(name.lower().split())
