"""Papers out of a paper store: which rows of its shards are papers, and each with what is known of it now.

What a corpus makes of a store depends on its papers, and never on where in the shards they lie: that is as they
happened to arrive.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from biolm.artifacts import sha256_json
from biolm.errors import ArtifactError
from biolm.papers.store import Store, kept_path, open_store, rows_of, shard_path
from biolm.records import Article, Deletion, Unreadable
from biolm.sources.beside import Facts, cloud_facts, with_facts
from biolm.sources.files import PAPER_ENDINGS, PaperFile, StoredRow, portable
from biolm.sources.xml import Unusable

GROUP_PAPERS = 256
"""Papers of a group on average; at most four times as many."""
GROUP_BYTES = 32 << 20
"""A group ends before the paper that would exceed this much XML: it is what a worker holds in memory."""
_KNOWN = ("xml_md5", "state", "etag", "licence", "manuscript", "retracted")
"""What the record of a paper depends on, besides its name."""
_PLACES = ("xml_shard", "xml_row", "facts_shard", "facts_row")
_BATCH = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPaper:
    """A paper in a store."""

    name: str
    xml: bytes
    metadata: str | None
    """The JSON of PMC's Cloud Service; None where the paper came without."""
    withdrawn: bool

    def stream(self) -> io.BufferedReader:
        """Its XML, as a file is read."""
        return io.BufferedReader(io.BytesIO(self.xml))

    def with_facts(
        self, record: Article | Unreadable | Deletion
    ) -> Iterator[Article | Unreadable | Deletion]:
        """A record of its XML with what the store knows; where that cannot be used, without, and an Unreadable.

        What is withdrawn withdraws nothing.
        """
        if not isinstance(record, Article):
            if not (self.withdrawn and isinstance(record, Deletion)):
                yield record
            return
        problem = None
        try:
            record = with_facts(record, Facts() if self.metadata is None else cloud_facts(self.metadata))
        except Unusable as error:
            problem = error.reason
        yield replace(record, withdrawn=self.withdrawn)
        if problem:
            yield Unreadable(source=f"{self.name} (metadata)", reason=problem)


def stored_files(folder: Path, name: str) -> Iterator[PaperFile]:
    """What a store called `name` holds: its files, and its papers in groups, each as one file.

    A group is a run of papers by source and id, and ends where a hash of an id says so: what happens to a paper
    changes its own group and no other. What the store marks as withdrawn is given too, so that a corpus can count
    it. Raises Unusable where the store is damaged or holds nothing.
    """
    try:
        store = open_store(folder)
        index = store.index()
        kept = list(_kept_files(store, index, name))
    except ArtifactError as error:
        reason, _, remedy = str(error).partition("; ")
        raise Unusable(reason, remedy) from None
    is_empty = True
    for file in chain(kept, _groups(folder, index, name)):
        is_empty = False
        yield file
    if is_empty:
        raise Unusable("holds no papers yet", "fetch some with `biolm papers fetch`")


def _kept_files(store: Store, index: pa.Table, name: str) -> Iterator[PaperFile]:
    for row in index.filter(pc.field("state") == "file").to_pylist():
        path = kept_path(store.folder, row["source"], row["id"], row["md5"])
        is_there = path.is_file() and path.stat().st_size == row["bytes"]
        yield PaperFile(
            path=str(path),
            name=f"{name}/{row['source']}/{portable(row['id'])}",
            bytes=row["bytes"],
            content=row["md5"],
            problem=None
            if is_there
            else "missing or of another size; run `biolm papers update` on its store",
        )


def _groups(folder: Path, index: pa.Table, name: str) -> Iterator[PaperFile]:
    papers = index.select(dict.fromkeys(["source", "id", "bytes", *_KNOWN, *_PLACES]))
    papers = papers.filter(pc.field("xml_row") >= 0)
    begin = 0
    for end in _ends(papers):
        known = papers.slice(begin, end - begin).to_pydict()
        names = [_name(name, *paper) for paper in zip(known["source"], known["id"], strict=True)]
        places = zip(*(known[column] for column in _PLACES), strict=True)
        yield PaperFile(
            path=str(folder),
            name=names[0],
            bytes=sum(known["bytes"]),
            content=sha256_json([names, [known[column] for column in _KNOWN]]),
            rows=tuple(StoredRow(called, *place) for called, place in zip(names, places, strict=True)),
        )
        begin = end


def _ends(papers: pa.Table) -> Iterator[int]:
    """The row behind the last of each group."""
    begin = row = size = 0
    for batch in papers.select(["id", "bytes"]).to_batches(_BATCH):
        for paper, more in zip(batch["id"].to_pylist(), batch["bytes"].to_pylist(), strict=True):
            if row > begin and (size + more > GROUP_BYTES or row - begin == 4 * GROUP_PAPERS):
                yield row
                begin, size = row, 0
            row, size = row + 1, size + more
            if hashlib.blake2b(paper.encode(), digest_size=4).digest()[0] % GROUP_PAPERS == 0:
                yield row
                begin, size = row, 0
    if row > begin:
        yield row


def _name(store: str, source: str, paper: str) -> str:
    called = paper if paper.lower().endswith(PAPER_ENDINGS) else f"{paper}.xml"
    return f"{store}/{source}/{portable(called)}"


def stored_papers(file: PaperFile) -> Iterator[StoredPaper | Unreadable]:
    """The papers of one such file, in its order; an Unreadable for each that lies in a damaged shard.

    Memory is that of a group, and of a row group.
    """
    folder, rows = Path(file.path), file.rows or ()
    facts = _values(folder, ("metadata", "state"), [(row.facts_shard, row.facts_row) for row in rows])
    xml = _values(folder, ("xml",), [(row.xml_shard, row.xml_row) for row in rows])
    for row in rows:
        if (row.facts_shard, row.facts_row) in facts and (row.xml_shard, row.xml_row) in xml:
            metadata, state = facts[row.facts_shard, row.facts_row]
            (data,) = xml[row.xml_shard, row.xml_row]
            yield StoredPaper(name=row.name, xml=data, metadata=metadata, withdrawn=state == "withdrawn")
        else:
            reason = "in a damaged shard; see what `biolm papers show --verify` says of its store"
            yield Unreadable(source=row.name, reason=reason, transient=True)  # its shard may be mended


def _values(
    folder: Path, names: Sequence[str], places: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], tuple[Any, ...]]:
    """Values by shard and row, without those that lie in damaged shards."""
    found: dict[tuple[int, int], tuple[Any, ...]] = {}
    for shard, of_shard in groupby(sorted(set(places)), lambda place: place[0]):
        with suppress(ArtifactError):
            for row, *values in rows_of(shard_path(folder, shard), names, [row for _, row in of_shard]):
                found[shard, row] = tuple(values)
    return found
