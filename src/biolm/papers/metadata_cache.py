"""Metadata of articles that were asked for before, so that nobody asks 9 million times twice.

Parquet files in the cache folder, shared by all stores of one endpoint: name, ETag and JSON. An entry counts only
while the service still lists that ETag. Losing any of it costs the requests, nothing else.
"""

import os
import time
from collections.abc import Iterator
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
_ROW_GROUP = 10_000


class MetadataCache:
    """The entries in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._new: list[tuple[str, str, str]] = []

    def find(self, names: pa.Array, etags: pa.Array) -> Iterator[tuple[str, str]]:
        """Name and JSON of each of the named articles that is kept with just that ETag; in any order."""
        found = np.zeros(len(names), bool)
        for path in reversed(self._files()):
            try:
                table = pq.read_table(path, columns=["name", "etag"])
                place = pc.index_in(table["name"], names)
                same = pc.equal(table["etag"], etags.take(place))
                rows = np.flatnonzero(pc.fill_null(same, False).to_numpy())
                wanted = place.to_numpy(zero_copy_only=False)[rows].astype(np.int64)
                new = ~found[wanted]
                rows, wanted = rows[new], wanted[new]
                found[wanted] = True
                for (_, metadata), place_of in zip(
                    rows_of(path, ("metadata",), rows.tolist()), wanted, strict=True
                ):
                    yield names[int(place_of)].as_py(), metadata
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
        self._write(pa.table(rows, schema=ENTRIES))
        self._new = []
        files = self._files()
        if len(files) >= MERGE_FILES:
            self._write(_newest(pa.concat_tables([pq.read_table(path) for path in files])))
            for path in files:
                path.unlink(missing_ok=True)

    def _write(self, table: pa.Table) -> None:
        path = self._folder / f"{time.time_ns():020d}-{os.getpid()}.parquet"
        with atomic_file(path) as partial:
            pq.write_table(table, partial, compression="zstd", row_group_size=_ROW_GROUP)

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet")) if self._folder.is_dir() else []


def _newest(table: pa.Table) -> pa.Table:
    """The last entry of each name."""
    codes = pc.dictionary_encode(table["name"]).combine_chunks()
    last = np.zeros(len(codes.dictionary), np.int64)
    last[codes.indices.to_numpy()] = np.arange(len(codes))
    return table.take(np.sort(last))
