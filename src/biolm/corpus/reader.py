"""Reading a corpus back, from a folder here or at an address, in batches, without loading it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from biolm.artifacts import sha256_json
from biolm.corpus.places import Place, below, opened, place_of, read_manifest_at, spelled
from biolm.corpus.writer import SCHEMA
from biolm.errors import ArtifactError
from biolm.papers.store import is_store

KIND = "corpus"
DROPPED = "dropped.parquet"
"""What was dropped, by reason; no data of any split."""
VERSION = 2
COLUMNS_OF_1 = tuple(name for name in SCHEMA.names if name not in ("kind", "article_type", "rights"))
READABLE = (1, 2)
"""Format versions that are read; 1 lacks some columns."""
NEEDED = {"counts": dict, "splits": dict, "settings": dict, "sources": list, "files": dict, "command": str}
"""What readers take for granted in a manifest."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A finished corpus."""

    folder: Place
    """Where it lies."""
    manifest: dict[str, Any]
    """Its `manifest.json`; docs/formats.md lists the keys."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that hold passages, in the order train, validation, test."""
        return tuple(self.manifest["splits"])

    @property
    def passages(self) -> int:
        """Passages in all splits."""
        return int(self.manifest["counts"]["passages_kept"])

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of its passages."""
        return tuple(SCHEMA.names) if self.manifest["version"] == VERSION else COLUMNS_OF_1

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the hashes of the Parquet files and the settings: equal for equal texts and splits."""
        files = {name: facts["sha256"] for name, facts in self.manifest["files"].items() if _is_data(name)}
        return sha256_json({"files": files, "settings": self.manifest["settings"]})

    def files(self, split: str) -> list[Place]:
        """The Parquet files of a split, in order. Raises ArtifactError for a split without passages."""
        if split not in self.splits:
            raise ArtifactError(
                f"{spelled(self.folder)} has no passages in {split}; it has {', '.join(self.splits)}, "
                "and `biolm corpus build --split` changes the shares"
            )
        names = [name for name in self.manifest["files"] if _is_data(name) and name.startswith(f"{split}-")]
        return [below(self.folder, name) for name in sorted(names)]

    @contextmanager
    def opened(self, file: Place) -> Iterator[Any]:
        """What pyarrow reads one of its files from. Raises ArtifactError where it is damaged or out of reach."""
        try:
            with opened(file) as source:
                yield source
        except (pa.ArrowException, OSError) as error:
            state = "is damaged" if isinstance(file, Path) else "is damaged or cannot be reached"
            again = "" if isinstance(file, Path) else "run the same command again, or "
            raise ArtifactError(
                f"{spelled(file)} {state} ({error}); {again}remove {spelled(self.folder)} and build it again with "
                f"`{self.manifest['command']}`"
            ) from None

    def iter_batches(
        self, split: str, columns: Sequence[str] | None = None, batch_rows: int = 2048
    ) -> Iterator[pa.RecordBatch]:
        """The passages of a split in the order of the corpus, as record batches of at most `batch_rows`.

        `columns`: all unless given. One row group is in memory at a time. Raises ArtifactError for a split
        without passages, a column that the format lacks, or a damaged file.
        """
        columns = self.columns if columns is None else columns
        unknown = sorted(set(columns) - set(self.columns))
        if unknown:
            raise ArtifactError(
                f"{spelled(self.folder)} has no column {', '.join(unknown)}; it has {', '.join(self.columns)}"
            )
        for path in self.files(split):
            with self.opened(path) as source, pq.ParquetFile(source, pre_buffer=False) as file:
                for group in range(file.num_row_groups):
                    yield from file.iter_batches(batch_rows, row_groups=[group], columns=list(columns))


def open_corpus(folder: str | Path) -> Corpus:
    """Open a finished corpus, here or at an address ("s3://bucket/corpus").

    Raises ArtifactError, saying how to make one, for anything else, and InputError where a store cannot be asked.
    """
    place = place_of(folder)
    rebuild = f"biolm corpus build SOURCE... --out {spelled(place)}"
    if isinstance(place, Path) and is_store(place):
        raise ArtifactError(
            f"{place} is a paper store; build a corpus of it first, with `biolm corpus build {place} --out corpus`"
        )
    manifest = read_manifest_at(place, kind=KIND, version=READABLE, rebuild=rebuild)
    if missing := [key for key in NEEDED if not isinstance(manifest.get(key), NEEDED[key])]:
        raise ArtifactError(
            f"{spelled(place)}: its manifest says nothing of {', '.join(missing)}; make it again with `{rebuild}`"
        )
    return Corpus(place, manifest)


def _is_data(name: str) -> bool:
    return name.endswith(".parquet") and name != DROPPED
