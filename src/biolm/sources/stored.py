"""Papers out of a paper store: which rows of its shards are papers, and each with what is known of it now."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from biolm.artifacts import sha256_json
from biolm.errors import ArtifactError
from biolm.papers.store import FILES, Store, damaged, open_store, rows_of, shard_path
from biolm.records import Article, Deletion, Unreadable
from biolm.sources.beside import Facts, cloud_facts, with_facts
from biolm.sources.files import PAPER_ENDINGS, PaperFile, StoredRow, portable
from biolm.sources.xml import Unusable

_KNOWN = ("xml_md5", "state", "etag", "licence", "manuscript", "retracted")
"""What the record of a paper depends on, besides its name."""
_PLACES = ("source", "id", "bytes", "xml_row", "facts_shard", "facts_row")


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

    def with_facts(self, record: Article | Unreadable | Deletion) -> Article | Unreadable | Deletion:
        """A record of its XML with what the store knows. Raises Unusable where that is of another paper."""
        if not isinstance(record, Article):
            return record
        facts = Facts() if self.metadata is None else cloud_facts(self.metadata)
        return replace(with_facts(record, facts), withdrawn=self.withdrawn)


def stored_files(folder: Path, name: str) -> Iterator[PaperFile]:
    """What a store called `name` holds: its files, and the papers of each row group of its shards as one file.

    What the store marks as withdrawn is given too, so that a corpus can count it. Raises Unusable where the store
    is damaged or holds nothing.
    """
    try:
        store = open_store(folder)
        index = store.index()
        yield from _kept_files(store, index, name)
        papers = index.filter(pc.field("xml_row") >= 0)
        papers = papers.sort_by([("xml_shard", "ascending"), ("xml_row", "ascending")])
        shards = papers["xml_shard"].to_numpy()
        for shard in np.unique(shards).tolist():
            begin, end = np.searchsorted(shards, [shard, shard + 1])
            yield from _row_groups(store.shard(shard), papers.slice(begin, end - begin), name)
    except ArtifactError as error:
        reason, _, remedy = str(error).partition("; ")
        raise Unusable(reason, remedy) from None
    if not index.num_rows:
        raise Unusable("holds no papers yet", "fetch some with `biolm papers fetch`")


def _kept_files(store: Store, index: pa.Table, name: str) -> Iterator[PaperFile]:
    for row in index.filter(pc.field("state") == "file").to_pylist():
        path = store.folder / FILES / row["source"] / row["id"]
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


def _row_groups(path: Path, papers: pa.Table, name: str) -> Iterator[PaperFile]:
    """The papers of a shard, a file for each row group: what is unpacked together is read together."""
    try:
        facts = pq.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, error) from None
    ends = np.cumsum([facts.row_group(group).num_rows for group in range(facts.num_row_groups)])
    rows: NDArray[Any] = papers["xml_row"].to_numpy()
    begin = 0
    for end in np.searchsorted(rows, ends).tolist():
        if end > begin:
            known = papers.slice(begin, end - begin)
            of = list(zip(*(known[column].to_pylist() for column in _PLACES), strict=True))
            names = [_name(name, source, paper) for source, paper, *_ in of]
            yield PaperFile(
                path=str(path),
                name=names[0],
                bytes=sum(size for _, _, size, *_ in of),
                content=sha256_json([names, [known[column].to_pylist() for column in _KNOWN]]),
                rows=tuple(StoredRow(called, *row[3:]) for called, row in zip(names, of, strict=True)),
            )
        begin = end


def _name(store: str, source: str, paper: str) -> str:
    called = paper if paper.lower().endswith(PAPER_ENDINGS) else f"{paper}.xml"
    return f"{store}/{source}/{portable(called)}"


def stored_papers(file: PaperFile) -> Iterator[StoredPaper]:
    """The papers of one such file, in its order. Raises Unusable where their shard is damaged.

    Memory is that of a row group and of what is known of its papers.
    """
    path, rows = Path(file.path), file.rows or ()
    try:
        known = _facts(path.parent.parent, rows)
        xml = rows_of(path, ("xml",), [row.xml_row for row in rows])
        for row, (_, data) in zip(rows, xml, strict=True):
            metadata, state = known[row.facts_shard, row.facts_row]
            yield StoredPaper(name=row.name, xml=data, metadata=metadata, withdrawn=state == "withdrawn")
    except ArtifactError as error:
        reason, _, remedy = str(error).partition("; ")
        raise Unusable(reason, remedy) from None


def _facts(folder: Path, rows: tuple[StoredRow, ...]) -> dict[tuple[int, int], tuple[str | None, str]]:
    """Metadata and state by shard and row."""
    wanted = sorted({(row.facts_shard, row.facts_row) for row in rows})
    return {
        (shard, row): (metadata, state)
        for shard, places in groupby(wanted, lambda place: place[0])
        for row, metadata, state in rows_of(
            shard_path(folder, shard), ("metadata", "state"), [row for _, row in places]
        )
    }
