"""A finished corpus into an object store: its files first, its manifest last, so that it is whole or absent.

A store has neither locks nor renames. What stands in for them is a marker, put there first and removed last: it
names the files to come, so that the next build may take away what a killed one left there, and nothing else; and
it names its writer, who finds before each file whether another has begun since.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from biolm.artifacts import MANIFEST, check_free, new_folder
from biolm.corpus.places import Place, kind_at, spelled
from biolm.corpus.workspace import Workspace
from biolm.errors import ArtifactError, BiolmError, InputError
from biolm.progress import Progress
from biolm.sources.remote import said

MARKER = ".corpus.partial"

_Answer = TypeVar("_Answer")


@contextmanager
def new_corpus(out: Place, *, kind: str, workspace: Workspace, progress: Progress) -> Iterator[Path]:
    """A fresh folder; on a clean exit it becomes `out`, or is put there if that is an address.

    Until then it lies beside `out`, or on the workspace's disk. Raises ArtifactError where `out` holds anything
    already or another process writes it, and InputError where it cannot be written.
    """
    if isinstance(out, Path):
        with new_folder(out, kind=kind) as folder:
            yield folder
        return
    with workspace.draft() as draft:
        yield draft
        check_free_at(out)  # another writer may have finished meanwhile
        _ask(out, lambda files, root: _put(files, root, draft, out, progress))


def check_free_at(out: Place) -> None:
    """Raise ArtifactError unless nothing, or nothing but what a killed writer left, lies at `out`."""
    if isinstance(out, Path):
        check_free(out)
        return
    there = set(_ask(out, _names))
    if not there:
        return
    where = spelled(out)
    if "" in there:
        raise ArtifactError(f"{where} is a file; choose another --out")
    if held := kind_at(out):
        raise ArtifactError(f"{where} already holds a finished {held}; choose another --out or remove it")
    if there - {MARKER, *_ask(out, _announced)}:
        raise ArtifactError(f"{where} holds other files; choose another --out")


def _put(files: Any, root: str, draft: Path, url: str, progress: Progress) -> None:
    for name in set(_names(files, root)) - {MARKER}:  # a killed writer's, says check_free_at
        files.rm_file(f"{root}/{name}")
    paths = sorted(draft.iterdir(), key=lambda path: (path.name == MANIFEST, path.name))
    mark = json.dumps({"writer": secrets.token_hex(8), "files": [path.name for path in paths]}).encode()
    done, sizes = 0, {path.name: path.stat().st_size for path in paths}
    progress.start("put corpus", sum(sizes.values()) / 1e6, "MB")
    files.makedirs(root, exist_ok=True)
    files.pipe_file(f"{root}/{MARKER}", mark)
    for path in paths:
        if _marker(files, root) != mark:
            raise ArtifactError(f"another biolm process is writing {spelled(url)}; wait for it or stop it")
        files.put_file(str(path), f"{root}/{path.name}")
        done += sizes[path.name]
        progress.update(done / 1e6)
    files.rm_file(f"{root}/{MARKER}")
    progress.finish(f"{len(paths)} files, {done / 1e6:,.1f} MB, to {spelled(url)}")


def _names(files: Any, root: str) -> list[str]:
    """What lies in a folder, by name; "" where the folder is a file."""
    files.invalidate_cache()
    try:
        found = files.ls(root, detail=False)
    except FileNotFoundError:
        return []
    base = root.strip("/")
    itself = f"{base}/"  # an empty object by which some tools mark a folder
    return [path.strip("/").removeprefix(base).strip("/") for path in found if path.lstrip("/") != itself]


def _marker(files: Any, root: str) -> bytes:
    try:
        mark: bytes = files.cat_file(f"{root}/{MARKER}")
    except FileNotFoundError:
        return b""
    return mark


def _announced(files: Any, root: str) -> list[str]:
    """The files that a writer who did not finish has announced."""
    try:
        return [name for name in json.loads(_marker(files, root))["files"] if isinstance(name, str)]
    except (ValueError, KeyError, TypeError):
        return []


def _ask(url: str, question: Callable[[Any, str], _Answer]) -> _Answer:
    """The answer of the file system that an address belongs to. Raises InputError where there is none."""
    try:
        files, root = fsspec.url_to_fs(url)
        return question(files, root)
    except BiolmError:
        raise
    except ImportError as error:
        raise InputError(
            f"{spelled(url)} cannot be written: {said(error)}; run `pip install 'biolm[remote]'`"
        ) from None
    except PermissionError:
        raise InputError(f"{spelled(url)} may not be written; check your credentials for it") from None
    except NotImplementedError:  # what fsspec raises for stores that can only be read
        raise InputError(
            f"{spelled(url)} is of a kind that cannot be written; choose another --out"
        ) from None
    except ValueError as error:
        raise InputError(f"{spelled(url)} cannot be written: {said(error)}; check the address") from None
    except Exception as error:  # each driver has its own
        raise InputError(
            f"{spelled(url)} cannot be written: {said(error)}; check the address and the connection, and run the "
            "same command again"
        ) from None
