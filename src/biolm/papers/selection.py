"""Which articles of the PMC Cloud Service are wanted: what is asked on the command line, and what passes."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from biolm.errors import ConfigError, InputError
from biolm.licences import UNKNOWN, LicenceFilter, allows, licence_of_code, without_version
from biolm.papers.metadata import Metadata

Manuscripts = Literal["include", "exclude", "only"]
_PMCID = re.compile(r"(?:PMC)?0*([1-9]\d{0,11})(?:\.\d+)?", re.IGNORECASE)
_WHOLE_PMCID = re.compile(r"PMC0*[1-9]\d{0,11}(?:\.\d+)?", re.IGNORECASE)
_YEAR = re.compile(r"\d{4}(?:/\d{1,2}(?:/\d{1,2})?)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which articles are wanted; an article must pass all that is given."""

    licence: str = "any"
    """any, commercial, by (CC BY, CC0 and the public domain), or PMC's codes such as "CC BY,CC BY-NC"."""
    open_access: bool = False
    """Only articles of the PMC Open Access Subset; else author manuscripts and others too."""
    manuscripts: Manuscripts = "include"
    """Author manuscripts, which are mostly for text mining only."""
    retracted: bool = False
    """Fetch articles that are retracted already too; a corpus drops them unless it is told otherwise."""
    ids: tuple[str, ...] | None = None
    """The only PMCIDs to take."""
    pmcids: str | None = None
    """Range of PMCIDs, both ends included: PMC1000-PMC2000; either end may be left out."""
    query: str | None = None
    """What ESearch finds in PMC: "autophagy AND cc_by_license[Filter]"."""
    published: str | None = None
    """Publication dates, as ESearch knows them: a year, or a range such as 2015:2020, 2024/06/01:, :1999."""
    changed_since: str | None = None
    """Only what was changed at the service on this day (2026-01-31) or later."""
    sample: int | None = None
    """A random sample of so many articles among those that pass all else."""
    seed: int = 0
    """Chooses the sample."""

    def __post_init__(self) -> None:
        if self.licence not in get_args(LicenceFilter):
            _codes(self.licence)
        if self.manuscripts not in get_args(Manuscripts):
            raise ConfigError(f"manuscripts {self.manuscripts!r}: give include, exclude or only")
        if self.pmcids is not None:
            self.bounds()
        if self.published is not None:
            self.publication_dates()
        if self.changed_since is not None:
            try:
                date.fromisoformat(self.changed_since)
            except ValueError:
                raise ConfigError(f"{self.changed_since!r} is no day; give one such as 2026-01-31") from None
        if self.sample is not None and self.sample < 1:
            raise ConfigError(f"a sample of {self.sample} articles is impossible; give 1 or more")
        if self.query is not None and not self.query.strip():
            raise ConfigError("--query is empty; give words such as autophagy")

    @property
    def is_everything(self) -> bool:
        """Whether nothing was asked that narrows the choice."""
        return self == Selection(retracted=self.retracted, seed=self.seed)

    @property
    def searches(self) -> bool:
        """Whether ESearch must be asked."""
        return self.query is not None or self.published is not None

    def bounds(self) -> tuple[int, int]:
        """The range of PMCIDs as numbers, both ends included."""
        low, dash, high = (self.pmcids or "").replace(" ", "").partition("-")
        try:
            first, last = (number_of(low) if low else 1), (number_of(high) if high else 10**12)
        except ValueError:
            dash = ""
        if not dash or first > last or not (low or high):
            raise ConfigError(f"{self.pmcids!r} is no range of PMCIDs; give one such as PMC1000-PMC2000")
        return first, last

    def publication_dates(self) -> str:
        """The clause that ESearch understands: "2015:3000[pdat]"."""
        begin, colon, end = (self.published or "").replace(" ", "").partition(":")
        if not colon:
            end = begin
        days = [_day(day) for day in (begin, end) if day]
        if not days or None in days or (len(days) == 2 and days[0] > days[1]):  # type: ignore[operator]
            raise ConfigError(
                f"{self.published!r} is no range of dates; give one such as 2015:2020 or 2024/06/01:"
            )
        return f"{begin or '1000'}:{end or '3000'}[pdat]"

    def asks_for(self, pmcid: str) -> bool:
        """Whether a PMCID is among those that are named, where any are."""
        if self.ids is not None and f"PMC{number_of(pmcid)}" not in _named(self.ids):
            return False
        if self.pmcids is None:
            return True
        low, high = self.bounds()
        return low <= number_of(pmcid) <= high

    def refusal(self, found: Metadata) -> str | None:
        """Why an article is not wanted, in a word; None where it is."""
        if not self._licence_passes(found.licence):
            return "licence"
        if self.open_access and not found.open_access:
            return "not open access"
        if self.manuscripts != "include" and found.manuscript != (self.manuscripts == "only"):
            return "manuscript" if found.manuscript else "no manuscript"
        if found.retracted and not self.retracted:
            return "retracted"
        return None

    def _licence_passes(self, licence: str) -> bool:
        if self.licence in ("any", "commercial", "by"):
            return allows(licence, self.licence)  # type: ignore[arg-type]  # one of its words
        codes = _codes(self.licence)
        return licence in codes or without_version(licence) in codes

    def settings(self) -> dict[str, Any]:
        """As the store's manifest records it: what differs from the defaults."""
        default = Selection()
        return {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != getattr(default, field.name)
        }


@dataclass(frozen=True, slots=True)
class AnyOf:
    """What any of several selections wants, by what the service says of an article."""

    selections: tuple[Selection, ...]

    def refusal(self, found: Metadata) -> str | None:
        """Why none wants it; None where one does or none names it, "retracted" where one would want it but for that."""
        asking = [selection for selection in self.selections if selection.asks_for(found.pmcid)]
        reasons = {selection.refusal(found): None for selection in asking}
        if not reasons:
            return None  # it is held, so it was asked for once
        return None if None in reasons else "retracted" if "retracted" in reasons else next(iter(reasons))


@lru_cache(maxsize=64)
def _codes(licence: str) -> frozenset[str]:
    """The licences that are named, as SPDX ids without version where none was given."""
    words = [word.strip() for word in licence.split(",")]
    codes = tuple(map(licence_of_code, words))
    for word, code in zip(words, codes, strict=True):
        if code == UNKNOWN:
            raise ConfigError(
                f"{word!r} is no licence; give any, commercial, by, or codes of PMC such as 'CC BY,CC0'"
            )
    return frozenset(codes)


@lru_cache(maxsize=8)
def _named(ids: tuple[str, ...]) -> frozenset[str]:
    return frozenset(ids)


def _day(text: str) -> tuple[int, ...] | None:
    """A year, month or day as numbers; None where there is no such one."""
    if not _YEAR.fullmatch(text):
        return None
    numbers = tuple(map(int, text.split("/")))
    try:
        date(*(*numbers, 1, 1)[:3])
    except ValueError:
        return None
    return numbers


def selection_of(settings: dict[str, Any]) -> Selection:
    """The selection that a manifest records. Raises ConfigError for a setting that this biolm does not have."""
    known = {field.name for field in dataclasses.fields(Selection)}
    if unknown := set(settings) - known:
        raise ConfigError(
            f"the store was fetched with {min(unknown)}, which this biolm does not know; update biolm"
        )
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }
    return Selection(**given)


def number_of(pmcid: str) -> int:
    """The number of a PMCID. Raises ValueError where it is none."""
    found = _PMCID.fullmatch(pmcid.strip())
    if not found:
        raise ValueError(f"{pmcid!r} is no PMCID")
    return int(found[1])


def read_pmcids(paths: Sequence[Path]) -> tuple[str, ...]:
    """PMCIDs in files: all that stand on a line, which begins with one; a heading and what follows # are passed over.

    "PMC" must stand before each: a bare number may be a PMID. Raises InputError where a file cannot be read,
    holds none, or a line begins with anything else.
    """
    found: set[int] = set()
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise InputError(f"{path} cannot be read: {why}; give a file of PMCIDs, one a line") from None
        some = False
        for number, line in enumerate(lines, 1):
            words = re.split(r"[\s,;]+", line.partition("#")[0].strip())
            ids = [word for word in words if _WHOLE_PMCID.fullmatch(word)]
            if not words[0] or (number == 1 and not ids and not words[0].isdecimal()):
                continue  # an empty line, a heading
            if words[0] not in ids:
                hint = f"; write PMC{words[0]} if it is one, and no PMID" if words[0].isdecimal() else ""
                raise InputError(
                    f"{path}, line {number}: {words[0]!r} is no PMCID{hint or '; give one a line'}"
                )
            found.update(map(number_of, ids))
            some = True
        if not some:
            raise InputError(f"{path} holds no PMCIDs; give a file with one a line")
    return pmcids(found)


def pmcids(numbers: Iterable[int]) -> tuple[str, ...]:
    """PMCIDs of numbers, sorted."""
    return tuple(f"PMC{number}" for number in sorted(numbers))
