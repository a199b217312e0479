"""ESearch of NCBI's E-utilities: which PMCIDs a query finds.

More than LIMIT ids are not given for one query, so larger answers are cut by the date on which articles were
released in PMC, down to single days.
"""

import json
import logging
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from biolm.errors import InputError
from biolm.papers.answers import Gone, Refused, Unanswered
from biolm.papers.client import Client

LIMIT = 9_999
"""Ids of one answer: NCBI's bound is 10,000, and was 9,999 where it counts from 0."""
FIRST_DAY = date(1990, 1, 1)
"""No article was released in PMC before."""
MOST_ID = 2**63 - 1
RATE_LIMITED_TRIES = 5
_log = logging.getLogger(__name__)


async def search_pmc(
    client: Client,
    endpoint: str,
    term: str,
    *,
    key: str | None = None,
    contact: str | None = None,
    limit: int = LIMIT,
    must_find: bool = True,
) -> set[int]:
    """Numbers of the PMCIDs that a query finds.

    Raises InputError where ESearch does not understand it, cannot be asked, or, with `must_find`, finds nothing.
    """
    ask = _Asker(client, endpoint, key, contact)
    first = await ask(term, limit)
    total = int(first["count"])
    if not total and must_find:
        raise InputError(
            f"ESearch finds no article in PMC for {term!r}{_complaint(first)}; ask for something else"
        )
    if complaint := _complaint(first):
        _log.warning("ESearch passes over part of %r%s", term, complaint)
    if total <= limit:
        return _ids(first)
    found: set[int] = set()
    today = date.today() + timedelta(days=2)
    spans = [(FIRST_DAY, today)]
    while spans:
        begin, end = spans.pop()
        part = await ask(f"({term}) AND {begin:%Y/%m/%d}:{end:%Y/%m/%d}[pmcrdat]", limit)
        count = int(part["count"])
        if count <= limit:
            found |= _ids(part)
        elif begin == end:
            raise InputError(
                f"ESearch finds {count:,} articles released on {begin} for {term!r}, and gives {limit:,} at most; "
                "narrow the query, or take its articles from the inventory"
            )
        else:
            middle = begin + (end - begin) // 2
            spans += [(begin, middle), (middle + timedelta(days=1), end)]
    if len(found) < total:
        _log.warning(
            "ESearch counts %s articles for %r, and names %s by day of release", total, term, len(found)
        )
    return found


class _Asker:
    """One question after another to ESearch."""

    def __init__(self, client: Client, endpoint: str, key: str | None, contact: str | None) -> None:
        self._client, self._url = client, f"{endpoint}/esearch.fcgi"
        self._always = {"db": "pmc", "retmode": "json", "tool": "biolm"}
        if key:
            self._always["api_key"] = key
        if contact and "@" in contact:
            self._always["email"] = contact

    async def __call__(self, term: str, retmax: int) -> Mapping[str, Any]:
        params = {**self._always, "term": term, "retmax": str(retmax)}
        for _ in range(RATE_LIMITED_TRIES):
            try:
                answer = await self._client.get(self._url, params=params)
                found = json.loads(answer.body, strict=False)
                if "error" in found and "rate limit" in str(found["error"]):  # also with status 200
                    continue
                result: Mapping[str, Any] = found["esearchresult"]
                if complaint := result.get("ERROR"):
                    said = " ".join(str(complaint).split())
                    raise InputError(f"ESearch refuses {term!r}: {said}; see PMC's help on searching")
                _complaint(result)
                if int(result["count"]) < 0:
                    raise ValueError("less than nothing")
                if int(result["count"]) <= retmax and len(_ids(result)) < int(result["count"]):
                    raise InputError(
                        f"ESearch at {self._url} finds {int(result['count']):,} articles for {term!r} and names "
                        f"{len(_ids(result)):,} of them; try again later, or narrow the query"
                    )
                return result
            except (Gone, Refused) as error:
                key = " and NCBI_API_KEY" if "api_key" in self._always else ""
                raise InputError(
                    f"ESearch at {self._url} does not answer ({error}); check --endpoint eutils=URL{key}"
                ) from None
            except Unanswered as error:
                raise InputError(
                    f"ESearch at {self._url} does not answer ({error}); try again later"
                ) from None
            except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
                raise InputError(
                    f"{self._url} answers nothing that ESearch would; check --endpoint eutils=URL"
                ) from None
        raise InputError(f"ESearch at {self._url} limits our rate; try again later, or set NCBI_API_KEY")


def _ids(result: Mapping[str, Any]) -> set[int]:
    """Numbers of the PMCIDs that an answer names. Raises ValueError for what is none."""
    found = {int(word) for word in result.get("idlist", [])}
    if found and not 0 < min(found) <= max(found) <= MOST_ID:
        raise ValueError("a number that no PMCID has")
    return found


def _complaint(result: Mapping[str, Any]) -> str:
    words = [word for found in (result.get("errorlist") or {}).values() for word in found]
    return f" (it does not know {' '.join(', '.join(map(str, words)).split())})" if words else ""
