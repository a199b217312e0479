"""Files of rows: Parquet, JSON, JSON lines, and what the Hugging Face datasets library saved."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from biolm.annotations.files import lines_of, read_bytes
from biolm.annotations.rows import Row, class_names
from biolm.errors import InputError, first_line

Rows = Iterator[tuple[str, Row]]
"""(where it stands, row)."""
Names = Mapping[str, Sequence[str]]
"""Column → names of its numbers."""
_FEATURES = b"huggingface"
"""The key of a Parquet file's metadata under which the datasets library keeps them."""
_ROWS = 1000
"""Of a Parquet file that are Python's objects at a time."""
SAVED = ("state.json", "dataset_dict.json")
"""What lies in a folder that the datasets library saved: a split, or several."""
SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "devel", "development", "dev"),
    "test": ("test", "testing"),
}
"""What splits are called, in files too."""


class Table(NamedTuple):
    """Rows that are made as they are asked for, and what is known of them before."""

    rows: Rows
    columns: Sequence[str]
    names: Names


def parquet_table(path: Path) -> Table:
    """A Parquet file. Raises InputError where it is none, or, on the way, where it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    broken = (pa.ArrowException, OSError, ValueError, AttributeError, RecursionError)

    def rows() -> Iterator[Row]:
        try:
            for batch in table.iter_batches(batch_size=_ROWS):
                yield from batch.to_pylist()
        except broken as error:
            raise InputError(f"{path} is damaged: {first_line(error)}; fetch it again") from None

    try:
        table = pq.ParquetFile(pa.BufferReader(read_bytes(path)))
        said = (table.schema_arrow.metadata or {}).get(_FEATURES, b"{}")
        features = json.loads(said).get("info", {}).get("features")
    except broken as error:
        raise InputError(f"{path} is no Parquet file: {first_line(error)}; fetch it again") from None
    return Table(_numbered(rows(), str(path)), table.schema_arrow.names, class_names(features))


def json_rows(text: str, where: str) -> Rows:
    """The rows of JSON lines, or of JSON: a list of objects, or an object with such a list as "data".

    Raises InputError, with the line, for anything else.
    """
    if text.lstrip()[:1] == "[" or '"data"' in text[:200]:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        found = found.get("data") if isinstance(found, dict) else found
        if isinstance(found, list):
            return _numbered(found, where)
    return _json_lines(text, where)


def _json_lines(text: str, where: str) -> Rows:
    for number, line in lines_of(text):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(
                    f"{where}, line {number} is no JSON: {error}; give an object a line"
                ) from None
            if not isinstance(row, dict):
                raise InputError(f"{where}, line {number} is no object; give one a line")
            yield f"{where}, line {number}", row


def _numbered(rows: Iterable[Any], where: str) -> Rows:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise InputError(f"{where}, row {number} is no object; give columns tokens and ner_tags")
        yield f"{where}, row {number}", row


def saved_table(folder: Path, split: str | None) -> Table:
    """A split in a folder that `save_to_disk` of the datasets library wrote.

    Raises InputError where the library is not installed, the folder is damaged, or it is not clear which split.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"{folder} was saved by the datasets library and is read with it; run `pip install 'biolm[datasets]'`"
        ) from None
    datasets.disable_progress_bars()
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # whatever a stranger's files make the library raise
        raise InputError(f"{folder} cannot be read: {first_line(error)}; save it again") from None
    if isinstance(found, dict):
        found = found[chosen_split(list(found), split, str(folder))]
    elif split is not None and found.split is not None and not same_split(str(found.split), split):
        raise InputError(f"{folder} is the split {found.split}, not {split}; name another folder")
    return Table(_numbered(found, str(folder)), found.column_names, class_names(found.features.to_dict()))


def saved_splits(folder: Path) -> list[str]:
    """The splits in a folder of several that the datasets library saved. Raises InputError where it is damaged."""
    try:
        return [str(name) for name in json.loads((folder / SAVED[1]).read_bytes())["splits"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{folder / SAVED[1]} names no splits ({error}); save the data set again") from None


def chosen_split(there: Sequence[str], wanted: str | None, where: str) -> str:
    """Which of the splits that are there is meant. Raises InputError where none or several could be."""
    if wanted is None and len(there) == 1:
        return there[0]
    fitting = [name for name in there if wanted is not None and same_split(name, wanted)]
    if len(fitting) != 1:
        said = "a split has to be named" if wanted is None else f"the split {wanted} is not one of"
        raise InputError(f"{where}: {said} {', '.join(sorted(there)) or 'none'}; choose with --split")
    return fitting[0]


def same_split(one: str, other: str) -> bool:
    """Whether two words name the same split: "dev" and "validation" do."""
    return one == other or any(one in words and other in words for words in SPLIT_WORDS.values())
