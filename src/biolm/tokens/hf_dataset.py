"""Texts that the Hugging Face datasets library reads: Parquet, JSON and CSV, here or at the Hub, and what it saved.

Nothing of a data set is ever run: its files are handed to the library's own readers, by name.
"""

import glob
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from biolm.artifacts import sha256_json
from biolm.errors import BiolmError, InputError
from biolm.progress import Progress
from biolm.tokens.data_files import SPLITS, DataFiles, contents_hash, known_splits, split_in
from biolm.tokens.hub_dataset import HubAddress, HubAnswer, find_files
from biolm.tokens.source import BATCH_PASSAGES, Batch, Origin, TextColumns, flat
from biolm.tokens.tokenizer import Tokenizer

logger = logging.getLogger(__name__)
_COLUMNS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class _Opened:
    """A data set whose columns are there."""

    splits: Mapping[str, Any]
    """Split → Dataset or IterableDataset of the library, of those columns only where it knows them beforehand."""
    other_splits: tuple[str, ...] = ()
    """Left out, being neither train nor validation nor test."""


class Texts:
    """Rows with a text as a source."""

    unit = "passages"

    def __init__(
        self,
        origin: Origin,
        open_splits: Callable[[], _Opened],
        columns: TextColumns,
        total: int | None = None,
    ) -> None:
        self.fingerprint = origin.fingerprint
        self.total = total
        self._origin = origin
        self._open = open_splits
        self._columns = columns

    @cached_property
    def _opened(self) -> _Opened:
        opened = self._open()
        if opened.other_splits:
            logger.warning("%s: left out are %s", self._origin.name, ", ".join(opened.other_splits))
        return opened

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that there are. Raises InputError where a data set at the Hub cannot be read."""
        return tuple(split for split in SPLITS if split in self._opened.splits)

    def facts(
        self, splits: Mapping[str, Mapping[str, int]], left_out: Mapping[str, int]
    ) -> Mapping[str, Any]:
        """`Source.facts`, and `other_splits`."""
        return {**self._origin.facts(splits, left_out), "other_splits": list(self._opened.other_splits)}

    def batches(self, split: str, tokenizer: Tokenizer) -> Iterator[Batch]:
        """The texts of a split; rows without text are left out as "null" or "empty".

        Raises InputError for a column that is not there or holds no text, and for a file that cannot be read.
        """
        where = f"the {split} split of {self._origin.name}"
        rows = 0
        for table in _tables(self._opened.splits[split], where):
            texts = _texts(table, self._columns.text_or_default, where)
            full = [place for place, text in enumerate(texts) if text is not None and text.strip()]
            documents = None
            if self._columns.document is not None:
                known = _documents(table, self._columns.document, where)
                documents = [f"#{rows + i}" if known[i] is None else f"={known[i]}" for i in full]
            nulls = sum(text is None for text in texts)
            ids, lengths = flat(tokenizer.encode([texts[place] or "" for place in full]))
            yield Batch(
                ids=ids,
                lengths=lengths,
                sections=["text"] * len(full),
                documents=documents,
                left_out={"null": nulls, "empty": len(texts) - nulls - len(full)},
                amount=len(texts),
            )
            rows += len(texts)


def texts_of_files(files: DataFiles, columns: TextColumns, progress: Progress) -> Texts:
    """Texts in files here. Raises InputError where they cannot be read, or have no such column."""
    paths = {
        split: [glob.escape(str(path.resolve())) for path in files.splits[split]] for split in files.splits
    }
    opened = _Opened(_stream(files.format, paths, columns, files.name))
    described = files.described(progress)
    fingerprint = contents_hash(described, format=files.format, **_settings(columns))
    return Texts(_origin(files.name, fingerprint, described, columns), lambda: opened, columns)


def texts_saved(folder: Path, columns: TextColumns, progress: Progress) -> Texts:
    """Texts in a folder that `save_to_disk` wrote. Raises InputError where it is damaged, or has no such column."""
    name = folder.resolve().name
    with _said(name):
        saved = _library().load_from_disk(str(folder))
    if not isinstance(saved, dict):
        named = split_in(str(saved.split or ""))
        saved = {named[1] if named else "train": saved}
    known, others = known_splits(saved, name)
    opened = _Opened({split: _chosen(saved[word], columns, name) for split, word in known.items()}, others)
    paths = {
        split: tuple(Path(part["filename"]) for part in saved[word].cache_files)
        for split, word in known.items()
    }
    described = DataFiles(name, "saved", paths).described(progress)
    fingerprint = contents_hash(described, format="saved", **_settings(columns))
    total = sum(len(rows) for rows in opened.splits.values())
    return Texts(_origin(name, fingerprint, described, columns), lambda: opened, columns, total)


def texts_at_hub(address: HubAddress, commit: str, answer: HubAnswer | None, columns: TextColumns) -> Texts:
    """Texts at the Hub, streamed; which they are is asked when they are read, not before.

    `commit`: that of the revision. `answer`: what the Hub said of it; None where it must not be asked.
    """
    source = {"name": address.name, "revision": commit, "config": address.config}

    def open_splits() -> _Opened:
        with _said(address.name):
            found = find_files(address, answer or address.ask(), _library())
        return _Opened(_stream(found.format, found.splits, columns, address.name), found.other_splits)

    fingerprint = sha256_json({"source": source, **_settings(columns)})
    return Texts(_origin(address.name, fingerprint, [source], columns), open_splits, columns)


def _origin(name: str, fingerprint: str, sources: list[dict[str, Any]], columns: TextColumns) -> Origin:
    return Origin(
        kind="texts", name=name, fingerprint=fingerprint, sources=sources, settings=_settings(columns)
    )


def _settings(columns: TextColumns) -> dict[str, str | None]:
    return {"text_column": columns.text_or_default, "document_column": columns.document}


def _library() -> Any:
    """The datasets library, without its bars. Raises InputError where it is not installed."""
    try:
        import datasets
    except ImportError:
        raise InputError(
            "texts that are no corpus of biolm's are read with the datasets library; "
            "run `pip install 'biolm[datasets]'`"
        ) from None
    datasets.disable_progress_bars()
    return datasets


def _stream(
    form: str, files: Mapping[str, Sequence[str]], columns: TextColumns, where: str
) -> dict[str, Any]:
    """Split → IterableDataset over files (patterns or addresses) of a format."""
    wanted = columns.wanted
    readers: dict[str, tuple[str, dict[str, Any]]] = {
        "parquet": ("parquet", {"batch_size": BATCH_PASSAGES}),
        # Without these the library writes mixed columns as JSON, and makes chats of what looks like an agent's log.
        "json": ("json", {"on_mixed_types": None, "parse_agent_traces": False}),
        # Cells are what is written there: "NA" is a text, and the document "007" is not "7".
        "csv": ("csv", {"keep_default_na": False, "converters": dict.fromkeys(wanted, str)}),
        "tsv": ("csv", {"keep_default_na": False, "converters": dict.fromkeys(wanted, str), "sep": "\t"}),
    }
    reader, options = readers[form]
    load = _library().load_dataset
    data_files = {split: list(names) for split, names in files.items()}
    with _said(where):
        found = load(reader, data_files=data_files, streaming=True, **options)
        chosen = {split: _chosen(rows, columns, where) for split, rows in found.items()}
        if form == "parquet":  # which reads no other column from the disk or the Hub then
            chosen = load(reader, data_files=data_files, streaming=True, columns=wanted, **options)
    return dict(chosen)


def _chosen(rows: Any, columns: TextColumns, where: str) -> Any:
    """Rows of the wanted columns alone; as they are where the library knows their columns only when it reads."""
    if rows.column_names is None:
        return rows
    for column in columns.wanted:
        _check_column(column, rows.column_names, where)
    return rows.select_columns(columns.wanted)


def _tables(rows: Any, where: str) -> Iterator[pa.Table]:
    with _said(where):
        yield from rows.with_format("arrow").iter(batch_size=BATCH_PASSAGES)


@contextmanager
def _said(where: str) -> Iterator[None]:
    """Whatever a stranger's files make the library raise, in one line, and nothing from its own log beside it."""
    log = logging.getLogger("datasets")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    except BiolmError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{where} cannot be read: {' '.join(lines)[:500]}; check it") from None
    finally:
        log.setLevel(level)


def _check_column(column: str, names: Sequence[str], where: str) -> None:
    if column in names:
        return
    shown = ", ".join(names[:_COLUMNS_SHOWN]) + (", …" if len(names) > _COLUMNS_SHOWN else "")
    raise InputError(
        f"{where} has no column {column}; it has {shown}: choose with --text-column and --document-column"
    )


def _texts(table: pa.Table, column: str, where: str) -> list[str | None]:
    _check_column(column, table.column_names, where)
    values = table.column(column)
    kind = values.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise InputError(
            f"{where}: its column {column} holds {kind}, not texts; name another with --text-column"
        )
    found: list[str | None] = values.to_pylist()
    return found


def _documents(table: pa.Table, column: str, where: str) -> list[Any]:
    _check_column(column, table.column_names, where)
    values = table.column(column)
    if pa.types.is_nested(values.type):
        raise InputError(
            f"{where}: its column {column} holds {values.type}, which names no document; name another with "
            "--document-column"
        )
    found: list[Any] = values.to_pylist()
    return found
