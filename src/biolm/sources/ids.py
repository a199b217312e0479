"""A paper's ids, years and hash as both formats write them, in one form."""

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache

from lxml import etree

from biolm.sources.xml import Element

_PMID = re.compile(r"\s*0*([1-9][0-9]{0,9})(?:\.0|v\d+)?\s*")
_PMCID = re.compile(r"\s*(?:PMC)?\s*0*([1-9][0-9]{0,11})(?:\.[0-9]+)?\s*", re.IGNORECASE)
_DOI = re.compile(r"\b10\.[0-9]{4,9}(?:\.[0-9]{1,9}){0,4}+/\S+")
_YEAR = re.compile(r"\b(1[6-9][0-9]{2}|20[0-9]{2})\b")


def plain_pmid(value: str) -> str | None:
    """Its digits; None where the text is no PMID."""
    found = _PMID.fullmatch(value)
    return found[1] if found else None


def plain_pmcid(value: str) -> str | None:
    """ "PMC" and digits, without a version; None where the text is no PMCID."""
    found = _PMCID.fullmatch(value)
    return f"PMC{found[1]}" if found else None


def plain_doi(value: str) -> str | None:
    """A DOI in lower case, without resolver or "doi:"; None where the text holds none."""
    found = _DOI.search(value)
    return found[0].lower() if found else None


def earliest_year(texts: Iterable[str]) -> int | None:
    """The earliest year that the texts name, out of 1600 to 2099; None where they name none."""
    return min((year for text in texts if (year := _earliest(text))), default=None)


@lru_cache(maxsize=4096)
def _earliest(text: str) -> int | None:
    return min(map(int, _YEAR.findall(text)), default=None)


def content_hash(element: Element) -> str:
    """SHA-256 of the element as serialized, without what follows it."""
    return hashlib.sha256(etree.tostring(element, encoding="utf-8", with_tail=False)).hexdigest()
