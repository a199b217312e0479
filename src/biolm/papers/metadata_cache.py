"""Metadata of articles that were asked for before, so that nobody asks 9 million times twice.

Parquet files in the cache folder, shared by all stores of one endpoint: name, ETag and JSON. An entry counts only
while the service still lists that ETag. Losing any of it costs the requests, nothing else.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from biolm.artifacts import atomic_file
from biolm.errors import ArtifactError
from biolm.papers.store import rows_of

ENTRIES = pa.schema(
    [pa.field("name", pa.string()), pa.field("etag", pa.string()), pa.field("metadata", pa.string())]
)
KEEP_ENTRIES = 20_000
"""Entries that wait in memory; a killed process loses so many at most."""
MERGE_FILES = 48
"""So many files are made one."""
MERGED_ENTRIES = 500_000
"""A file of so many is not made one with others any more: each merge takes seconds, however much is kept."""
_ROW_GROUP = 10_000


class MetadataCache:
    """The entries in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._new: list[tuple[str, str, str]] = []

    def find(self, names: pa.Array, etags: pa.Array) -> Iterator[tuple[int, str]]:
        """Place in `names` and JSON of each article that is kept with just the ETag there; once, in any order."""
        found = np.zeros(len(names), bool)
        for path in reversed(self._files()):
            try:
                table = pq.read_table(path, columns=["name", "etag"])
                place = pc.index_in(table["name"], names)
                same = pc.equal(table["etag"], etags.take(place))
                rows = np.flatnonzero(pc.fill_null(same, False).to_numpy())
                wanted, first = np.unique(
                    place.to_numpy(zero_copy_only=False)[rows].astype(np.int64), return_index=True
                )
                rows = np.sort(rows[first[~found[wanted]]])
                found[wanted] = True
                wanted = place.take(pa.array(rows)).to_pylist()
                for (_, metadata), one in zip(
                    rows_of(path, ("metadata",), rows.tolist()), wanted, strict=True
                ):
                    yield one, metadata
            except (OSError, pa.ArrowException, ArtifactError):  # another process merged it, or it is damaged
                continue

    def add(self, name: str, etag: str, metadata: str) -> None:
        """Keep what the service said of an article."""
        self._new.append((name, etag, metadata))
        if len(self._new) >= KEEP_ENTRIES:
            self.save()

    def save(self) -> None:
        """Write what is new."""
        if not self._new:
            return
        rows = [pa.array(column, pa.string()) for column in zip(*self._new, strict=True)]
        self._write([pa.table(rows, schema=ENTRIES)])
        self._new = []
        small = [path for path in self._files() if _entries(path) < MERGED_ENTRIES]
        if len(small) >= MERGE_FILES:
            self._write(_newest(small))
            for path in small:
                path.unlink(missing_ok=True)

    def _write(self, tables: Iterable[pa.Table]) -> None:
        path = self._folder / f"{time.time_ns():020d}-{os.getpid()}.parquet"
        with atomic_file(path) as partial, pq.ParquetWriter(partial, ENTRIES, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table, row_group_size=_ROW_GROUP)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet")) if self._folder.is_dir() else []


def _entries(path: Path) -> int:
    """Entries of a file; 0 where it cannot be read."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return 0


def _newest(paths: Sequence[Path]) -> Iterator[pa.Table]:
    """The last entry of each name in some files, the oldest first; memory is that of a row group, and the names."""
    seen: set[str] = set()
    for path in reversed(paths):
        try:
            with pq.ParquetFile(path) as file:
                for group in reversed(range(file.num_row_groups)):
                    table = file.read_row_group(group)
                    names = table["name"].to_pylist()
                    last = {name: row for row, name in enumerate(names) if name not in seen}
                    seen.update(last)
                    yield table.take(list(last.values()))
        except (OSError, pa.ArrowException):  # another process merged it, or it is damaged
            continue
