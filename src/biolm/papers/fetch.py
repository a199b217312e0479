"""Fetching papers into a store, and keeping it up to date: the same steps for every service.

The manifest of a store says of each source where it was fetched from, what was asked for, and of which day it is.
A fetch that was stopped goes on when the same is asked again, over the inventory of the day it began.
"""

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from biolm.artifacts import cache_folder
from biolm.errors import ConfigError, InputError
from biolm.papers.bucket import Bucket
from biolm.papers.client import Client, HttpConfig
from biolm.papers.cloud import CloudFetch, narrowed, to_do, withdrawals
from biolm.papers.esearch import LIMIT, search_pmc
from biolm.papers.files import FileFetch, chosen_files, listed_files
from biolm.papers.metadata import Metadata
from biolm.papers.metadata_cache import MetadataCache
from biolm.papers.own import OwnFetch, OwnFolder, check_selection, local_address, source_name, without_secrets
from biolm.papers.report import Report
from biolm.papers.selection import Selection, selection_of
from biolm.papers.services import EUTILS, PMC, SERVICES, Service, endpoints
from biolm.papers.writer import StoreWriter
from biolm.progress import Progress

LISTED_IDS = 2_000
"""Up to so many articles are listed one by one; for more the whole inventory (some 300 MB) is less."""
OWN_ATTRIBUTION = (
    "Papers from {address}; under what terms they may be used is for whoever put them there to say."
)


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


def fetch_papers(
    out: Path,
    source: str,
    selection: Selection,
    fetching: Fetching,
    progress: Progress,
    *,
    everything: bool = False,
) -> Outcome:
    """Bring what is selected of a source (a service's name, a folder, an address) into the store `out`.

    A store that exists gets what it lacks. `everything` says that no selection is meant.
    Raises ConfigError where the selection does not fit the source,
    InputError where the service cannot be reached or nothing is selected, ArtifactError where `out` is something else.
    """
    check_source(source, selection, everything=everything)
    where = endpoints(fetching.endpoints, source if source in SERVICES else PMC.name)
    with StoreWriter(out) as writer:
        if source == PMC.name:
            return asyncio.run(_fetch_cloud(writer, selection, where, fetching, progress))
        if source in SERVICES:
            return asyncio.run(_fetch_files(writer, source, selection, where[source], fetching, progress))
        return _fetch_own(writer, local_address(source), fetching, progress)


def check_source(source: str, selection: Selection, *, everything: bool) -> None:
    """Raise ConfigError where a selection does not fit the source."""
    if source == EUTILS.name:
        raise ConfigError(
            f"{source} has no papers; give one of {', '.join(set(SERVICES) - {source})}, or a folder"
        )
    if source == PMC.name:
        if selection.is_everything and not everything:
            raise ConfigError(
                "nothing says which articles; give for example --licence by, or --all for everything"
            )
    elif source in SERVICES:
        chosen_files([], source, selection)
    else:
        check_selection(selection)


def update_papers(store: Path, fetching: Fetching, progress: Progress) -> Outcome:
    """Bring a store up to date: what is new and wanted, what changed, and marks on what was withdrawn or retracted.

    Raises InputError where a service cannot be reached.
    """
    from biolm.papers.store import open_store

    open_store(store)  # before anything is made there
    total = Outcome()
    with StoreWriter(store) as writer:
        sources = sorted(writer.manifest["sources"])
        if not sources:
            raise InputError(f"{store} holds no source yet; fetch something into it")
        given = endpoints(fetching.endpoints, next((name for name in sources if name in SERVICES), PMC.name))
        for name in sources:
            facts = writer.source(name)
            kept: dict[str, str] = facts.get("endpoints", {})
            where = {
                key: kept.get(key, url) if url == SERVICES[key].endpoint else url
                for key, url in given.items()
            }
            if name == PMC.name:
                done = asyncio.run(_update_cloud(writer, where, fetching, progress))
            elif name in SERVICES:
                done = asyncio.run(_update_files(writer, name, where[name], fetching, progress))
            else:
                done = _fetch_own(writer, facts["address"], fetching, progress)
            total.counts += done.counts
            total.report.problems += done.report.problems
            total.again += done.again
            total.bytes += done.bytes
        total.report.write(store, total.again)
    return total


@dataclass(slots=True, kw_only=True)
class Cloud:
    """The services and folders that a fetch from the PMC Cloud Service needs."""

    client: Client
    bucket: Bucket
    eutils: str
    cache: Path
    fetching: Fetching
    progress: Progress
    report: Report = field(default_factory=Report)

    @property
    def in_flight(self) -> int:
        """Requests at the same time."""
        return self.fetching.http.in_flight

    async def found(self, selection: Selection) -> set[int] | None:
        """The PMCIDs that ESearch gives for a selection; None where it is not asked."""
        if not selection.searches:
            return None
        clauses = [f"({selection.query})"] if selection.query and selection.published else [selection.query]
        if selection.published:
            clauses.append(selection.publication_dates())
        self.progress.start("search PMC", None, "requests")
        found = await search_pmc(
            self.client,
            self.eutils,
            " AND ".join(clause for clause in clauses if clause),
            key=self.fetching.ncbi_key,
            contact=self.fetching.http.contact,
            limit=self.fetching.esearch_limit,
        )
        self.progress.finish(f"{len(found):,} articles")
        return found

    async def listed(
        self, numbers: Sequence[int] | None, day: str | None = None
    ) -> tuple[str | None, pa.Table]:
        """The day of the inventory that was taken, and LISTED of some articles or of all.

        A few articles are listed one by one, without an inventory.
        """
        if numbers is not None and len(numbers) <= LISTED_IDS:
            self.progress.start("list articles", len(numbers), "requests")
            listed = await self.bucket.listed(list(numbers), self.in_flight)
            self.progress.finish(f"{listed.num_rows:,} versions of {len(numbers):,} articles")
            return None, listed
        self.progress.start("read the inventory", None, "files")
        found = await self.bucket.inventory(self.cache, day)
        if found is None:
            listed = await self.bucket.everything()
            self.progress.finish(f"none there; {listed.num_rows:,} versions listed instead")
            return None, listed
        self.progress.finish(f"{found[1].num_rows:,} versions of articles, as of {found[0]}")
        return found

    def fetch(self, selection: Any, writer: StoreWriter | None) -> CloudFetch:
        """A pass over candidates."""
        return CloudFetch(
            bucket=self.bucket,
            cache=MetadataCache(self.cache / "metadata"),
            selection=selection,
            report=self.report,
            in_flight=self.in_flight,
            writer=writer,
        )


async def opened_cloud(
    opened: AsyncExitStack, where: dict[str, str], fetching: Fetching, progress: Progress
) -> Cloud:
    """The PMC Cloud Service, ready to be asked."""
    rate = 10.0 if fetching.ncbi_key else EUTILS.per_second
    assert rate is not None
    client = await opened.enter_async_context(Client(fetching.http, {where[EUTILS.name]: rate}))
    endpoint = where[PMC.name]
    cache = cache_folder() / "pmc" / hashlib.sha256(endpoint.encode()).hexdigest()[:16]
    return Cloud(
        client=client,
        bucket=Bucket(client, endpoint),
        eutils=where[EUTILS.name],
        cache=cache,
        fetching=fetching,
        progress=progress,
    )


def numbers_of(selection: Selection, found: set[int] | None) -> list[int] | None:
    """The only PMCIDs that a selection can take, where it names any."""
    if selection.ids is None and found is None:
        return None
    ids = None if selection.ids is None else {int(name[3:]) for name in selection.ids}
    return sorted(ids & found if ids is not None and found is not None else ids or found or ())


async def choose(cloud: Cloud, selection: Selection, day: str | None = None) -> tuple[str | None, pa.Table]:
    """The day of the inventory, and LISTED of what a selection asks for as far as it can be told without metadata.

    Raises InputError where that is nothing.
    """
    found = await cloud.found(selection)
    as_of, everything = await cloud.listed(numbers_of(selection, found), day)
    listed = narrowed(everything, selection, found)
    if selection.sample is not None:
        look = cloud.fetch(selection, None)
        numbers = await look.wanted_numbers(listed, selection.sample, selection.seed, cloud.progress)
        listed = listed.filter(pc.is_in(listed["pmcid"], pa.array(numbers, pa.int64())))
    if not listed.num_rows:
        raise InputError(
            f"the selection is empty: none of {everything.num_rows:,} listed versions of articles fits it; "
            "loosen --ids, --pmcids, --query, --changed-since or --licence"
        )
    return as_of, listed


async def _fetch_cloud(
    writer: StoreWriter, selection: Selection, where: dict[str, str], fetching: Fetching, progress: Progress
) -> Outcome:
    async with AsyncExitStack() as opened:
        cloud = await opened_cloud(opened, where, fetching, progress)
        record = _record_of(writer, PMC, where, selection)
        day = None if record["complete"] else record["as_of"]
        as_of, listed = await choose(cloud, selection, day)
        record |= {"as_of": as_of, "complete": False}
        writer.write_manifest()
        fetch = cloud.fetch(selection, writer)
        table = to_do(listed, writer.known(PMC.name))
        try:
            await fetch.run(table, progress)
        finally:
            cloud.report.write(writer.folder, cloud.client.traffic.again)
        outcome = Outcome(fetch.counts, cloud.report, cloud.client.traffic.again, fetch.xml_bytes)
        passed = sum(count for name, count in fetch.counts.items() if not name.startswith("not wanted"))
        if not passed and table.num_rows == listed.num_rows and not cloud.report.problems:
            writer.source(PMC.name)["selections"].remove(record)
            writer.write_manifest()
            said = ", ".join(f"{count:,} {name}" for name, count in fetch.counts.most_common())
            raise InputError(f"the selection is empty: of {listed.num_rows:,} listed, {said}; loosen it")
        _finish(writer, PMC.name, record, as_of, outcome)
        return outcome


@dataclass(frozen=True, slots=True)
class AnyOf:
    """What any of several selections wants."""

    selections: tuple[Selection, ...]

    def refusal(self, found: Metadata) -> str | None:
        """Why none wants it; None where one does."""
        reasons = [selection.refusal(found) for selection in self.selections]
        return None if None in reasons else reasons[0]


async def _update_cloud(
    writer: StoreWriter, where: dict[str, str], fetching: Fetching, progress: Progress
) -> Outcome:
    """What is held is asked for again where it changed; then each selection for what is new."""
    async with AsyncExitStack() as opened:
        cloud = await opened_cloud(opened, where, fetching, progress)
        facts = writer.source(PMC.name)
        records = facts["selections"]
        selections = tuple(selection_of(record["settings"]) for record in records)
        outcome = Outcome(report=cloud.report, again=cloud.client.traffic.again)
        known = writer.known(PMC.name)
        live = known.filter(pc.not_equal(known["state"], "withdrawn"))
        held = sorted({int(name[3:].partition(".")[0]) for name in live["id"].to_pylist()})
        found = [await cloud.found(selection) for selection in selections]
        only = [numbers_of(selection, ids) for selection, ids in zip(selections, found, strict=True)]
        growing = [
            names for names, selection in zip(only, selections, strict=True) if selection.sample is None
        ]
        every = None if None in growing else sorted(set(held).union(*filter(None, growing)))
        as_of, everything = await cloud.listed(every)
        refresh = cloud.fetch(AnyOf(selections), writer)
        try:
            mine = everything.filter(pc.is_in(everything["pmcid"], pa.array(held, pa.int64())))
            await refresh.run(to_do(mine, known), progress)
            there = await withdrawals(refresh, live.to_pylist(), everything, progress)
            if there:
                await refresh.run(_unlisted(there), progress)
            _add(outcome, refresh)
            for selection, ids in zip(selections, found, strict=True):
                if selection.sample is None:
                    listed = narrowed(everything, selection, ids)
                    new = listed.filter(pc.invert(pc.is_in(listed["pmcid"], pa.array(held, pa.int64()))))
                    fetch = cloud.fetch(selection, writer)
                    await fetch.run(to_do(new, writer.known(PMC.name)), progress)
                    _add(outcome, fetch)
        finally:
            cloud.report.write(writer.folder, outcome.again)
        for record in records:
            _finish(writer, PMC.name, record, as_of, outcome)
        return outcome


def _add(outcome: Outcome, fetch: CloudFetch) -> None:
    outcome.counts += fetch.counts
    outcome.bytes += fetch.xml_bytes


def _unlisted(rows: list[dict[str, Any]]) -> pa.Table:
    """What is there without being listed, in the form of `to_do`."""
    return pa.table(
        {
            "name": pa.array([row["id"] for row in rows], pa.string()),
            "etag": pa.array([""] * len(rows), pa.string()),
            "modified": pa.array([row["modified"] for row in rows], pa.timestamp("s", "UTC")),
            **{
                f"held_{name}": pa.array([row[name] for row in rows], pa.string())
                for name in ("state", "md5", "etag")
            },
        }
    )


async def _fetch_files(
    writer: StoreWriter,
    source: str,
    selection: Selection,
    endpoint: str,
    fetching: Fetching,
    progress: Progress,
) -> Outcome:
    async with Client(fetching.http) as client:
        names = chosen_files(await listed_files(client, source, endpoint), source, selection)
        if not names:
            raise InputError("the selection is empty: no file fits it; loosen --pmcids")
        record = _record_of(writer, SERVICES[source], {source: endpoint}, selection)
        return await _bring_files(writer, client, source, endpoint, names, [record], progress)


async def _update_files(
    writer: StoreWriter, source: str, endpoint: str, fetching: Fetching, progress: Progress
) -> Outcome:
    async with Client(fetching.http) as client:
        listed = await listed_files(client, source, endpoint)
        records = writer.source(source)["selections"]
        known = writer.known(source)
        wanted = {row["id"] for row in known.to_pylist() if row["state"] == "file"} & set(listed)
        for record in records:
            selection = selection_of(record["settings"])
            if selection.sample is None:
                wanted |= set(chosen_files(listed, source, selection))
        outcome = await _bring_files(writer, client, source, endpoint, sorted(wanted), records, progress)
        gone = FileFetch(
            client=client, service=source, endpoint=endpoint, report=outcome.report, writer=writer
        )
        gone.withdraw(listed, known)
        outcome.counts += gone.counts
        return outcome


async def _bring_files(
    writer: StoreWriter,
    client: Client,
    source: str,
    endpoint: str,
    names: list[str],
    records: list[dict[str, Any]],
    progress: Progress,
) -> Outcome:
    report = Report()
    fetch = FileFetch(client=client, service=source, endpoint=endpoint, report=report, writer=writer)
    try:
        await fetch.run(names, writer.known(source), progress)
    finally:
        report.write(writer.folder, client.traffic.again)
    outcome = Outcome(fetch.counts, report, client.traffic.again, fetch.read_bytes)
    for record in records:
        _finish(writer, source, record, _today(), outcome)
    return outcome


def _fetch_own(writer: StoreWriter, address: str, fetching: Fetching, progress: Progress) -> Outcome:
    """All of a folder, at first and in an update alike."""
    name = source_name(address)
    facts = writer.source(name)
    if facts.setdefault("address", without_secrets(address)) != without_secrets(address):
        raise ConfigError(
            f"the store has another folder called {name} ({facts['address']}); fetch this one into a store of its own"
        )
    folder = OwnFolder(address)
    listed = folder.listed()
    facts |= {"attribution": OWN_ATTRIBUTION.format(address=name), "complete": False, "title": name}
    writer.write_manifest()
    report = Report()
    fetch = OwnFetch(
        source=name, folder=folder, report=report, writer=writer, in_flight=fetching.http.in_flight
    )
    known = writer.known(name)
    try:
        fetch.run(listed, known, progress)
        fetch.withdraw(listed, known)
    finally:
        report.write(writer.folder, Counter())
    outcome = Outcome(fetch.counts, report, Counter(), fetch.read_bytes)
    facts |= {"complete": not report.counts["unanswered"], "as_of": _today()}
    writer.write_manifest()
    return outcome


def _record_of(
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


def _finish(
    writer: StoreWriter, source: str, record: dict[str, Any], as_of: str | None, outcome: Outcome
) -> None:
    """Say in the manifest how far a selection got."""
    record |= {"as_of": as_of or _today(), "complete": not outcome.report.counts["unanswered"]}
    writer.source(source)["as_of"] = record["as_of"]
    writer.write_manifest()


def _today() -> str:
    return datetime.now(UTC).date().isoformat()
