"""Rows to a shard: one Parquet file, sorted, in row groups that are read by themselves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from biolm.artifacts import atomic_file
from biolm.papers.store import REPEATED, ROWS, order_of


def write_shard(path: Path, batches: Sequence[pa.RecordBatch], row_group_bytes: int) -> None:
    """Rows as a shard, atomically, sorted by source and id, in row groups of about so many bytes of XML and metadata.

    Memory is that of a row group, where the batches are mapped from a file.
    """
    small = pa.Table.from_batches([batch.select(["source", "id", "metadata", "xml"]) for batch in batches])
    order = order_of(small["source"], small["id"])
    sizes = sum(
        pc.fill_null(pc.binary_length(small[name]), 0).to_numpy().astype(np.int64)
        for name in ("metadata", "xml")
    )
    groups = np.cumsum(sizes[order]) // row_group_bytes
    bounds = np.flatnonzero(np.diff(groups, prepend=-1))
    ends = np.cumsum([batch.num_rows for batch in batches])
    with (
        atomic_file(path) as partial,
        pq.ParquetWriter(
            partial,
            ROWS,
            compression="zstd",
            compression_level=3,  # 5.1 times smaller than the XML; level 6: 5.7, and three times the work
            use_dictionary=list(REPEATED),
            write_statistics=["source", "id"],
            write_page_checksum=True,  # zstd as Parquet has it does not notice a wrong bit
        ) as writer,
    ):
        for begin, end in zip(bounds, [*bounds[1:], len(order)], strict=True):
            rows = order[begin:end]
            places = np.searchsorted(ends, rows, side="right")
            # Row by row: to take rows of a chunked column, Arrow would first make one of all its chunks.
            parts = [
                batches[place].slice(int(row - ends[place]) + batches[place].num_rows, 1)
                for place, row in zip(places.tolist(), rows.tolist(), strict=True)
            ]
            writer.write_table(pa.Table.from_batches(parts).combine_chunks(), row_group_size=len(rows))
