"""Where extracts are kept: a folder, here or in an object store, that any number of processes share.

An extract is three files named by its key; the one that says what it holds is written last, so an extract
is whole or absent. A key is made of contents, never of paths or times: whoever finds an extract may use it,
and removing any of them costs the time to make it again, nothing else.
"""

import errno
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from biolm.artifacts import cache_folder, exclusive
from biolm.corpus.extract import ARTICLES, PASSAGES, ExtractFacts
from biolm.errors import ArtifactError, InputError

TABLES = {"articles": ARTICLES, "passages": PASSAGES}
_FACTS = {field.name for field in fields(ExtractFacts)}
_HELD = "held"


class Workspace:
    """Extracts at an address: a local path, or a URL that fsspec knows ("s3://bucket/extracts")."""

    def __init__(self, address: str | None = None) -> None:
        self.address = address or str(cache_folder() / "extracts")
        try:
            self._files, self._root = fsspec.url_to_fs(self.address)
            self._local = "file" in (
                self._files.protocol if isinstance(self._files.protocol, tuple) else (self._files.protocol,)
            )
            self._files.makedirs(self._root, exist_ok=True)
        except (OSError, ValueError, ImportError) as error:
            raise InputError(
                f"{self.address} cannot be used for extracts: {error}; choose another --work, or another $BIOLM_CACHE"
            ) from None

    def facts(self, key: str) -> ExtractFacts | None:
        """What a finished extract holds; None where there is none that this code can read."""
        try:
            with self._files.open(self._path(key, "json"), "rb") as file:
                facts = json.load(file)
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(facts, dict) or facts.keys() != _FACTS:
            return None
        facts["deletions"] = [(sequence, tuple(pmids)) for sequence, pmids in facts["deletions"]]
        facts["unreadable"] = [(source, reason) for source, reason in facts["unreadable"]]
        return ExtractFacts(**facts)

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """A folder for tables before `keep` takes them, or for large arrays; on the workspace's disk if local.

        It lies in one that its process holds locked: what a killed process left is told by a lock that is free.
        """
        with ExitStack() as held:
            outer = held.enter_context(
                tempfile.TemporaryDirectory(
                    prefix=f"{self._drafts()}{os.getpid()}-",
                    dir=self._root if self._local else None,
                    ignore_cleanup_errors=True,
                )
            )
            held.enter_context(exclusive(Path(outer)))
            inner = Path(outer, _HELD)
            inner.mkdir()
            yield inner

    def keep(self, key: str, facts: ExtractFacts, tables: dict[str, Path]) -> None:
        """Take over the files of a finished extract."""
        for name in TABLES:
            self._put(tables[name], self._path(key, f"{name}.parquet"))
        said = tables["articles"].with_suffix(".json")
        said.write_text(json.dumps(asdict(facts), ensure_ascii=False), encoding="utf-8")
        self._put(said, self._path(key, "json"))

    @contextmanager
    def table(
        self, key: str, name: str, repeated: Sequence[str] = (), columns: Sequence[str] = ()
    ) -> Iterator[pq.ParquetFile]:
        """One table of an extract, the `repeated` columns as dictionaries.

        `columns`: those that the reader wants besides the ones that every extract has. Raises ArtifactError where
        the table is damaged, or lacks a column: pyarrow would pass over that in silence.
        """
        path = self._path(key, f"{name}.parquet")
        try:
            with ExitStack() as opened:
                file = path if self._local else opened.enter_context(self._files.open(path, "rb"))
                try:
                    table = pq.ParquetFile(file, pre_buffer=False, read_dictionary=list(repeated))
                except KeyError as error:  # the name of a repeated column, as bytes
                    raise _lacking(error.args[0].decode()) from None
                opened.enter_context(table)
                _check_columns(table.schema_arrow, name, columns)
                yield table
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
                raise  # of the disk; pyarrow's own have no number
            raise ArtifactError(
                f"the extract {path} cannot be read ({' '.join(str(error).split())}); "
                f"remove {key}.* and run the same command again"
            ) from None

    def sweep(self) -> None:
        """Remove what killed processes of this machine left in a local workspace."""
        for outer in Path(self._root).glob(f"{self._drafts()}*") if self._local else ():
            begun = (outer / _HELD).is_dir()  # by a process that took its lock before
            pid = outer.name.removeprefix(self._drafts()).partition("-")[0]
            with suppress(ArtifactError, PermissionError), exclusive(outer):
                if begun or not _runs(pid):
                    shutil.rmtree(outer, ignore_errors=True)

    def _drafts(self) -> str:
        return f".draft-{socket.gethostname()}-"

    def _path(self, key: str, ending: str) -> str:
        return f"{self._root}/{key[:2]}/{key}.{ending}"

    def _put(self, file: Path, path: str) -> None:
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        if not self._local:
            self._files.put_file(str(file), path)
            return
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        file.replace(path)


def _runs(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (ValueError, PermissionError):
        pass  # not a draft of ours, or alive under another user
    return True


def _check_columns(found: pa.Schema, name: str, wanted: Sequence[str]) -> None:
    types = {field.name: getattr(field.type, "value_type", field.type) for field in found}
    wrong = [field.name for field in TABLES[name] if types.get(field.name) != field.type]
    wrong += [column for column in wanted if column not in types]
    if wrong:
        raise _lacking(wrong[0])


def _lacking(column: str) -> pa.ArrowInvalid:
    return pa.ArrowInvalid(f"no column {column} as this biolm writes it")
