"""Services that give large files in folders: Europe PMC's bundles, PubMed's baseline and updates.

A file is kept as it comes: packed well already, and read in a stream. It is whole when it has the MD5 that the
service states, or else when its gzip checksum is right.
"""

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from zlib import error as ZlibError

import numpy as np
import pyarrow as pa
from isal import igzip, isal_zlib

from biolm.errors import ConfigError, InputError
from biolm.papers.answers import Answer, Damaged, Gone, Refused, Unanswered
from biolm.papers.at_once import at_once
from biolm.papers.candidates import sample_order
from biolm.papers.checksums import md5_of_file
from biolm.papers.client import Client
from biolm.papers.report import Report, in_words
from biolm.papers.selection import Selection
from biolm.papers.services import EUROPE_PMC, PUBMED
from biolm.papers.writer import StoreWriter
from biolm.progress import Progress

IN_FLIGHT = 4
"""Files at the same time: they are large, and their servers small."""
WRONG_TRIES = 3
_FOLDERS = {EUROPE_PMC.name: ("",), PUBMED.name: ("baseline/", "updatefiles/")}
_NAMES = {
    EUROPE_PMC.name: re.compile(r"PMC(\d+)_PMC(\d+)\.xml\.gz"),
    PUBMED.name: re.compile(r"pubmed\d\dn\d{4}\.xml\.gz"),
}
_MD5_FILE = re.compile(r"(?:^|[=\s])([0-9a-f]{32})(?:\s|$)", re.IGNORECASE)


@dataclass(slots=True, kw_only=True)
class FileFetch:
    """One pass over the files of a service."""

    client: Client
    service: str
    endpoint: str
    report: Report
    writer: StoreWriter
    counts: Counter[str] = field(default_factory=Counter)
    read_bytes: int = 0

    async def run(self, names: list[str], known: pa.Table, progress: Progress) -> None:
        """Bring what is new or changed of the named files. Problems go to the report."""
        held = {row["id"]: row for row in known.to_pylist() if row["state"] == "file"}
        done = 0

        def tick(more: int) -> None:
            self.read_bytes += more
            progress.update(done, f"{self.read_bytes / 1e6:,.0f} MB")

        async def one(name: str) -> None:
            nonlocal done
            try:
                await self._file(name, held.get(name), tick)
            except (Gone, Refused, Damaged, Unanswered) as error:
                self.report.failed(name, error)
            done += 1
            progress.update(done, f"{self.read_bytes / 1e6:,.0f} MB")

        progress.start(f"fetch files of {self.service}", len(names), "files")
        await at_once(one, names, IN_FLIGHT)
        progress.finish(f"{in_words(self.counts)}, {self.read_bytes / 1e6:,.1f} MB")

    async def withdraw(self, listed: list[str], known: pa.Table) -> None:
        """Mark the files that the service has no more: a new baseline's predecessors, bundles cut otherwise.

        One that is not listed is asked for first: a listing may be cut, or of a service in disorder.
        """
        names = set(listed)

        async def ask(row: dict[str, Any]) -> None:
            try:
                await self.client.get(f"{self.endpoint}/{quote(row['id'])}", method="HEAD")
            except Gone:
                self.writer.add(
                    source=self.service,
                    id=row["id"],
                    state="withdrawn",
                    md5=row["md5"],
                    etag=row["etag"],
                    note="no longer at the service",
                )
                self.report.marks.append((row["id"], "withdrawn: no longer at the service"))
                self.counts["withdrawn"] += 1
            except (Refused, Unanswered) as error:
                self.report.add(row["id"], "unanswered", f"neither listed nor certainly gone: {error}")

        missing = [row for row in known.to_pylist() if row["state"] == "file" and row["id"] not in names]
        await at_once(ask, missing, IN_FLIGHT)

    async def _file(self, name: str, held: dict[str, Any] | None, tick: Any) -> None:
        url = f"{self.endpoint}/{quote(name)}"
        head = await self.client.get(url, method="HEAD")
        mark = stamp(head)
        if held and mark and held["etag"] == mark and self.writer.has_file(held):
            self.counts["unchanged"] += 1
            return
        partial = self.writer.partial_file(self.service, name)
        for tried in range(1, WRONG_TRIES + 1):
            stated = await self._stated_md5(url)
            answer = await self.client.download(url, partial, tick=tick)
            found, why = await asyncio.to_thread(_checked, partial, stated)
            if why is None:
                break
            partial.unlink()
            self.client.traffic.again[why] += 1
            if tried == WRONG_TRIES:
                raise Damaged(f"{why}, {tried} times")
        self.writer.add_file(
            partial, source=self.service, id=name, md5=found, etag=mark, modified=modified(answer), url=url
        )
        self.counts["changed" if held else "new"] += 1

    async def _stated_md5(self, url: str) -> str | None:
        if self.service != PUBMED.name:
            return None
        try:
            said = (await self.client.get(f"{url}.md5", most_bytes=4096)).body.decode("ascii", "replace")
        except Gone:
            return None
        found = _MD5_FILE.search(said)
        return found[1].lower() if found else None


async def listed_files(client: Client, service: str, endpoint: str) -> list[str]:
    """Names of the service's files, as places below its endpoint. Raises InputError where it lists none."""
    names: list[str] = []
    for folder in _FOLDERS[service]:
        try:
            page = await client.get(f"{endpoint}/{folder}", most_bytes=64 << 20)
        except (Gone, Refused, Unanswered) as error:
            raise InputError(
                f"{endpoint}/{folder} cannot be listed ({error}); check --endpoint {service}=URL"
            ) from None
        found = sorted(name for name in _links(page.body) if _NAMES[service].fullmatch(name))
        names += [f"{folder}{name}" for name in found]
    if not names:
        raise InputError(f"{endpoint} lists no files of {service}; check --endpoint {service}=URL")
    return names


def chosen_files(names: list[str], service: str, selection: Selection) -> list[str]:
    """The files that a selection asks for. Raises ConfigError for what files cannot be chosen by."""
    possible = {"sample", "seed"} | ({"pmcids"} if service == EUROPE_PMC.name else set())
    if impossible := set(selection.settings()) - possible:
        option = min(impossible).replace("_", "-")
        raise ConfigError(
            f"files of {service} hold thousands of papers and cannot be chosen by --{option}; "
            "fetch them, and filter with `biolm corpus build`"
        )
    if selection.pmcids is not None:
        low, high = selection.bounds()
        spans = {name: tuple(map(int, _NAMES[service].fullmatch(name).groups())) for name in names}  # type: ignore[union-attr]
        names = [name for name in names if spans[name][0] <= high and spans[name][1] >= low]
    if selection.sample is not None:
        names = sorted(names)
        order = sample_order(np.arange(len(names)), selection.seed)
        names = sorted(names[place] for place in order[: selection.sample])
    return names


def stamp(answer: Answer) -> str:
    """What tells one state of a file from another: its ETag, else its time and size."""
    headers = answer.headers
    return answer.etag or f"{headers.get('last-modified', '')} {headers.get('content-length', '')}".strip()


def modified(answer: Answer) -> datetime | None:
    """When the service says that a file was last changed."""
    try:
        return parsedate_to_datetime(answer.headers["last-modified"]).astimezone(UTC)
    except (KeyError, ValueError, OverflowError):  # the last for a time before the year 1
        return None


def _checked(path: Path, stated: str | None) -> tuple[str, str | None]:
    """The MD5 of a file, and what is wrong with it."""
    found = md5_of_file(path)
    if stated is not None:
        return found, None if found == stated else "wrong MD5"
    try:
        if not path.stat().st_size:
            return found, "damaged gzip"
        with igzip.open(path, "rb") as packed:
            while packed.read(1 << 20):
                pass
    except (OSError, EOFError, ZlibError, isal_zlib.error):
        return found, "damaged gzip"
    return found, None


class _Links(HTMLParser):
    """Names of the files that a page links to, in its own folder."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get("href") if tag == "a" else None
        try:
            path = urlsplit(address or "").path
        except ValueError:
            return
        if path:
            self.names.add(unquote(path).rpartition("/")[2])


def _links(page: bytes) -> set[str]:
    parser = _Links()
    try:
        parser.feed(page.decode("utf-8", "replace"))
    except (AssertionError, ValueError):  # what HTMLParser raises for declarations that are none
        return set()
    return parser.names
