"""A PubMed record as an `Article`."""

import hashlib
import re
from typing import Any

from lxml import etree

from biolm.records import Abstract, Article
from biolm.sources.jats import plain_doi
from biolm.sources.text import text_of

RECORDS = ("PubmedArticle", "PubmedBookArticle")
"""Elements that hold one record each."""
TRUNCATED = re.compile(r"\s*\(ABSTRACT TRUNCATED(?: AT \d+ WORDS)?\)\s*$")
AUTHORS_TRANSLATION = re.compile(r"\s*\(author's transl\)\.?$")
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
"""PubMed's ISO 639-2 codes as ISO 639-1; another one stays as it is."""


def parse_record(record: Any, source: str) -> Article:
    """Read one record. `record`: its lxml element; `source`: the file, to which "#PMID" is added."""
    citation = record.find("MedlineCitation")
    article = citation.find("Article") if citation is not None else record.find("BookDocument")
    pmid = _plain(
        record.find("MedlineCitation/PMID") if citation is not None else record.find("BookDocument/PMID")
    )
    ids = {
        element.get("IdType"): _plain(element)
        for path in ("PubmedData/ArticleIdList/ArticleId", "PubmedBookData/ArticleIdList/ArticleId")
        for element in record.findall(path)
    }
    pmc = re.fullmatch(r"(?:PMC)?(\d+)", ids.get("pmc", ""), re.IGNORECASE)
    pmid = pmid if pmid.isdigit() else ""
    return Article(
        source=f"{source}#{pmid}" if pmid else source,
        pmid=pmid or None,
        pmcid=f"PMC{pmc[1]}" if pmc else None,
        doi=plain_doi(ids.get("doi", "")),
        title=_title(article),
        abstracts=_abstracts(article, citation),
        journal=_plain(_find(article, "Journal/Title")) or None,
        year=_year(article),
        language=_language(_plain(_find(article, "Language"))),
        content_hash="" if pmid else hashlib.sha256(etree.tostring(record, with_tail=False)).hexdigest(),
    )


def _find(element: Any, path: str) -> Any:
    return None if element is None else element.find(path)


def _plain(element: Any) -> str:
    return "" if element is None else "".join(element.itertext()).strip()


def _title(article: Any) -> str:
    """PubMed brackets a title that it translated: "[The pineal body]." reads "The pineal body."."""
    title = AUTHORS_TRANSLATION.sub("", text_of(_find(article, "ArticleTitle")))
    found = re.fullmatch(r"\[(.*?)(?: ?\(author's transl\))?\](\.?)", title)
    return f"{found[1]}{'' if found[1].endswith('.') else found[2]}" if found else title


def _abstracts(article: Any, citation: Any) -> tuple[Abstract, ...]:
    found = []
    main = _sections(_find(article, "Abstract"))
    if main:
        found.append(Abstract(text=main, language="en"))  # PubMed's own abstracts are English, by its rules
    for other in () if citation is None else citation.findall("OtherAbstract"):
        text = _sections(other)
        if text:
            kind = other.get("Type", "other").lower()
            found.append(Abstract(text=text, kind=kind, language=_language(other.get("Language", ""))))
    return tuple(found)


def _sections(abstract: Any) -> str:
    """ "Label: text" for each part; a label without text is content itself."""
    parts = []
    for element in () if abstract is None else abstract.findall("AbstractText"):
        label, text = " ".join(element.get("Label", "").split()), text_of(element)
        if label and text:
            parts.append(f"{label if label.endswith((':', '.', '?')) else label + ':'} {text}")
        elif label or text:
            parts.append(label or text)
    return TRUNCATED.sub("", " ".join(parts))


def _year(article: Any) -> int | None:
    for path in ("Journal/JournalIssue/PubDate", "ArticleDate", "Book/PubDate", "ContributionDate"):
        date = _find(article, path)
        for part in ("Year", "MedlineDate"):
            found = re.search(r"\b(1[5-9]\d\d|20\d\d)\b", _plain(_find(date, part)))
            if found:
                return int(found[1])
    return None


def _language(code: str) -> str | None:
    return LANGUAGES.get(code.lower(), code.lower()) or None
