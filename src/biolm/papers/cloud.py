"""Articles of the PMC Cloud Service: what is listed, what of it is wanted, and how it gets into a store."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biolm.errors import InputError
from biolm.papers.answers import Answer, Damaged, Gone, Refused, Unanswered
from biolm.papers.at_once import at_once
from biolm.papers.bucket import BUCKET, METADATA, Bucket
from biolm.papers.candidates import Candidate, names_of, sample_order
from biolm.papers.checksums import md5_of
from biolm.papers.client import Client
from biolm.papers.metadata import Metadata, head_facts, object_of, parse_metadata
from biolm.papers.metadata_cache import MetadataCache
from biolm.papers.report import Report, in_words
from biolm.papers.selection import AnyOf
from biolm.papers.writer import StoreWriter
from biolm.progress import Progress

PASSES = 3
"""How often what got no answer is tried again in the end, after everything else."""
SUSPICIOUS = 10
"""Articles that are not withdrawn all at once, where they are most of what is held: it is another service."""
GONE = "no longer at the service"
SAY_SECONDS = 0.2
MOST_METADATA_BYTES = 4 << 20
_BATCH = 8192
_KEPT = ("source", "id", "md5", "etag", "modified", "licence", "manuscript", "retracted")
"""What a paper keeps when it is withdrawn."""


@dataclass(slots=True, kw_only=True)
class CloudFetch:
    """One pass over candidates: their metadata, the choice, their XML, the store."""

    bucket: Bucket
    cache: MetadataCache
    wanted: AnyOf
    """What is taken that is not held."""
    kept: AnyOf
    """What stays of what is held: other selections may have brought it."""
    report: Report
    in_flight: int
    writer: StoreWriter | None
    """None to look and keep nothing."""
    on_article: Callable[[bytes], None] = lambda xml: None
    """Told of each article's XML as it comes."""
    counts: Counter[str] = field(default_factory=Counter)
    """"new", "changed", "facts", "withdrawn", "unchanged", and "not wanted: ..." by reason."""
    xml_bytes: int = 0
    _again: list[Candidate] = field(default_factory=list)

    @property
    def client(self) -> Client:
        """What asks."""
        return self.bucket.client

    async def run(self, table: pa.Table, progress: Progress) -> None:
        """Do all rows of `to_do`. Problems go to the report; raises InputError where the service is down."""
        done, said, started = 0, 0.0, time.monotonic()

        async def one(candidate: Candidate) -> None:
            nonlocal done, said
            await self._candidate(candidate)
            done += 1
            now = time.monotonic()
            if now - said < SAY_SECONDS:
                return
            said, seconds = now, now - started
            fetched = self.counts["new"] + self.counts["changed"]
            progress.update(
                done,
                f"{fetched / seconds:,.0f}/s, {self.xml_bytes / 1e6 / seconds:,.1f} MB/s",
            )

        progress.start("fetch", table.num_rows, "articles")
        try:
            await at_once(one, self._candidates(table), self.in_flight)
            for _ in range(PASSES - 1):
                if not self._again:
                    break
                await self._once_more()
            for candidate in self._again:
                self.report.add(candidate.name, "unanswered", "no answer after all tries")
        finally:
            self.cache.save()
        progress.finish(self.summary())

    async def _once_more(self) -> None:
        """Try again what got no answer. Of many such the client takes the service to be down, which it need not be."""
        left = {candidate.name: candidate for candidate in self._again}
        self._again = []

        async def one(candidate: Candidate) -> None:
            await self._candidate(candidate)
            del left[candidate.name]

        try:
            await at_once(one, list(left.values()), self.in_flight)
        except InputError:
            self._again += left.values()

    def summary(self) -> str:
        """One line for people."""
        return f"{in_words(self.counts)}, {self.xml_bytes / 1e6:,.1f} MB of XML"

    def _candidates(self, table: pa.Table) -> Iterator[Candidate]:
        """Rows of `to_do`: first those whose metadata are kept, then the others in their order."""
        kept = np.zeros(table.num_rows, bool)
        columns = table.select(["name", "etag", "modified", "held_state", "held_md5", "held_etag"])
        # Of another ETag than the store's the listing does not say which is newer, so the service must.
        sure = pc.fill_null(pc.equal(table["held_etag"], table["etag"]), True)
        etags = pc.if_else(sure, table["etag"], pa.scalar(None, pa.string()))
        found = self.cache.find(table["name"].combine_chunks(), etags.combine_chunks())
        while batch := list(islice(found, _BATCH)):
            rows = [row for row, _ in batch]
            kept[rows] = True
            for values, (_, metadata) in zip(columns.take(rows).to_pylist(), batch, strict=True):
                yield Candidate(**values, metadata=metadata)
        rest = columns.filter(pa.array(~kept))
        for begin in range(0, rest.num_rows, _BATCH):
            for values in rest.slice(begin, _BATCH).to_pylist():
                yield Candidate(**values)

    async def wanted_numbers(self, listed: pa.Table, count: int, seed: int, progress: Progress) -> list[int]:
        """The first `count` PMCIDs in the seed's order of which any version is wanted."""
        listed = listed.append_column("name", names_of(listed))
        order = sample_order(np.unique(listed["pmcid"].to_numpy()), seed)
        chosen: list[int] = []
        looked = 0
        progress.start("choose the sample", count, "articles")
        while len(chosen) < count and looked < len(order):
            rate = max(len(chosen) / looked, 0.01) if looked else 1.0
            numbers = order[looked : looked + max(32, int(1.2 * (count - len(chosen)) / rate))]
            looked += len(numbers)
            part = listed.filter(pc.is_in(listed["pmcid"], pa.array(numbers)))
            wanted = await self._wanted(part)
            chosen += [number for number in numbers.tolist() if number in wanted]
            progress.update(min(len(chosen), count))
        progress.finish(f"{min(len(chosen), count):,} of {looked:,} articles that were looked at")
        return chosen[:count]

    async def _wanted(self, listed: pa.Table) -> set[int]:
        """PMCIDs of which any version is wanted, by their metadata; what gets no answer goes to the report."""
        wanted: set[int] = set()
        nothing = pa.array([None] * listed.num_rows, pa.string())
        for name in ("held_state", "held_md5", "held_etag"):
            listed = listed.append_column(name, nothing)

        async def look(candidate: Candidate) -> None:
            try:
                with suppress(Gone, Refused, Damaged, ValueError):
                    _, said = await self._metadata(candidate)
                    if self.wanted.refusal(said) is None:
                        wanted.add(int(candidate.name[3:].partition(".")[0]))
            except Unanswered:
                self.report.add(candidate.name, "unanswered", "so it is not in the sample")

        await at_once(look, self._candidates(listed), self.in_flight)
        self.cache.save()
        return wanted

    async def _candidate(self, candidate: Candidate) -> None:
        try:
            await self._take(candidate)
        except (Gone, Refused, Damaged) as error:
            self.report.failed(candidate.name, error)
        except Unanswered:
            self._again.append(candidate)
        except ValueError as error:
            self.report.add(candidate.name, "bad metadata", str(error))

    async def _take(self, candidate: Candidate) -> None:
        """One candidate, from its metadata to its row in the store."""
        answer, said = await self._metadata(candidate)
        try:
            await self._keep(candidate, answer, said)
        except (Damaged, Gone):
            # It may have been replaced since its metadata were read.
            answer = await self._ask(candidate.name)
            newer = self._parsed(candidate.name, answer.body)
            if newer.xml_url == said.xml_url:
                raise
            await self._keep(candidate, answer, newer)

    async def _keep(self, candidate: Candidate, answer: Answer, said: Metadata) -> None:
        """What becomes of a candidate of which the service says this."""
        held = candidate.held_state if candidate.held_state != "withdrawn" else None
        etag = answer.etag or candidate.etag
        if held and etag == candidate.held_etag:
            self.counts["unchanged"] += 1  # the listing is older than the store
            return
        refusal = (self.kept if held else self.wanted).refusal(said)
        if refusal and not held:
            self.counts[f"not wanted: {refusal}"] += 1
            return
        if refusal and refusal != "retracted":
            note = f"no longer wanted: {refusal}"
            self._add(candidate, said, answer, etag, state="withdrawn", md5=candidate.held_md5, note=note)
            self.counts["withdrawn"] += 1
            self.report.marks.append((candidate.name, f"withdrawn: {note}"))
            return
        if held and said.retracted:  # a corpus drops and counts it
            self.report.marks.append((candidate.name, "retracted"))
        if not said.xml_url:
            raise ValueError("they name no XML")
        key, md5 = object_of(said.xml_url, BUCKET)
        if md5 is not None and md5 == candidate.held_md5:
            self._add(candidate, said, answer, etag, state="facts", md5=md5)
            self.counts["facts"] += 1
            return
        xml, md5 = await self._xml(key, md5)
        self.xml_bytes += len(xml)
        self.on_article(xml)
        found = {"url": self.bucket.url(key), "xml": xml, "md5": md5, "bytes": len(xml), **head_facts(xml)}
        self._add(candidate, said, answer, etag, state="article", **found)
        self.counts["changed" if candidate.held_state else "new"] += 1

    async def _xml(self, key: str, md5: str | None) -> tuple[bytes, str]:
        """The XML and its MD5, which metadata state; where they do not, the object's ETag does."""
        if md5 is not None:
            return (await self.client.get(self.bucket.url(key), md5=md5)).body, md5
        xml = (await self.bucket.object(key)).body
        return xml, md5_of(xml)

    async def _metadata(self, candidate: Candidate) -> tuple[Answer, Metadata]:
        """What the service says of a candidate. Raises ValueError where that is of another article, or nothing."""
        if candidate.metadata is not None:
            answer = Answer(200, {"etag": candidate.etag}, candidate.metadata.encode())
        else:
            answer = await self._ask(candidate.name)
        said = self._parsed(candidate.name, answer.body)
        if candidate.metadata is None and answer.etag:
            self.cache.add(candidate.name, answer.etag, answer.body.decode("utf-8", "replace"))
        return answer, said

    async def _ask(self, name: str) -> Answer:
        return await self.bucket.object(f"{METADATA}{name}.json", MOST_METADATA_BYTES)

    def _parsed(self, name: str, body: bytes) -> Metadata:
        said = parse_metadata(body)
        if said.name.upper() != name:
            raise ValueError(f"metadata of {said.name[:40]!r}")
        return said

    def _add(
        self, candidate: Candidate, said: Metadata, answer: Answer, etag: str, *, state: str, **values: Any
    ) -> None:
        if self.writer is None:
            return
        self.writer.add(
            source="pmc",
            id=candidate.name,
            state=state,
            etag=etag,
            modified=candidate.modified,
            licence=said.licence,
            manuscript=said.manuscript,
            retracted=said.retracted,
            metadata=answer.body.decode("utf-8", "replace"),
            **values,
        )


async def withdrawals(
    fetch: CloudFetch, held: pa.Table, listed: pa.Table, progress: Progress
) -> list[dict[str, Any]]:
    """Mark what is held, not listed, and really gone. Returns the rows that are there all the same.

    Raises InputError, and marks nothing, where that would be most of many: it is another service then.
    """
    unlisted = held.filter(pc.invert(pc.is_in(held["id"], names_of(listed))))
    if unlisted.num_rows == held.num_rows >= SUSPICIOUS:
        raise _another(fetch, unlisted.num_rows, held.num_rows)
    missing = unlisted.select([*_KEPT, "state"]).to_pylist()
    there: list[dict[str, Any]] = []
    gone: list[dict[str, Any]] = []

    async def ask(row: dict[str, Any]) -> None:
        try:
            await fetch.client.get(
                fetch.bucket.url(f"{METADATA}{row['id']}.json"), most_bytes=MOST_METADATA_BYTES
            )
        except Gone:
            gone.append(row)
        except (Refused, Unanswered) as error:
            fetch.report.add(row["id"], "unanswered", f"neither listed nor certainly gone: {error}")
        else:
            there.append(row)

    if missing:
        progress.start("look for what is not listed", len(missing), "articles")
        await at_once(ask, missing, fetch.in_flight)
        progress.finish(f"{len(gone):,} of {len(missing):,} are gone")
    if len(gone) >= SUSPICIOUS and 2 * len(gone) > held.num_rows:
        raise _another(fetch, len(gone), held.num_rows)
    for row in gone:
        if fetch.writer is not None:
            fetch.writer.add(**{**row, "state": "withdrawn"}, note=GONE)
        fetch.counts["withdrawn"] += 1
        fetch.report.marks.append((row["id"], f"withdrawn: {GONE}"))
    return there


def _another(fetch: CloudFetch, gone: int, held: int) -> InputError:
    return InputError(
        f"{fetch.bucket.endpoint} has none of {gone:,} of the {held:,} articles that the store holds; nothing is "
        "withdrawn: check --endpoint, and whether it is a whole mirror"
    )
