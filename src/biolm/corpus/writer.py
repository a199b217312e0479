"""Passages to Parquet files of bounded size, with bounded memory and always the same bytes."""

from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from biolm.corpus.split import Split

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
        pa.field("kind", pa.string()),
        pa.field("article_type", pa.string()),
        pa.field("rights", pa.string()),
    ]
)
DROPPED_SCHEMA = pa.schema(
    [
        pa.field("reason", pa.string(), nullable=False),
        pa.field("document", pa.string(), nullable=False),
        pa.field("pmid", pa.string()),
        pa.field("pmcid", pa.string()),
        pa.field("doi", pa.string()),
        pa.field("section", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("label", pa.string()),
        pa.field("characters", pa.int32(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("instead", pa.string()),
    ]
)
"""What was dropped, without its text; `instead` is the document whose passage a duplicate was dropped for."""
ROW_GROUP_PASSAGES = 8192
ROW_GROUP_CHARACTERS = 16_000_000
"""A row group ends before the article that would exceed either: it is what a writer and a reader hold in memory."""
REPEATED_COLUMNS = [
    *(
        "section",
        "label",
        "journal",
        "year",
        "licence",
        "language",
        "source",
        "kind",
        "article_type",
        "rights",
    ),
    *("reason", "characters"),
]
"""Columns whose values repeat within a row group, so that a dictionary pays."""


class SplitWriter:
    """Writes one split as `SPLIT-NNNNN.parquet`; `finish` gives the files their names `-of-NNNNN`.

    What is written does not depend on how the passages were cut into tables. No file is made before the first
    passage: an empty split has none. As a context manager it closes what an error leaves open.
    """

    def __init__(self, folder: Path, split: Split, passages_per_file: int) -> None:
        self._folder = folder
        self._split = split
        self._passages_per_file = passages_per_file
        self._waiting: list[pa.Table] = []
        self._passages = self._characters = 0
        self._file: pq.ParquetWriter | None = None
        self._files = 0
        self._passages_in_file = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close_file()

    def add(self, passages: pa.Table, articles: np.ndarray) -> None:
        """Write passages; `articles`: (passages,) the article of each, whose passages stay in one row group.

        The passages of one article come in one call.
        """
        begins = np.flatnonzero(np.diff(articles, prepend=-1))
        lengths = pc.utf8_length(passages["text"]).to_numpy()
        characters = np.add.reduceat(lengths, begins).tolist() if len(begins) else []
        ends = [*begins[1:].tolist(), len(articles)]
        taken = 0
        for begin, end, length in zip(begins.tolist(), ends, characters, strict=True):
            count = end - begin
            new_file = self._passages_in_file and self._passages_in_file + count > self._passages_per_file
            full = self._passages and (
                self._passages + count > ROW_GROUP_PASSAGES
                or self._characters + length > ROW_GROUP_CHARACTERS
            )
            if new_file or full:
                self._waiting.append(passages.slice(taken, begin - taken))
                taken = begin
                self._write_waiting()
                if new_file:
                    self._close_file()
            self._passages += count
            self._characters += length
            self._passages_in_file += count
        self._waiting.append(passages.slice(taken))

    def finish(self) -> None:
        """Write what is waiting and give every file its final name."""
        self._write_waiting()
        self._close_file()
        for index in range(self._files):
            final = f"{self._split}-{index:05d}-of-{self._files:05d}.parquet"
            self._path(index).rename(self._folder / final)

    def _path(self, index: int) -> Path:
        return self._folder / f"{self._split}-{index:05d}.parquet"

    def _close_file(self) -> None:
        self._passages_in_file = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_waiting(self) -> None:
        table = pa.concat_tables(self._waiting).combine_chunks() if self._passages else None
        self._waiting, self._passages, self._characters = [], 0, 0
        if table is None:
            return
        if self._file is None:
            self._file = parquet_writer(self._path(self._files), SCHEMA)
            self._files += 1
        self._file.write_table(table, row_group_size=table.num_rows)


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer with this format's compression and dictionaries."""
    repeated = [name for name in REPEATED_COLUMNS if name in schema.names]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=repeated)
