"""Which articles of the PMC Cloud Service are wanted: what is asked on the command line, and what passes."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

from biolm.errors import ConfigError, InputError
from biolm.licences import LicenceFilter, allows, licence_of_code, without_version
from biolm.papers.metadata import Metadata

Manuscripts = Literal["include", "exclude", "only"]
_PMCID = re.compile(r"(?:PMC)?0*([1-9]\d{0,11})(?:\.\d+)?", re.IGNORECASE)
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
    """Whether articles that are retracted already are fetched too."""
    ids: tuple[str, ...] | None = None
    """The only PMCIDs to take."""
    pmcids: str | None = None
    """Range of PMCIDs, both ends included: PMC1000-PMC2000; either end may be left out."""
    query: str | None = None
    """What ESearch finds in PMC: "autophagy AND cc_by_license[Filter]"."""
    published: str | None = None
    """Range of publication dates, as ESearch knows them: 2015:2020, 2024/06/01:, :1999."""
    changed_since: str | None = None
    """Only what was changed at the service on this day (2026-01-31) or later."""
    sample: int | None = None
    """A random sample of so many articles among those that pass all else."""
    seed: int = 0
    """Chooses the sample."""

    def __post_init__(self) -> None:
        if self.licence not in get_args(LicenceFilter):
            self._codes()
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
        if not colon or not (begin or end) or any(day and not _YEAR.fullmatch(day) for day in (begin, end)):
            raise ConfigError(
                f"{self.published!r} is no range of dates; give one such as 2015:2020 or 2024/06/01:"
            )
        return f"{begin or '1000'}:{end or '3000'}[pdat]"

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
        return any(licence == code or without_version(licence) == code for code in self._codes())

    def _codes(self) -> tuple[str, ...]:
        """The licences that were named, as SPDX ids without version where none was given."""
        words = [word.strip() for word in self.licence.split(",")]
        codes = tuple(map(licence_of_code, words))
        for word, code in zip(words, codes, strict=True):
            if code == "unknown":
                raise ConfigError(
                    f"{word!r} is no licence; give any, commercial, by, or codes of PMC such as 'CC BY,CC0'"
                )
        return codes

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
        """Why none wants it, None where one does; "retracted" where one would want it but for that."""
        reasons = {selection.refusal(found): None for selection in self.selections}
        return None if None in reasons else "retracted" if "retracted" in reasons else next(iter(reasons))


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
    """PMCIDs in files, one a line; what stands behind white space, a comma or # is passed over.

    Raises InputError where a file cannot be read, holds none, or a line begins with anything else.
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
            word = re.split(r"[\s,;#]", line.strip(), maxsplit=1)[0]
            if not word:
                continue
            try:
                found.add(number_of(word))
                some = True
            except ValueError as error:
                if number == 1 and not any(map(str.isdigit, word)):
                    continue  # a heading
                raise InputError(f"{path}, line {number}: {error}; give one a line") from None
        if not some:
            raise InputError(f"{path} holds no PMCIDs; give a file with one a line")
    return pmcids(found)


def pmcids(numbers: Iterable[int]) -> tuple[str, ...]:
    """PMCIDs of numbers, sorted."""
    return tuple(f"PMC{number}" for number in sorted(numbers))
