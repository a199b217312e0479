"""Every masked position in a file, so that others can recompute everything.

Parquet, or tab-separated values with CSV's quoting (a piece can be a quotation mark).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from biolm.artifacts import atomic_file
from biolm.batches.packing import PackedRow
from biolm.errors import InputError
from biolm.model.masked_lm import Scores
from biolm.tokens.store import SECTIONS, TokenSplit
from biolm.tokens.tokenizer import Tokenizer

SCHEMA = pa.schema(
    [
        ("passage", pa.int64()),  # row of the split in the corpus, from 0
        ("document", pa.int32()),  # the paper, numbered in the order of the split
        ("section", pa.string()),
        ("position", pa.int32()),  # token of the passage, from 0, special tokens not counted
        ("original_id", pa.int32()),
        ("original", pa.string()),
        ("input_id", pa.int32()),
        ("input", pa.string()),
        ("predicted_id", pa.int32()),
        ("predicted", pa.string()),
        ("probability", pa.float64()),  # of the predicted
        ("log_probability", pa.float64()),  # of the original, natural logarithm
        ("rank", pa.int32()),  # tokens that were likelier than the original; 0 is a hit
    ]
)
SUFFIXES = (".parquet", ".tsv")
BATCH_ROWS = 1 << 16
"""Rows that are written at once: a row group of Parquet."""


class PredictionsFile:
    """Writes masked positions as they are measured."""

    def __init__(self, writer: Any, data: TokenSplit, tokenizer: Tokenizer) -> None:
        self._writer = writer
        self._data = data
        self._tokenizer = tokenizer
        self._waiting: list[pa.Table] = []

    def write(
        self, row: PackedRow, passages: NDArray[np.int64], starts: NDArray[np.int64], scores: Scores
    ) -> None:
        """The masked positions of one row; passages and starts: (windows,)."""
        of_window, place = row.masked_places(len(self._tokenizer.vocabulary.prefix))
        position = place + starts[of_window]
        shown = row.input_ids[row.masked_positions]
        passage = passages[of_window]
        columns = [
            passage,
            self._data.documents[passage],
            [SECTIONS[section] for section in self._data.sections[passage]],
            position,
            row.labels,
            self._tokenizer.pieces(row.labels),
            shown,
            self._tokenizer.pieces(shown),
            scores.predicted,
            self._tokenizer.pieces(scores.predicted),
            scores.confidence,
            -scores.loss,
            scores.rank,
        ]
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)]
        self._waiting.append(pa.Table.from_arrays(arrays, schema=SCHEMA))
        if sum(table.num_rows for table in self._waiting) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting = []


def check_predictions_path(path: Path) -> None:
    """Raise InputError unless the file's ending is one that biolm writes."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path} has no known ending; give a file ending in {' or '.join(SUFFIXES)}")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file")


@contextmanager
def predictions_file(path: Path, data: TokenSplit, tokenizer: Tokenizer) -> Iterator[PredictionsFile]:
    """A Parquet or TSV file (by its ending) that is there when all is measured."""
    check_predictions_path(path)
    with atomic_file(path) as partial:
        if path.suffix == ".parquet":
            writer = pa.parquet.ParquetWriter(partial, SCHEMA, compression="zstd")
        else:
            options = pa.csv.WriteOptions(delimiter="\t", quoting_header="none")
            writer = pa.csv.CSVWriter(partial, SCHEMA, write_options=options)
        with writer:
            file = PredictionsFile(writer, data, tokenizer)
            yield file
            file.flush()
