"""What a fetch would bring, how large it is and how long it takes: a probe of it, which is thrown away."""

import asyncio
import math
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biolm.papers.candidates import sample_order, to_do
from biolm.papers.client import Client, Gone, Refused, Unanswered, at_once
from biolm.papers.cloud_runs import choose, opened_cloud
from biolm.papers.fetch import check_source
from biolm.papers.files import chosen_files, listed_files
from biolm.papers.own import OwnFolder, is_paper, local_address, source_name
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
    per_second: float
    """Articles or files that the probe brought in a second."""

    def lines(self, unit: str) -> list[str]:
        """For a person."""
        rest = self.listed - self.held
        found = [f"{self.listed:,} {unit} listed, {self.held:,} of them in the store as they are"]
        if not rest:
            return [*found, "nothing to fetch"]
        low, high = (rest * share for share in self.wanted)
        exactly = self.probed >= rest or low == high
        found.append(
            f"{self.articles:,.0f} {unit} to fetch"
            + ("" if exactly else f" (between {low:,.0f} and {high:,.0f})")
        )
        found.append(
            f"{self.bytes / 1e6:,.1f} MB to download, {self.stored_bytes / 1e6:,.1f} MB in the store"
        )
        speed = f"{self.per_second:,.1f} {unit}/s of a probe of {self.probed:,}, thrown away"
        found.append(f"{_duration(self.seconds)} at the {speed}")
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
    name = source if source in SERVICES else source_name(local_address(source))
    index = read_index(out) if is_store(out) else pa.table({"source": pa.array([], pa.string())})
    known = index.filter(pc.equal(index["source"], name)) if is_store(out) else None
    if source == PMC.name:
        return asyncio.run(_estimate_cloud(known, selection, where, fetching, progress))
    if source in SERVICES:
        return asyncio.run(_estimate_files(known, source, selection, where[source], fetching, progress))
    return _estimate_own(known, local_address(source))


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
            known = pa.table({name: pa.array([], pa.string()) for name in ("id", "state", "md5", "etag")})
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
            per_second=fetched / max(seconds, 1e-9),
        )


async def _estimate_files(
    known: pa.Table | None,
    source: str,
    selection: Selection,
    endpoint: str,
    fetching: Fetching,
    progress: Progress,
) -> Estimate:
    held = set() if known is None else set(known.filter(pc.equal(known["state"], "file"))["id"].to_pylist())
    async with Client(fetching.http) as client:
        names = chosen_files(await listed_files(client, source, endpoint), source, selection)
        rest = [name for name in names if name not in held]
        sizes: list[int] = []

        async def ask(name: str) -> None:
            try:
                head = await client.get(f"{endpoint}/{name}", method="HEAD")
                sizes.append(int(head.headers.get("content-length", 0)))
            except (Gone, Refused, Unanswered):
                sizes.append(0)
            progress.update(len(sizes))

        progress.start("ask for sizes", len(rest), "files")
        await at_once(ask, rest, min(8, fetching.http.in_flight))
        progress.finish(f"{sum(sizes) / 1e6:,.0f} MB")
        speed = math.inf
        if rest:
            started = time.monotonic()
            probe = await client.get(f"{endpoint}/{rest[0]}", first_bytes=PROBE_BYTES, most_bytes=1 << 30)
            speed = len(probe.body) / max(time.monotonic() - started, 1e-9)
    total, count = float(sum(sizes)), len(rest)
    return _of_files(len(names), count, 1 if count else 0, total, total / speed)


def _estimate_own(known: pa.Table | None, address: str) -> Estimate:
    folder = OwnFolder(address)
    listed = folder.listed()
    held = (
        set()
        if known is None
        else set(known.filter(pc.not_equal(known["state"], "withdrawn"))["id"].to_pylist())
    )
    names = sorted(filter(is_paper, listed))
    rest = [name for name in names if name not in held]
    probe = [rest[place] for place in sample_order(np.arange(len(rest)), 0)[:PROBE_FILES]]
    started, seen = time.monotonic(), 0
    for name in probe:
        with folder.files.open(f"{folder.root}/{name}", "rb") as file:
            seen += len(file.read(PROBE_BYTES))
    seconds = time.monotonic() - started
    total = float(sum(listed[name].get("size") or 0 for name in rest))
    return _of_files(len(names), len(rest), len(probe), total, total * seconds / max(seen, 1))


def _of_files(listed: int, rest: int, probed: int, total: float, seconds: float) -> Estimate:
    facts: dict[str, Any] = {"listed": listed, "held": listed - rest, "probed": probed, "wanted": (1.0, 1.0)}
    return Estimate(
        **facts,
        articles=rest,
        bytes=total,
        stored_bytes=total,
        seconds=seconds,
        per_second=rest / max(seconds, 1e-9) if rest else 0.0,
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
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} hours"
