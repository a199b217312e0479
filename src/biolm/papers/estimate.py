"""What a fetch would bring, how large it is and how long it takes: a probe of it, which is thrown away."""

import asyncio
import math
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biolm.artifacts import check_free
from biolm.papers.answers import Gone, Refused, Unanswered
from biolm.papers.at_once import at_once
from biolm.papers.candidates import sample_order, to_do
from biolm.papers.client import Client
from biolm.papers.cloud_runs import choose, opened_cloud
from biolm.papers.fetch import check_source
from biolm.papers.files import chosen_files, listed_files, stamp
from biolm.papers.own_folder import OwnFolder, is_paper, local_address, mark_of
from biolm.papers.runs import Fetching
from biolm.papers.selection import Selection
from biolm.papers.services import PMC, SERVICES, endpoints
from biolm.papers.store import is_store, read_index
from biolm.progress import Progress

PROBE_ARTICLES = 200
PROBE_FILES = 16
PROBE_BYTES = 16 << 20
"""Of one large file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a fetch would do."""

    listed: int
    """Articles or files that fit as far as the listing tells."""
    held: int
    """Of these, those that the store has as they are."""
    probed: int
    """Of the others, those that were looked at, and thrown away."""
    wanted: tuple[float, float]
    """Of those, the share that passes: 95 % interval (Wilson)."""
    articles: float
    """To fetch."""
    bytes: float
    """Of them, as they come."""
    stored_bytes: float
    """Of them, as the store keeps them."""
    seconds: float
    """At the speed of the probe."""

    def lines(self, unit: str) -> list[str]:
        """For a person."""
        rest = self.listed - self.held
        found = [f"{self.listed:,} {unit} listed, {self.held:,} of them in the store as they are"]
        if not rest:
            return [*found, "nothing to fetch"]
        low, high = (rest * share for share in self.wanted)
        exactly = self.probed >= rest or low == high
        interval = "" if exactly else f" (95 % interval: {low:,.0f} to {high:,.0f})"
        found.append(f"{self.articles:,.0f} {unit} to fetch{interval}")
        found.append(
            f"{self.bytes / 1e6:,.1f} MB to download, {self.stored_bytes / 1e6:,.1f} MB in the store"
        )
        speed = f"{self.bytes / max(self.seconds, 1e-9) / 1e6:,.1f} MB/s" if self.bytes else "no bytes"
        found.append(
            f"{_duration(self.seconds)} at the speed of a probe of {self.probed:,} {unit}, thrown away ({speed})"
        )
        return found


def estimate_fetch(
    out: Path,
    source: str,
    selection: Selection,
    fetching: Fetching,
    progress: Progress,
    *,
    everything: bool = False,
) -> Estimate:
    """What `fetch_papers` would do with the same arguments; nothing is written but the cache. Raises as it does."""
    check_source(source, selection, everything=everything)
    where = endpoints(fetching.endpoints, source if source in SERVICES else PMC.name)
    own = None if source in SERVICES else OwnFolder(local_address(source))
    known = None
    if is_store(out):
        index = read_index(out)
        known = index.filter(pc.equal(index["source"], own.name if own else source))
    else:
        check_free(out)
    if own:
        return _estimate_own(known, own)
    if source == PMC.name:
        return asyncio.run(_estimate_cloud(known, selection, where, fetching, progress))
    return asyncio.run(_estimate_files(known, source, selection, where[source], fetching, progress))


async def _estimate_cloud(
    known: pa.Table | None,
    selection: Selection,
    where: dict[str, str],
    fetching: Fetching,
    progress: Progress,
) -> Estimate:
    async with AsyncExitStack() as opened:
        cloud = await opened_cloud(opened, where, fetching, progress)
        _, listed = await choose(cloud, selection)
        if known is None:
            known = pa.table({name: pa.array([], pa.string()) for name in ("id", "state", "xml_md5", "etag")})
        table = to_do(listed, known)
        rest = table.num_rows
        probe = table.take(np.sort(sample_order(np.arange(rest), selection.seed)[:PROBE_ARTICLES]))
        packed = 0

        def measure(xml: bytes) -> None:
            nonlocal packed
            packed += len(pa.Codec("zstd", compression_level=3).compress(xml))

        fetch = cloud.fetch(selection, None)
        fetch.on_article = measure
        started = time.monotonic()
        await fetch.run(probe, progress)
        seconds = time.monotonic() - started
        fetched = fetch.counts["new"] + fetch.counts["changed"]
        share = fetched / max(1, probe.num_rows)
        scale = rest / max(1, probe.num_rows)
        return Estimate(
            listed=listed.num_rows,
            held=listed.num_rows - rest,
            probed=probe.num_rows,
            wanted=(share, share) if probe.num_rows == rest else wilson(fetched, probe.num_rows),
            articles=rest * share,
            bytes=fetch.xml_bytes * scale,
            stored_bytes=packed * scale,
            seconds=seconds * scale,
        )


async def _estimate_files(
    known: pa.Table | None,
    source: str,
    selection: Selection,
    endpoint: str,
    fetching: Fetching,
    progress: Progress,
) -> Estimate:
    held = _held(known)
    async with Client(fetching.http) as client:
        names = chosen_files(await listed_files(client, source, endpoint), source, selection)
        sizes: dict[str, int] = {}
        as_they_are = 0

        async def ask(name: str) -> None:
            nonlocal as_they_are
            with suppress(Gone, Refused, Unanswered):
                head = await client.get(f"{endpoint}/{name}", method="HEAD")
                if (mark := stamp(head)) and held.get(name) == mark:
                    as_they_are += 1
                else:
                    sizes[name] = int(head.headers.get("content-length", 0))
            progress.update(as_they_are + len(sizes))

        progress.start("ask for sizes", len(names), "files")
        await at_once(ask, names, min(8, fetching.http.in_flight))
        progress.finish(f"{sum(sizes.values()) / 1e6:,.0f} MB to fetch")
        seen, seconds = 0, 0.0
        for name in sizes:
            started = time.monotonic()
            with suppress(Gone, Refused, Unanswered):
                url = f"{endpoint}/{name}"
                seen = len((await client.get(url, first_bytes=PROBE_BYTES, most_bytes=1 << 30)).body)
                seconds = time.monotonic() - started
                break
    return _of_files(len(names), as_they_are, list(sizes.values()), min(1, len(sizes)), seen, seconds)


def _estimate_own(known: pa.Table | None, folder: OwnFolder) -> Estimate:
    listed, held = folder.listed(), _held(known)
    names = sorted(filter(is_paper, listed))
    rest = [name for name in names if not (mark := mark_of(listed, name)) or held.get(name) != mark]
    probe = [rest[place] for place in sample_order(np.arange(len(rest)), 0)[:PROBE_FILES]]
    started, seen = time.monotonic(), 0
    for name in probe:
        with suppress(Exception), folder.files.open(f"{folder.root}/{name}", "rb") as file:
            seen += len(file.read(PROBE_BYTES))  # what cannot be read is for the fetch to name
    seconds = time.monotonic() - started
    sizes = [listed[name].get("size") or 0 for name in rest]
    return _of_files(len(names), len(names) - len(rest), sizes, len(probe), seen, seconds)


def _held(known: pa.Table | None) -> dict[str, str]:
    """How a store has papers and files: their ETags, or what else tells one state from another."""
    if known is None:
        return {}
    live = known.filter(pc.not_equal(known["state"], "withdrawn"))
    return dict(zip(live["id"].to_pylist(), live["etag"].to_pylist(), strict=True))


def _of_files(listed: int, held: int, sizes: list[int], probed: int, seen: int, seconds: float) -> Estimate:
    """`sizes`: of the files to fetch; `seen`: bytes of them that the probe brought in so many seconds."""
    total = float(sum(sizes))
    return Estimate(
        listed=listed,
        held=held,
        probed=probed,
        wanted=(1.0, 1.0),
        articles=len(sizes),
        bytes=total,
        stored_bytes=total,
        seconds=total * seconds / max(seen, 1),
    )


def wilson(passed: int, looked_at: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if not looked_at:
        return 0.0, 1.0
    z, share = 1.959964, passed / looked_at
    middle = (share + z * z / (2 * looked_at)) / (1 + z * z / looked_at)
    half = (
        z * math.sqrt(share * (1 - share) / looked_at + z * z / (4 * looked_at**2)) / (1 + z * z / looked_at)
    )
    return max(0.0, middle - half), min(1.0, middle + half)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.0f} s" if seconds >= 1 else "less than a second"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} hours"
