"""Fetching papers into a store, and keeping it up to date: the same steps for every service.

The manifest of a store says of each source where it was fetched from, what was asked for, and of which day it is.
A fetch that was stopped goes on when the same is asked again, over the inventory of the day it began.
"""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

from biolm.errors import ConfigError, InputError
from biolm.papers.client import Client
from biolm.papers.cloud_runs import fetch_cloud, update_cloud
from biolm.papers.files import FileFetch, chosen_files, listed_files
from biolm.papers.own import OwnFetch, check_selection
from biolm.papers.own_folder import OwnFolder, local_address
from biolm.papers.report import Report
from biolm.papers.runs import Fetching, Outcome, finish, finish_update, record_of, today
from biolm.papers.selection import Selection, selection_of
from biolm.papers.services import EUTILS, PMC, SERVICES, endpoints, given_endpoints
from biolm.papers.store import open_store
from biolm.papers.writer import StoreWriter
from biolm.progress import Progress

OWN_ATTRIBUTION = (
    "Papers from {address}; under what terms they may be used is for whoever put them there to say."
)


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
    own = None if source in SERVICES else OwnFolder(local_address(source))
    listed = own.listed() if own else {}  # before anything is made
    with StoreWriter(out) as writer:
        if source == PMC.name:
            return asyncio.run(fetch_cloud(writer, selection, where, fetching, progress))
        if own:
            return _fetch_own(writer, own, listed, fetching, progress)
        return asyncio.run(_fetch_files(writer, source, selection, where[source], fetching, progress))


def check_source(source: str, selection: Selection, *, everything: bool) -> None:
    """Raise ConfigError where a selection does not fit the source."""
    if source == EUTILS.name:
        raise ConfigError(
            f"{source} has no papers; give one of {', '.join(name for name in SERVICES if name != source)}, or a folder"
        )
    if source in SERVICES and selection.is_everything and not everything:
        what = "articles; give for example --licence by" if source == PMC.name else "files; give --sample 1"
        raise ConfigError(f"nothing says which {what}, or --all for everything")
    if source in SERVICES and source != PMC.name:
        chosen_files([], source, selection)
    elif source != PMC.name:
        check_selection(selection)


def update_papers(store: Path, fetching: Fetching, progress: Progress) -> Outcome:
    """Bring a store up to date: what is new and wanted, what changed, and marks on what was withdrawn or retracted.

    Raises InputError where a service cannot be reached.
    """
    open_store(store)  # before anything is made there
    total, failed = Outcome(), list[InputError]()
    with StoreWriter(store) as writer:
        sources = sorted(writer.manifest["sources"])
        if not sources:
            raise InputError(f"{store} holds no source yet; fetch something into it")
        main = next((name for name in sources if name in SERVICES), PMC.name)
        given = given_endpoints(fetching.endpoints, main)
        for name in sources:
            facts = writer.source(name)
            kept: dict[str, str] = facts.get("endpoints", {})
            where = {**endpoints(()), **kept, **given}
            try:
                if name == PMC.name:
                    done = asyncio.run(update_cloud(writer, where, fetching, progress))
                elif name in SERVICES:
                    done = asyncio.run(_update_files(writer, name, where[name], fetching, progress))
                else:
                    own = OwnFolder(facts["address"])
                    done = _fetch_own(writer, own, own.listed(), fetching, progress)
            except InputError as error:  # the other sources can be brought up to date all the same
                failed.append(error)
                continue
            total.counts += done.counts
            total.report.problems += done.report.problems
            total.report.marks += done.report.marks
            total.again += done.again
            total.bytes += done.bytes
        total.report.write(store, total.again)
        if failed:
            raise failed[0]
    return total


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
        record = record_of(writer, SERVICES[source], {source: endpoint}, selection)
        outcome = await _bring_files(_files(writer, client, source, endpoint), names, progress)
        finish(writer, source, record, today(), outcome)
        return outcome


async def _update_files(
    writer: StoreWriter, source: str, endpoint: str, fetching: Fetching, progress: Progress
) -> Outcome:
    async with Client(fetching.http) as client:
        listed = await listed_files(client, source, endpoint)
        known = writer.known(source)
        wanted = {row["id"] for row in known.to_pylist() if row["state"] == "file"} & set(listed)
        for record in writer.source(source)["selections"]:
            selection = selection_of(record["settings"])
            if selection.sample is None:
                wanted |= set(chosen_files(listed, source, selection))
        fetch = _files(writer, client, source, endpoint)
        outcome = await _bring_files(fetch, sorted(wanted), progress)
        if not outcome.report.counts["unanswered"]:  # else what replaces them may not be there yet
            await fetch.withdraw(listed, known)
        finish_update(writer, source, today(), outcome)
        return outcome


def _files(writer: StoreWriter, client: Client, source: str, endpoint: str) -> FileFetch:
    return FileFetch(client=client, service=source, endpoint=endpoint, report=Report(), writer=writer)


async def _bring_files(fetch: FileFetch, names: list[str], progress: Progress) -> Outcome:
    """What comes of the named files; the counts are those of `fetch`, and grow with it."""
    again = fetch.client.traffic.again
    try:
        await fetch.run(names, fetch.writer.known(fetch.service), progress)
    finally:
        fetch.report.write(fetch.writer.folder, again)
    return Outcome(fetch.counts, fetch.report, again, fetch.read_bytes)


def _fetch_own(
    writer: StoreWriter,
    folder: OwnFolder,
    listed: dict[str, dict[str, Any]],
    fetching: Fetching,
    progress: Progress,
) -> Outcome:
    """All of a folder, at first and in an update alike."""
    name = folder.name
    facts = writer.source(name)
    if facts.setdefault("address", folder.shown) != folder.shown:
        raise ConfigError(
            f"the store has another folder called {name} ({facts['address']}); fetch this one into a store of its own"
        )
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
    facts |= {"complete": not report.counts["unanswered"], "as_of": today()}
    writer.write_manifest()
    return outcome
