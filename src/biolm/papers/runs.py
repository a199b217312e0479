"""What every fetch has in common: how it is done, what came of it, and what the manifest says of it."""

import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from biolm.papers.answers import HttpConfig
from biolm.papers.esearch import LIMIT
from biolm.papers.report import Report
from biolm.papers.selection import Selection
from biolm.papers.services import SERVICES, Service
from biolm.papers.writer import StoreWriter


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetching:
    """How papers are fetched; it never changes which."""

    endpoints: tuple[str, ...] = ()
    """Words of `--endpoint`."""
    http: HttpConfig = field(default_factory=HttpConfig)
    esearch_limit: int = LIMIT
    """Ids that ESearch gives for one query."""

    @property
    def ncbi_key(self) -> str | None:
        """NCBI's API key, which never stands in a message or a store."""
        return os.environ.get("NCBI_API_KEY") or None


@dataclass(slots=True)
class Outcome:
    """What a fetch did."""

    counts: Counter[str] = field(default_factory=Counter)
    """Papers and files, by what became of them."""
    report: Report = field(default_factory=Report)
    again: Counter[str] = field(default_factory=Counter)
    """Tries that were repeated, by reason."""
    bytes: int = 0


def record_of(
    writer: StoreWriter, service: Service, where: dict[str, str], selection: Selection
) -> dict[str, Any]:
    """What the manifest says of a selection, from an earlier run or anew."""
    facts = writer.source(service.name)
    facts |= {name: getattr(service, name) for name in ("title", "licence", "terms", "attribution")}
    facts["endpoints"] = {name: url for name, url in where.items() if url != SERVICES[name].endpoint}
    records: list[dict[str, Any]] = facts.setdefault("selections", [])
    settings = selection.settings()
    for record in records:
        if record["settings"] == settings:
            return record
    records.append({"settings": settings, "as_of": None, "complete": False})
    return records[-1]


def forget(writer: StoreWriter, source: str, record: dict[str, Any]) -> None:
    """Take back a selection that brought nothing, and the source where it has no other."""
    records = writer.source(source)["selections"]
    records.remove(record)
    if not records:
        del writer.manifest["sources"][source]
    writer.write_manifest()


def finish_update(writer: StoreWriter, source: str, as_of: str | None, outcome: Outcome) -> None:
    """Say in the manifest how far an update got: it does not draw the rest of a sample that was stopped."""
    for record in writer.source(source)["selections"]:
        if record["complete"] or record["settings"].get("sample") is None:
            finish(writer, source, record, as_of, outcome)


def finish(
    writer: StoreWriter, source: str, record: dict[str, Any], as_of: str | None, outcome: Outcome
) -> None:
    """Say in the manifest how far a selection got."""
    record |= {"as_of": as_of or today(), "complete": not outcome.report.counts["unanswered"]}
    facts = writer.source(source)
    facts["as_of"] = min(
        other["as_of"] or record["as_of"] for other in facts["selections"]
    )  # the oldest part
    writer.write_manifest()


def today() -> str:
    """The day, in UTC."""
    return datetime.now(UTC).date().isoformat()
