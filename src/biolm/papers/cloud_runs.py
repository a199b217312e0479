"""A whole fetch or update from the PMC Cloud Service: what is chosen, brought, and said of it in the manifest."""

import hashlib
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from biolm.artifacts import cache_folder
from biolm.errors import InputError
from biolm.papers.bucket import Bucket
from biolm.papers.candidates import narrowed, numbers_in, to_do
from biolm.papers.client import Client
from biolm.papers.cloud import CloudFetch, withdrawals
from biolm.papers.esearch import search_pmc
from biolm.papers.metadata_cache import MetadataCache
from biolm.papers.report import Report
from biolm.papers.runs import Fetching, Outcome, finish, finish_update, forget, record_of
from biolm.papers.selection import AnyOf, Selection, selection_of
from biolm.papers.services import EUTILS, PMC
from biolm.papers.writer import StoreWriter
from biolm.progress import Progress

LISTED_IDS = 2_000
"""Up to so many articles are listed one by one; for more the whole inventory (some 300 MB) is less."""


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

    async def found(self, selection: Selection, *, must_find: bool = True) -> set[int] | None:
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
            must_find=must_find,
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

    def fetch(
        self, wanted: Selection | AnyOf, writer: StoreWriter | None, kept: AnyOf | None = None
    ) -> CloudFetch:
        """A pass over candidates; `kept`: what stays of what is held, else what is wanted."""
        wanted = AnyOf((wanted,)) if isinstance(wanted, Selection) else wanted
        return CloudFetch(
            bucket=self.bucket,
            cache=MetadataCache(self.cache / "metadata"),
            wanted=wanted,
            kept=kept or wanted,
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
    if not listed.num_rows and selection.ids is not None and not everything.num_rows:
        raise InputError(
            f"the selection is empty: {cloud.bucket.endpoint} lists none of the {len(selection.ids):,} articles that "
            "were asked for by id; check the ids"
        )
    if not listed.num_rows:
        raise InputError(
            f"the selection is empty: none of {everything.num_rows:,} listed versions of articles fits it; "
            "loosen --ids, --pmcids, --query, --changed-since or --licence"
        )
    return as_of, listed


async def fetch_cloud(
    writer: StoreWriter, selection: Selection, where: dict[str, str], fetching: Fetching, progress: Progress
) -> Outcome:
    """Bring what a selection wants and the store lacks; a stopped fetch goes on over the inventory of its day."""
    async with AsyncExitStack() as opened:
        cloud = await opened_cloud(opened, where, fetching, progress)
        record = record_of(writer, PMC, where, selection)
        is_new = record["as_of"] is None
        day = None if record["complete"] else record["as_of"]
        try:
            as_of, listed = await choose(cloud, selection, day)
        except BaseException:
            if is_new:
                forget(writer, PMC.name, record)
            raise
        _name_unknown(cloud.report, selection, listed)
        record |= {"as_of": as_of, "complete": False}
        writer.write_manifest()
        fetch = cloud.fetch(selection, writer, kept=_selections(writer))
        table = to_do(listed, writer.known(PMC.name))
        try:
            await fetch.run(table, progress)
        finally:
            cloud.report.write(writer.folder, cloud.client.traffic.again)
        outcome = Outcome(fetch.counts, cloud.report, cloud.client.traffic.again, fetch.xml_bytes)
        passed = sum(count for name, count in fetch.counts.items() if not name.startswith("not wanted"))
        if table.num_rows and cloud.report.counts == {"refused": table.num_rows}:
            why = cloud.report.problems[0][2]
            raise InputError(
                f"{cloud.bucket.endpoint} refuses all {table.num_rows:,} articles ({why}); check --endpoint, and "
                "whether its objects are public"
            )
        if not passed and table.num_rows == listed.num_rows and not cloud.report.problems:
            if is_new:
                forget(writer, PMC.name, record)
            said = ", ".join(f"{count:,} {name}" for name, count in fetch.counts.most_common())
            raise InputError(f"the selection is empty: of {listed.num_rows:,} listed, {said}; loosen it")
        finish(writer, PMC.name, record, as_of, outcome)
        return outcome


def _name_unknown(report: Report, selection: Selection, listed: pa.Table) -> None:
    """Name what was asked for by its id and is not listed."""
    there = set(listed["pmcid"].to_pylist()) if selection.ids is not None else set()
    if selection.sample is None:
        for name in selection.ids or ():
            if int(name[3:]) not in there:
                report.add(name, "unknown", "not listed, or not what the rest of the selection asks for")


def _selections(writer: StoreWriter) -> AnyOf:
    """What the manifest says was ever asked for."""
    records = writer.source(PMC.name)["selections"]
    return AnyOf(tuple(selection_of(record["settings"]) for record in records))


async def update_cloud(
    writer: StoreWriter, where: dict[str, str], fetching: Fetching, progress: Progress
) -> Outcome:
    """What is held is asked for again where it changed; then each selection for what is new."""
    async with AsyncExitStack() as opened:
        cloud = await opened_cloud(opened, where, fetching, progress)
        kept = _selections(writer)
        outcome = Outcome(report=cloud.report, again=cloud.client.traffic.again)
        known = writer.known(PMC.name)
        live = known.filter(pc.not_equal(known["state"], "withdrawn"))
        held = numbers_in(known["id"])
        growing = [selection for selection in kept.selections if selection.sample is None]
        found = [await cloud.found(selection, must_find=False) for selection in growing]
        only = [numbers_of(selection, ids) for selection, ids in zip(growing, found, strict=True)]
        every = None if None in only else sorted(set(held).union(*filter(None, only)))
        as_of, everything = await cloud.listed(every)
        refresh = cloud.fetch(kept, writer)
        try:
            mine = everything.filter(pc.is_in(everything["pmcid"], pa.array(held, pa.int64())))
            await refresh.run(to_do(mine, known), progress)
            there = await withdrawals(refresh, live, everything, progress)
            if there:
                await refresh.run(_unlisted(there), progress)
            _add(outcome, refresh)
            for place, (selection, ids) in enumerate(zip(growing, found, strict=True)):
                if place:  # the selection before may have brought the same
                    known = writer.known(PMC.name)
                listed = narrowed(everything, selection, ids)
                new = listed.filter(pc.invert(pc.is_in(listed["pmcid"], pa.array(held, pa.int64()))))
                fetch = cloud.fetch(selection, writer, kept=kept)
                await fetch.run(to_do(new, known), progress)
                _add(outcome, fetch)
        finally:
            cloud.report.write(writer.folder, outcome.again)
        finish_update(writer, PMC.name, as_of, outcome)
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
            },  # what is live has XML of the MD5 that its row says
        }
    )
