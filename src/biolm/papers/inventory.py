"""Inventories of the PMC Cloud Service on this machine: data files as they are read, and what the cache keeps."""

import io
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from biolm.artifacts import exclusive
from biolm.errors import ArtifactError

LISTED = pa.schema(
    [
        pa.field("pmcid", pa.int64()),
        pa.field("version", pa.int32()),
        pa.field("etag", pa.string()),
        pa.field("modified", pa.timestamp("s", "UTC")),
    ]
)
"""One row a version of an article: what inventories and listings tell."""
KEY = r"^metadata/PMC(?P<pmcid>[1-9]\d{0,11})\.(?P<version>\d{1,4})\.json$"
MOST_FILE_ROWS = 20_000_000
"""Of one data file of an inventory: PMC has some 10 million articles."""
MOST_FILE_BYTES = 4 << 30
"""Of one data file, unpacked."""
_BLOCK_BYTES = 4 << 20
_ABANDONED_SECONDS = 60.0
"""A temporary folder that nobody has locked by then is of a process that was killed."""
_log = logging.getLogger(__name__)


def place_of(cache: Path, day: str) -> Path:
    """Where the inventory of a day is kept."""
    return cache / f"inventory-{day}.parquet"


def read_inventory(place: Path) -> pa.Table:
    """LISTED as it was written; Parquet has no whole seconds. Raises OSError, ValueError or ArrowException."""
    with pq.ParquetFile(place) as file:
        return file.read().cast(LISTED)


def kept_inventory(place: Path) -> pa.Table | None:
    """What is kept of an inventory; None where nothing is, or nothing that can be read, which is removed."""
    try:
        return read_inventory(place)
    except FileNotFoundError:  # another process may have a newer one, and have removed this
        return None
    except (OSError, ValueError, pa.ArrowException) as error:
        _log.debug("%s: %s", place, error)
    with suppress(OSError):
        place.unlink()
    return None


@contextmanager
def temporary_folder(cache: Path) -> Iterator[Path]:
    """A folder in the cache for one fetch alone; those that killed processes left are removed."""
    cache.mkdir(parents=True, exist_ok=True)
    for left in cache.glob(".inventory-*"):
        with suppress(OSError, ArtifactError):  # ArtifactError: another process works in it
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                with exclusive(left):
                    shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=f".inventory-{os.getpid()}-", dir=cache))
    try:
        with exclusive(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Bounded(io.RawIOBase):
    """What a stream unpacks, up to MOST_FILE_BYTES; ValueError behind them."""

    def __init__(self, stream: pa.NativeFile) -> None:
        self._stream, self._left = stream, MOST_FILE_BYTES

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"a data file of more than {MOST_FILE_BYTES:,} bytes")
        return data


def inventory_rows(packed: Path, columns: list[str]) -> Iterator[pa.Table]:
    """A data file of an inventory as tables of LISTED, block by block.

    Raises ValueError, OSError or ArrowException where it is broken, or larger than any inventory.
    """
    rows = 0
    with pa.input_stream(str(packed), compression="gzip") as stream:
        batches = pyarrow.csv.open_csv(
            pa.PythonFile(_Bounded(stream), mode="r"),
            read_options=pyarrow.csv.ReadOptions(column_names=columns, block_size=_BLOCK_BYTES),
            parse_options=pyarrow.csv.ParseOptions(ignore_empty_lines=False),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=["Key", "LastModifiedDate", "ETag"],
                column_types={"Key": pa.string(), "LastModifiedDate": pa.string(), "ETag": pa.string()},
            ),
        )
        for batch in batches:
            rows += batch.num_rows
            if rows > MOST_FILE_ROWS:
                raise ValueError(f"a data file of more than {MOST_FILE_ROWS:,} rows")
            yield _inventory_table(batch)


def _inventory_table(batch: pa.RecordBatch) -> pa.Table:
    found = pc.extract_regex(batch["Key"], KEY)
    batch = batch.filter(pc.is_valid(found))
    found = found.drop_null()
    times = pc.strptime(pc.utf8_slice_codeunits(batch["LastModifiedDate"], 0, 19), "%Y-%m-%dT%H:%M:%S", "s")
    return pa.table(
        {
            "pmcid": found.field("pmcid").cast(pa.int64()),
            "version": found.field("version").cast(pa.int32()),
            "etag": pc.utf8_trim(batch["ETag"], '"'),
            "modified": times.cast(pa.timestamp("s", "UTC")),
        },
        schema=LISTED,
    )


def once(listed: pa.Table) -> pa.Table:
    """LISTED with each version once, as it was modified last; the same table where that is so already."""
    versions = pc.add(pc.multiply(listed["pmcid"], 10_000), listed["version"].cast(pa.int64()))  # see KEY
    if pc.count_distinct(versions).as_py() == listed.num_rows:
        return listed
    by_time = pc.sort_indices(listed, sort_keys=[("modified", "ascending")])
    turns = pa.table({"version": versions.take(by_time), "turn": pa.array(range(listed.num_rows))})
    last = turns.group_by("version").aggregate([("turn", "max")])["turn_max"]
    rows = by_time.take(last)
    return listed.take(rows.take(pc.sort_indices(rows)))
