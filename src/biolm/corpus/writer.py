"""Passages to Parquet files of bounded size, with bounded memory and always the same bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from biolm.corpus.split import Split
from biolm.records import Passage

SCHEMA = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),
        pa.field("section", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("document", pa.string(), nullable=False),
        pa.field("pmid", pa.string()),
        pa.field("pmcid", pa.string()),
        pa.field("doi", pa.string()),
        pa.field("journal", pa.string()),
        pa.field("year", pa.int32()),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("language", pa.string()),
        pa.field("source", pa.string(), nullable=False),
    ]
)
ROW_GROUP_PASSAGES = 8192
ROW_GROUP_CHARACTERS = 16_000_000
"""A row group ends at whichever comes first: it is what a writer and a reader hold in memory."""
REPEATED_COLUMNS = ["section", "label", "journal", "year", "licence", "language", "source"]
"""Columns whose values repeat within a row group, so that a dictionary pays."""


class SplitWriter:
    """Writes one split as `SPLIT-NNNNN.parquet`; `finish` gives the files their names `-of-NNNNN`.

    No file is made before the first passage: an empty split has none. As a context manager it closes what
    an error leaves open.
    """

    def __init__(self, folder: Path, split: Split, passages_per_file: int) -> None:
        self._folder = folder
        self._split = split
        self._passages_per_file = passages_per_file
        self._buffer: list[Passage] = []
        self._buffered_characters = 0
        self._file: pq.ParquetWriter | None = None
        self._files = 0
        self._passages_in_file = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close_file()

    def add(self, passages: Sequence[Passage]) -> None:
        """Write the passages of one article, all into the same file."""
        if self._passages_in_file and self._passages_in_file + len(passages) > self._passages_per_file:
            self._end_file()
        self._buffer += passages
        self._buffered_characters += sum(len(passage.text) for passage in passages)
        self._passages_in_file += len(passages)
        if len(self._buffer) >= ROW_GROUP_PASSAGES or self._buffered_characters >= ROW_GROUP_CHARACTERS:
            self._write_buffer()

    def finish(self) -> None:
        """Write what is buffered and give every file its final name."""
        self._end_file()
        for index in range(self._files):
            final = f"{self._split}-{index:05d}-of-{self._files:05d}.parquet"
            self._path(index).rename(self._folder / final)

    def _path(self, index: int) -> Path:
        return self._folder / f"{self._split}-{index:05d}.parquet"

    def _end_file(self) -> None:
        self._write_buffer()
        self._close_file()
        self._passages_in_file = 0

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_buffer(self) -> None:
        if not self._buffer:
            return
        columns = {name: [getattr(passage, name) for passage in self._buffer] for name in SCHEMA.names}
        if self._file is None:
            self._file = pq.ParquetWriter(
                self._path(self._files), SCHEMA, compression="zstd", use_dictionary=REPEATED_COLUMNS
            )
            self._files += 1
        self._file.write_table(pa.table(columns, schema=SCHEMA), row_group_size=len(self._buffer))
        self._buffer, self._buffered_characters = [], 0
