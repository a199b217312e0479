"""Writing to a paper store: rows into the open shard, full shards to Parquet, files beside them.

One process writes at a time. Killed at any moment it loses what was in flight and the rows of one batch, never
half a row: the next writer takes up the open shard where its last whole batch ends.
"""

import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

import biolm
from biolm.artifacts import MANIFEST, check_free, exclusive, write_json
from biolm.errors import ArtifactError
from biolm.papers.checksums import md5_of
from biolm.papers.shard import write_shard
from biolm.papers.spool import Spool, whole_batches
from biolm.papers.store import (
    FACTS,
    FILES,
    INDEX,
    KIND,
    REPORT,
    ROWS,
    SHARDS,
    SPOOL,
    VERSION,
    is_store,
    kept_path,
    open_store,
    placed,
    read_index,
    resolved,
    shard_numbers,
    shard_path,
    write_index,
)

SHARD_BYTES = 256 << 20
"""XML that closes a shard: some 2,300 articles, 50 MB on disk."""
ROW_GROUP_BYTES = 8 << 20
"""XML and metadata of a row group: what is unpacked to read one paper of it. Larger ones are no better packed."""
BATCH_BYTES = 1 << 20
BATCH_SECONDS = 0.5
"""Rows are given to the operating system when they reach either."""


class StoreWriter:
    """A store that this process writes; a context, at whose end everything lies in shards."""

    def __init__(self, folder: Path, *, shard_bytes: int = SHARD_BYTES) -> None:
        """Opens the store, or makes a new one. Raises ArtifactError where something else lies there, or
        another process writes it."""
        self.folder, self._shard_bytes = folder, shard_bytes
        self._opened = ExitStack()
        self._seals: list[Future[None]] = []
        self._sealer = ThreadPoolExecutor(1, "seal")
        self._rows: list[tuple[Any, ...]] = []
        self._waiting_bytes, self._waiting_since = 0, 0.0
        self._is_new, self._was_there = not is_store(folder), folder.exists()
        if self._is_new and not _lost_its_manifest(folder):
            check_free(folder)
            folder.mkdir(parents=True, exist_ok=True)
        self._opened.enter_context(exclusive(folder))
        try:
            if is_store(folder):
                self.manifest = dict(open_store(folder).manifest)
            else:
                self.manifest = {
                    "kind": KIND,
                    "version": VERSION,
                    "biolm": biolm.__version__,
                    "sources": {},
                }
            self.write_manifest()  # before anything else: a folder with other things is no store
            for name in (SHARDS, SPOOL, FILES):
                (folder / name).mkdir(exist_ok=True)
            for leftover in [*folder.glob(".*.partial"), *(folder / SHARDS).glob(".*.partial")]:
                leftover.unlink()
            self._number, self._spool = self._take_up()
        except BaseException:
            self._opened.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opened:
            try:
                self.flush()
                if self._spool.rows:
                    self._seal()
                else:
                    self._spool.close()
                    self._spool.path.unlink()
                for seal in self._seals:
                    seal.result()
                numbers = shard_numbers(self.folder)
                if error is not None and self._is_new and not numbers and not self._has_files():
                    self._unmake()  # nothing came
                else:
                    index = read_index(self.folder)
                    write_index(self.folder, index, numbers)
                    self._sweep_files(index)
            finally:
                self._sealer.shutdown()

    def _sweep_files(self, index: pa.Table) -> None:
        """Remove the files that no row names: contents that others have replaced."""
        rows = index.filter(pc.is_in(index["state"], pa.array(["file", "withdrawn"])))
        rows = rows.filter(pc.less(rows["xml_row"], 0)).select(["source", "id", "md5"]).to_pylist()
        named = {kept_path(self.folder, row["source"], row["id"], row["md5"] or "") for row in rows}
        for path in (self.folder / FILES).rglob("*"):
            if path.is_file() and path not in named and not path.name.startswith("."):
                path.unlink()

    def _unmake(self) -> None:
        for name in (SHARDS, SPOOL, FILES):
            shutil.rmtree(self.folder / name)
        for name in (MANIFEST, REPORT):
            (self.folder / name).unlink(missing_ok=True)
        if not self._was_there:
            self.folder.rmdir()

    def _has_files(self) -> bool:
        return any(path.is_file() for path in (self.folder / FILES).rglob("*"))

    def write_manifest(self) -> None:
        """Keep what `manifest` says now."""
        write_json(self.folder / MANIFEST, self.manifest)

    def source(self, name: str) -> dict[str, Any]:
        """What the manifest says of a source; to be changed, and kept by `write_manifest`."""
        found: dict[str, Any] = self.manifest["sources"].setdefault(name, {})
        return found

    def known(self, source: str) -> pa.Table:
        """What the store holds of a source, as its index says, with the open shard."""
        self.flush()
        while self._seals:  # else a shard could come between the two looks at the folder
            self._seals.pop(0).result()
        tables = [read_index(self.folder)]
        for path, number in self._spools():
            batches = list(whole_batches(path, ROWS))
            if batches and not shard_path(self.folder, number).exists():
                tables.append(placed(pa.Table.from_batches(batches).select(FACTS), number))
        index = resolved(tables) if len(tables) > 1 else tables[0]
        return index.filter(pc.equal(index["source"], source))

    def add(self, **values: Any) -> None:
        """One row; columns that are not named are empty, and `fetched` is now."""
        row = {"fetched": datetime.now(UTC), **values}
        values_of = tuple(row.pop(name, None) for name in ROWS.names)
        if row:
            raise AssertionError(f"no columns of a shard: {', '.join(row)}")
        for value in values_of:
            if isinstance(value, str):
                value.encode()  # what is no text must not get among the rows: no batch with it can be written
        self._rows.append(values_of)
        if not self._waiting_bytes:
            self._waiting_since = time.monotonic()
        self._waiting_bytes += 1024 + len(values.get("xml") or b"")
        if self._waiting_bytes >= BATCH_BYTES or time.monotonic() - self._waiting_since > BATCH_SECONDS:
            self.flush()

    def has_file(self, row: dict[str, Any]) -> bool:
        """Whether the file of a row lies in the store, with its size."""
        path = kept_path(self.folder, row["source"], row["id"], row["md5"])
        return path.is_file() and path.stat().st_size == row["bytes"]

    def partial_file(self, source: str, name: str) -> Path:
        """Where a file may be written before `add_file` takes it."""
        path = kept_path(self.folder, source, name, "")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.with_name(f".{Path(name).name}.partial")

    def add_file(self, partial: Path, *, source: str, id: str, md5: str, **values: Any) -> None:
        """Take over a whole file. What had its name stays until this writer is done: readers may be at it."""
        path = kept_path(self.folder, source, id, md5)
        size = partial.stat().st_size
        partial.replace(path)
        self.add(source=source, id=id, state="file", md5=md5, bytes=size, **values)
        self.flush()

    def flush(self) -> None:
        """Give the rows so far to the operating system; close the shard where it is full."""
        if self._rows:
            self._spool.append(self._rows)
            self._rows, self._waiting_bytes = [], 0
        if self._spool.bytes >= self._shard_bytes:
            self._seal()
            self._number += 1
            self._spool = self._open(self._number)

    def _seal(self) -> None:
        """Turn the open shard into Parquet beside the work; one may wait behind the one that is being written."""
        self._spool.close()
        while len(self._seals) > 1:
            self._seals.pop(0).result()
        self._seals.append(self._sealer.submit(seal, self._spool.path, shard_path(self.folder, self._number)))

    def _take_up(self) -> tuple[int, Spool]:
        """Finish what a killed writer left; returns the number of the open shard, and the shard."""
        spools = list(self._spools())
        for path in (self.folder / SPOOL).glob("*.partial"):
            path.unlink()
        for place, (path, number) in enumerate(spools):
            if shard_path(self.folder, number).exists():
                path.unlink()
            elif place < len(spools) - 1:  # was full
                self._open(number).close()  # leaves what is whole
                seal(path, shard_path(self.folder, number))
            else:
                return number, self._open(number)
        number = max(shard_numbers(self.folder), default=0) + 1
        return number, self._open(number)

    def _spools(self) -> list[tuple[Path, int]]:
        paths = sorted((self.folder / SPOOL).glob("*.arrows"))
        return [(path, int(path.stem)) for path in paths if path.stem.isdecimal()]

    def _open(self, number: int) -> Spool:
        return Spool(self.folder / SPOOL / f"{number:06d}.arrows", ROWS, is_whole)


def _lost_its_manifest(folder: Path) -> bool:
    """Whether a folder is a store but for its manifest: its papers are known by its shards, its selections are not."""
    parts = {SHARDS, SPOOL, FILES, INDEX, REPORT}
    if not (folder / SHARDS).is_dir() or not {path.name for path in folder.iterdir()} <= parts:
        return False
    try:
        return bool(read_index(folder).num_rows)
    except ArtifactError:
        return False


def seal(spool: Path, shard: Path) -> None:
    """Write the shard of a spool, and remove the spool. Memory is that of a row group: the spool is mapped."""
    batches = list(whole_batches(spool, ROWS))
    if batches:
        write_shard(shard, batches, ROW_GROUP_BYTES)
    spool.unlink()


def is_whole(batch: pa.RecordBatch) -> bool:
    """Whether the rows of a batch have ids, and their XML the MD5 that they say: after a loss of power they may not."""
    if pc.any(pc.equal(pc.binary_length(batch["id"]), 0)).as_py():
        return False
    for xml, md5 in zip(batch["xml"], batch["md5"], strict=True):
        if xml.is_valid and md5_of(xml.as_buffer()) != md5.as_py():
            return False
    return True
