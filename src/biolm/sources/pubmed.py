"""A PubMed record as an `Article`."""

import re

from biolm.records import Abstract, Article
from biolm.sources.abstracts import without_imprint
from biolm.sources.ids import content_hash, earliest_year, plain_doi, plain_pmcid, plain_pmid
from biolm.sources.text import text_of, with_colon
from biolm.sources.xml import Element, Unusable, words_of

RECORDS = ("PubmedArticle", "PubmedBookArticle")
"""Elements that hold one record each."""
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


def parse_record(record: Element, source: str) -> Article:
    """Read one record. `record`: its lxml element; `source`: where it was read. Missing parts stay empty.

    Raises Unusable where it holds neither an article nor a book's chapter.
    """
    citation = record.find("MedlineCitation")
    article = record.find("MedlineCitation/Article")
    if citation is None:
        citation = article = record.find("BookDocument")
    if citation is None or article is None:
        raise Unusable("a PubMed record without an article")
    ids = {
        element.get("IdType"): words_of(element)
        for path in ("PubmedData/ArticleIdList/ArticleId", "PubmedBookData/ArticleIdList/ArticleId")
        for element in record.iterfind(path)
    }
    electronic = [
        words_of(e) for e in article.iterfind("ELocationID[@EIdType='doi']") if e.get("ValidYN") != "N"
    ]
    return Article(
        source=source,
        pmid=plain_pmid(words_of(citation.find("PMID"))),
        pmcid=plain_pmcid(ids.get("pmc", "")),
        doi=plain_doi(" ".join((ids.get("doi", ""), *electronic))),
        title=_title(article),
        abstracts=_abstracts(article, citation),
        journal=words_of(article.find("Journal/Title"))
        or words_of(citation.find("MedlineJournalInfo/MedlineTA"))
        or None,
        year=_year(article),
        language=_language(words_of(article.find("Language"))),
        content_hash=content_hash(record),
    )


def _title(article: Element) -> str:
    """PubMed brackets a title that it translated: "[The pineal body]." reads "The pineal body."."""
    title = _TRANSLATED.sub("", text_of(article.find("ArticleTitle")))
    if found := _BRACKETED.fullmatch(title):
        title = f"{found[1]}."
    return title or text_of(article.find("VernacularTitle"))


def _abstracts(article: Element, citation: Element) -> tuple[Abstract, ...]:
    """The record's `Abstract`, English by PubMed's rules, and every `OtherAbstract` behind it, typed."""
    found = []
    if main := _sections(article.find("Abstract")):
        found.append(Abstract(text=main, language="en"))
    for other in citation.iterfind("OtherAbstract"):
        if text := _sections(other):
            language = _language(other.get("Language", ""))
            found.append(Abstract(text=text, kind=(other.get("Type") or "other").lower(), language=language))
    return tuple(found)


def _sections(abstract: Element | None) -> str:
    """ "Label: text" for each part; a label without text is content itself."""
    parts = []
    for element in () if abstract is None else abstract.iterfind("AbstractText"):
        label, text = " ".join(element.get("Label", "").split()), text_of(element)
        if label.upper() in ("UNLABELLED", "UNASSIGNED"):
            label = ""
        if label and text:
            parts.append(f"{with_colon(label)} {text}")
        elif label or text:
            parts.append(label or text)
    return without_imprint(TRUNCATED.sub("", " ".join(parts)))


def _year(article: Element) -> int | None:
    """The earliest of its years: of the issue, online, or of the book."""
    paths = ("ArticleDate/Year", "Book/PubDate/Year", "Journal/JournalIssue/PubDate/Year")
    years = [words_of(element) for path in paths for element in article.iterfind(path)]
    return earliest_year(years) or earliest_year(
        [words_of(article.find("Journal/JournalIssue/PubDate/MedlineDate"))]
    )


def _language(code: str) -> str | None:
    return LANGUAGES.get(code.lower(), code.lower()) or None
