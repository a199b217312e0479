"""An open shard: rows in an Arrow stream that a killed process leaves readable up to its last whole batch.

Parquet is written whole or not at all, so what arrives between two Parquet files waits here. Every batch is given
to the operating system before more is fetched; only a loss of power can damage what lies before the end.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa


class Spool:
    """Rows of one schema, appended batch by batch."""

    def __init__(self, path: Path, schema: pa.Schema, is_whole: Callable[[pa.RecordBatch], bool]) -> None:
        """Begins the file `path`, or takes up the whole batches in it: they are copied to a new file.

        `is_whole` says whether a batch's contents are; one that is not ends what is taken up.
        """
        self.path, self._schema = path, schema
        self.bytes = self.rows = 0
        """Of the batches so far, in memory's form; rows."""
        partial = path.with_name(f"{path.name}.partial")
        self._file = pa.OSFile(str(partial), "wb")
        self._stream = pa.ipc.new_stream(self._file, schema)
        for batch in whole_batches(path, schema):
            if not is_whole(batch):
                break
            self._write(batch)
        if self.rows:  # what was there must not be lost to a loss of power now
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        partial.replace(path)

    def append(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Rows as tuples in the order of the schema, as one batch."""
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(self._schema)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._write(pa.record_batch(arrays, schema=self._schema))

    def _write(self, batch: pa.RecordBatch) -> None:
        self._stream.write_batch(batch)
        self.bytes += batch.nbytes
        self.rows += batch.num_rows

    def close(self) -> None:
        """End the stream; the file stays."""
        if not self._file.closed:
            self._stream.close()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def whole_batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The batches of a spool up to the first that is cut off or damaged; none where there is no file."""
    if not path.is_file() or not path.stat().st_size:
        return
    with pa.memory_map(str(path)) as source:
        try:
            reader = pa.ipc.open_stream(source)
            if not reader.schema.equals(schema):
                return
            for batch in reader:
                batch.validate(full=True)
                yield batch
        except (pa.ArrowException, OSError):  # where it was cut off
            return
