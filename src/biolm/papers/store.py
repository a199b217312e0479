"""A paper store as it lies on disk: a log of rows in Parquet shards, and what the log says today.

Nothing that lies in a shard is ever changed. What happens to a paper is a further row: its XML (`article`), newer
facts about XML that is held already (`facts`), that it must no longer be used (`withdrawn`); or that a large
file lies beside the shards (`file`). Of each paper the last row counts, and the last XML before it. The index
holds just that; it is made of the shards, and made again where it does not cover them.
"""

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from biolm.artifacts import atomic_file, exclusive, kind_of, read_manifest
from biolm.errors import ArtifactError

KIND = "paper store"
VERSION = 1
SHARDS, SPOOL, FILES, INDEX, REPORT = "shards", "spool", "files", "index.parquet", "report.json"
REBUILD = "biolm papers fetch --out STORE"
ROWS = pa.schema(
    [
        pa.field("source", pa.string()),
        pa.field("id", pa.string()),
        pa.field("state", pa.string()),
        pa.field("md5", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("modified", pa.timestamp("ms", "UTC")),  # Parquet has no seconds
        pa.field("fetched", pa.timestamp("ms", "UTC")),
        pa.field("url", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("journal", pa.string()),
        pa.field("year", pa.int32()),
        pa.field("type", pa.string()),
        pa.field("manuscript", pa.bool_()),
        pa.field("retracted", pa.bool_()),
        pa.field("note", pa.string()),
        pa.field("metadata", pa.string()),
        pa.field("xml", pa.binary()),
    ]
)
"""What a shard holds; docs/formats.md says what each column means."""
FACTS = tuple(name for name in ROWS.names if name not in ("url", "metadata", "xml"))
"""What the index repeats."""
PLACES = ("facts_shard", "facts_row", "xml_shard", "xml_row", "xml_md5")
OF_XML = ("bytes", "journal", "year", "type", "xml_shard", "xml_row", "xml_md5")
"""Columns of the index that are those of the last XML."""
REPEATED = ("source", "state", "licence", "journal", "year", "type", "manuscript", "retracted", "note")
_SHARD = re.compile(r"(\d{6,})\.parquet")
_COVERS = b"biolm.covers"
_MD5 = re.compile("[0-9a-f]{32}|")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Store:
    """A paper store to read from."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def sources(self) -> dict[str, dict[str, Any]]:
        """What the manifest says of each source."""
        found: dict[str, dict[str, Any]] = self.manifest["sources"]
        return found

    def index(self) -> pa.Table:
        """One row for each paper and file: FACTS of its last row, and PLACES; sorted by source and id."""
        return read_index(self.folder)

    def shard(self, number: int) -> Path:
        """Where a shard lies."""
        return shard_path(self.folder, number)

    @property
    def waiting(self) -> int:
        """Bytes of an unfinished fetch that lie in no shard yet; the next fetch or update takes them up."""
        return sum(path.stat().st_size for path in (self.folder / SPOOL).glob("*.arrows"))

    def column(self, name: str, shard: int, rows: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Values of a column in some rows of a shard, each with its row; memory is that of a row group."""
        yield from rows_of(self.shard(shard), (name,), rows)


def is_store(folder: Path) -> bool:
    """Whether a folder is a paper store."""
    return folder.is_dir() and kind_of(folder) == KIND


def open_store(folder: str | Path) -> Store:
    """The store in a folder. Raises ArtifactError where there is none that this biolm reads."""
    folder = Path(folder)
    manifest = read_manifest(folder, kind=KIND, version=VERSION, rebuild=REBUILD)
    sources = manifest.get("sources")
    if not isinstance(sources, dict) or not all(isinstance(facts, dict) for facts in sources.values()):
        raise ArtifactError(f"{folder}/manifest.json names no sources; restore it, or fetch into a new store")
    return Store(folder, manifest)


def is_being_written(folder: Path) -> bool:
    """Whether another process holds the store's lock."""
    try:
        with exclusive(folder):
            return False
    except ArtifactError:
        return True


def kept_path(folder: Path, source: str, name: str, md5: str) -> Path:
    """Where a file of a source lies in a store: its contents are in its name, so that one never takes another's place.

    Raises ArtifactError for a source or name that leads out of the store.
    """
    parts = Path(name).parts
    is_strange = Path(name).is_absolute() or ".." in parts or not parts or "\0" in name
    if is_strange or source in ("", ".", "..") or set(source) & set("/\0") or not _MD5.fullmatch(md5):
        raise ArtifactError(f"{source!r} names a file {name!r}, which would lie outside the store")
    path = folder / FILES / source / name
    return path.with_name(f"{md5[:8]}-{path.name}")


def attributions(folder: Path) -> tuple[str, ...]:
    """What a corpus of a store must say of its sources: whom it owes them to, and of which day they are."""
    store = open_store(folder)
    if store.waiting:
        state = "is running" if is_being_written(folder) else "was stopped; run it again"
        _log.warning("%s: a fetch into it %s: what it has in no shard yet is not read", folder, state)
    return tuple(
        f"{facts['attribution']} As of {facts.get('as_of') or 'an unfinished fetch'}; not kept current since."
        for _, facts in sorted(store.sources.items())
        if facts.get("attribution")
    )


def shard_path(folder: Path, number: int) -> Path:
    """Where the shard of a number lies."""
    return folder / SHARDS / f"{number:06d}.parquet"


def shard_numbers(folder: Path) -> list[int]:
    """The shards of a store, in their order."""
    if not (folder / SHARDS).is_dir():
        return []
    found = (_SHARD.fullmatch(path.name) for path in (folder / SHARDS).iterdir())
    return sorted(int(name[1]) for name in found if name)


def rows_of(path: Path, names: Sequence[str], rows: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """The row's number and its values, for some rows (ascending) of a shard.

    Raises ArtifactError where the shard cannot be read.
    """
    wanted = np.asarray(rows, np.int64)
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            begin = 0
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                mine = wanted[np.searchsorted(wanted, begin) : np.searchsorted(wanted, begin + count)]
                if len(mine):
                    table = file.read_row_group(group, list(names)).take(mine - begin)
                    columns = [table[name] for name in names]
                    for place, row in enumerate(mine.tolist()):
                        yield (row, *(column[place].as_py() for column in columns))
                begin += count
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise damaged(path, error) from None


def damaged(path: Path, error: Exception) -> ArtifactError:
    """What is said of a shard that cannot be read."""
    return ArtifactError(
        f"{path} cannot be read ({' '.join(str(error).split())}); remove it and run the same `biolm papers "
        "fetch` again: what lay in it is fetched anew"
    )


def read_index(folder: Path) -> pa.Table:
    """What the shards of a store say today: one row for each paper and file, see `Store.index`."""
    numbers = shard_numbers(folder)
    shards = {number: shard_path(folder, number).stat().st_size for number in numbers}
    index, covered = _kept_index(folder, shards)
    if index is not None and len(covered) == len(numbers):
        return index  # to resolve it again would cost six times its memory
    tables = [] if index is None else [index]
    tables += [shard_facts(shard_path(folder, number), number) for number in numbers if number not in covered]
    return resolved(tables)


def missing_shards(folder: Path) -> list[int]:
    """Numbers of shards that the index covers and that are gone; until something is written to the store again."""
    try:
        said = json.loads((pq.read_schema(folder / INDEX).metadata or {})[_COVERS])
        return sorted({int(number) for number in said} - set(shard_numbers(folder)))
    except (OSError, KeyError, ValueError, AttributeError, pa.ArrowException):
        return []


def write_index(folder: Path, index: pa.Table, numbers: Sequence[int]) -> None:
    """Keep the index of some shards, so that the next reader need not read them."""
    covers = {str(number): shard_path(folder, number).stat().st_size for number in numbers}
    table = index.replace_schema_metadata({_COVERS: json.dumps(covers).encode()})
    with atomic_file(folder / INDEX) as partial:
        pq.write_table(
            table, partial, compression="zstd", use_dictionary=list(REPEATED), write_page_checksum=True
        )


def _kept_index(folder: Path, shards: dict[int, int]) -> tuple[pa.Table | None, set[int]]:
    """The index as it was kept, and the shards that it covers; none where one of these is gone or another."""
    try:
        table = pq.read_table(folder / INDEX, page_checksum_verification=True)
        said = json.loads((table.schema.metadata or {})[_COVERS])
        covers = {int(number): size for number, size in said.items()}
    except (OSError, KeyError, ValueError, AttributeError, pa.ArrowException):
        return None, set()
    if any(shards.get(number) != size for number, size in covers.items()):
        return None, set()
    if not table.schema.equals(resolved([]).schema):  # of another biolm
        return None, set()
    return table.replace_schema_metadata(None), set(covers)


def shard_facts(path: Path, number: int) -> pa.Table:
    """FACTS and PLACES of all rows of a shard. Raises ArtifactError where it is damaged."""
    try:
        table = pq.read_table(path, columns=list(FACTS), page_checksum_verification=True)
        return placed(table, number)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise damaged(path, error) from None


def placed(table: pa.Table, number: int) -> pa.Table:
    """FACTS of a shard's rows with PLACES behind them."""
    count = table.num_rows
    is_xml = pc.equal(table["state"], "article")
    nowhere = pa.scalar(-1, pa.int32())
    shard, row = pa.array(np.full(count, number, np.int32)), pa.array(np.arange(count, dtype=np.int32))
    return (
        table.select(FACTS)
        .append_column("facts_shard", shard)
        .append_column("facts_row", row)
        .append_column("xml_shard", pc.if_else(is_xml, shard, nowhere))
        .append_column("xml_row", pc.if_else(is_xml, row, nowhere))
        .append_column("xml_md5", pc.if_else(is_xml, table["md5"], pa.scalar(None, pa.string())))
    )


def resolved(tables: Sequence[pa.Table]) -> pa.Table:
    """What logs say in the end, one after another: of each paper the last facts and the last XML.

    Facts about XML that is not there (its shard was removed) are no paper: it is left out, and fetched again.
    """
    if not tables:
        schema = [*(ROWS.field(name) for name in FACTS)]
        places = [pa.field(name, pa.string() if name == "xml_md5" else pa.int32()) for name in PLACES]
        return pa.schema([*schema, *places]).empty_table()
    log = pa.concat_tables(tables, promote_options="permissive")
    facts, xml = _chosen(log)
    columns = {}
    for name in log.column_names:  # one after another: each take copies its column
        if name not in OF_XML:
            columns[name] = log[name].take(facts)
            continue
        value = log[name].take(xml)
        if name == "bytes":  # a file has bytes too
            value = pc.coalesce(value, log[name].take(facts))
        columns[name] = pc.fill_null(value, -1) if name in ("xml_shard", "xml_row") else value
    return pa.table(columns, schema=log.schema)


def _chosen(log: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Of each paper that counts, in order: the row of its last facts, and that of its last XML, null for none."""
    keys = pc.binary_join_element_wise(log["source"], log["id"], "\t")
    codes = pc.dictionary_encode(keys).combine_chunks()
    code, count = codes.indices.to_numpy(), len(codes.dictionary)
    del keys, codes
    last, xml, file = (np.full(count, -1) for _ in range(3))
    last[code] = np.arange(len(code))  # of several the last is kept
    holding = np.flatnonzero(log["xml_shard"].to_numpy() >= 0)
    xml[code[holding]] = holding
    files = np.flatnonzero(pc.equal(log["state"], "file").to_numpy())
    file[code[files]] = files
    xml[file > xml] = -1  # a paper that grew into a large file
    found = pa.array(xml, mask=xml < 0)
    held = pc.fill_null(pc.equal(log["xml_md5"].take(found), log["md5"].take(last)), False)
    usable = pc.or_(pc.is_in(log["state"].take(last), pa.array(["withdrawn", "file"])), held).to_numpy()
    last, xml = last[usable], xml[usable]
    order = order_of(log["source"].take(last), log["id"].take(last))
    return pa.array(last[order]), pa.array(xml[order], mask=xml[order] < 0)


def order_of(source: pa.ChunkedArray, name: pa.ChunkedArray) -> NDArray[np.int64]:
    """The places of papers by source and id, as a folder lists files."""
    keys = pa.table({"source": source, "id": name, "row": np.arange(len(name))})
    order: NDArray[np.int64] = pc.sort_indices(
        keys, [(column, "ascending") for column in keys.column_names]
    ).to_numpy()
    return order
