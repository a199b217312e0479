"""Folders that are whole or absent: written beside their place, checksummed, renamed.

Every folder that biolm writes carries a `manifest.json` with its kind, format version, settings, inputs,
counts and the SHA-256 of each file. It holds no time and no path of the machine, so the same work gives
the same bytes. A process killed at any moment leaves either the old state or the new one; its unfinished
folder (`.NAME.partial`) is thrown away by the next run.
"""

import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import biolm
from biolm.errors import ArtifactError

MANIFEST = "manifest.json"
CARD = "README.md"


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in 1 MiB blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def cache_folder() -> Path:
    """Where biolm keeps what it can make again: `$BIOLM_CACHE`, or `biolm` in the user's cache folder."""
    own = os.environ.get("BIOLM_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "biolm"


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that a reader sees the old file or the new one, never half of it."""
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; on a clean exit it is flushed to disk and takes its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        _fsync(partial)
        partial.replace(path)
        _fsync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def new_folder(out: Path, *, kind: str) -> Iterator[Path]:
    """A fresh folder beside `out`; on a clean exit, when it holds a manifest, it becomes `out`.

    Raises ArtifactError when `out` holds anything already, or when another process is writing it.
    """
    out = out.resolve()  # a link to an empty folder stays a link to what becomes of it
    check_free(out)
    if os.path.ismount(out):
        raise ArtifactError(f"{out} is a mount point, which cannot be exchanged; choose a folder inside it")
    partial = out.with_name(f".{out.name}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"cannot write {out}: {error.strerror}; choose another --out") from None
    with exclusive(partial, what=out):
        check_free(out)  # another writer may have finished before we got the lock
        _clear(partial)  # what a killed process left
        try:
            yield partial
            if not (partial / MANIFEST).is_file():
                raise AssertionError(f"{kind} folder finished without a manifest")
            for path in [*partial.rglob("*"), partial]:
                _fsync(path)
            check_free(out)
            if out.is_dir():
                _clear(out)  # leftovers at the most, says check_free
            partial.rename(out)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _fsync(out.parent)


@contextmanager
def exclusive(folder: Path, *, what: Path | None = None) -> Iterator[None]:
    """Hold the lock of an existing folder against other biolm processes; it dies with its process."""
    busy = ArtifactError(f"another biolm process is writing {what or folder}; wait for it or stop it")
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        raise busy from None  # its writer renamed it before we opened it
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        if not folder.exists() or not os.path.samestat(os.fstat(handle), folder.stat()):
            raise busy  # its writer renamed it between our open and our lock
        yield
    finally:
        os.close(handle)


@contextmanager
def writing(what: Path, *like_os_errors: type[Exception]) -> Iterator[None]:
    """Around long work's writes: what the disk refuses is an ArtifactError, from which the same command goes on.

    `like_os_errors`: what a library raises in an OSError's place.
    """
    refusals: tuple[type[Exception], ...] = (OSError, *like_os_errors)
    try:
        yield
    except refusals as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ArtifactError(
            f"{what} cannot be written: {why}; check the disk, then the same command with --resume goes on"
        ) from None


def clear_leftovers(folder: Path) -> None:
    """Remove the files that killed writers left half written in a folder that the caller alone writes."""
    for path in folder.glob(".*.partial"):
        if path.is_file():
            path.unlink()


def clear_leftovers_of(out: Path) -> None:
    """Remove what killed writers left half written of a file or folder that the caller alone writes."""
    for path in out.parent.glob(f".{glob.escape(out.name)}.*.partial"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def check_free(out: Path) -> None:
    """Raise ArtifactError unless nothing, or a folder of nothing but a killed writer's leftovers, lies at `out`.

    Nor may it lie where nothing can be written: to be told so after hours of work is too late.
    """
    try:
        above = next((folder for folder in out.resolve().parents if folder.exists()), Path("/"))
    except (OSError, RuntimeError) as error:  # a folder that may not be looked into, a link to itself
        raise ArtifactError(f"cannot write {out}: {error}; choose another --out") from None
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        why = "may not be written" if above.is_dir() else "is a file"
        raise ArtifactError(f"cannot write {out}: {above} {why}; choose another --out")
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir():
        raise ArtifactError(f"{out} is a file; choose another --out")
    if any(not _is_leftover(path) for path in out.iterdir()):
        held = kind_of(out)
        what = f"already holds a finished {held}" if held else "holds other files"
        raise ArtifactError(f"{out} {what}; choose another --out" + (" or remove it" if held else ""))


def kind_of(folder: Path) -> str | None:
    """The kind of artifact that lies in `folder`, or None."""
    try:
        return kind_said((folder / MANIFEST).read_bytes())
    except OSError:
        return None


def kind_said(data: bytes) -> str | None:
    """The kind of artifact that the bytes of a manifest name, or None."""
    try:
        manifest = json.loads(data)
    except ValueError:
        return None
    kind = manifest.get("kind") if isinstance(manifest, dict) else None
    return kind if isinstance(kind, str) else None


def write_manifest(folder: Path, *, kind: str, version: int, **facts: Any) -> dict[str, Any]:
    """Write the manifest of the files that lie in `folder` now, and return it.

    The card (`README.md`) is not among them: people edit it, on the Hub too.
    """
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).as_posix() not in (MANIFEST, CARD)
    }
    manifest = {"kind": kind, "version": version, "biolm": biolm.__version__, **facts, "files": files}
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_manifest(folder: Path, *, kind: str, version: int | tuple[int, ...], rebuild: str) -> dict[str, Any]:
    """The manifest of an artifact whose files are all there with their sizes.

    `rebuild` is the command that makes such a folder, for the message. Checksums are not recomputed here:
    a corpus can be hundreds of gigabytes; `verify_files` does it.
    """
    remedy = f"make it with `{rebuild}`"
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is not a folder; expected a {kind}, {remedy}")
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{folder} has no {MANIFEST}, so it is no finished {kind}; {remedy}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error}); {remedy}") from None
    manifest = check_manifest(data, str(folder), kind=kind, version=version, remedy=remedy)
    files = manifest.get("files", {})
    if not isinstance(files, dict) or not all(_describes_file(facts) for facts in files.values()):
        raise ArtifactError(f"{path} is damaged: its list of files is none; {remedy}")
    for name, facts in files.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != facts["bytes"]:
            raise ArtifactError(f"{file} is missing or has another size than {path} says; {remedy}")
    return manifest


def check_manifest(
    data: bytes, folder: str, *, kind: str, version: int | tuple[int, ...], remedy: str
) -> dict[str, Any]:
    """The manifest whose bytes these are. Raises ArtifactError where it is of another kind or version, or none."""
    try:
        manifest = json.loads(data)
    except ValueError as error:
        raise ArtifactError(f"{folder}/{MANIFEST} cannot be read ({error}); {remedy}") from None
    if not isinstance(manifest, dict) or manifest.get("kind") != kind:
        found = manifest.get("kind") if isinstance(manifest, dict) else type(manifest).__name__
        raise ArtifactError(f"{folder} is a {found}, not a {kind}; {remedy}")
    readable = version if isinstance(version, tuple) else (version,)
    if manifest.get("version") not in readable:
        raise ArtifactError(
            f"{folder} has {kind} format {manifest.get('version')}, this biolm reads "
            f"{' and '.join(map(str, readable))}; {remedy}"
        )
    return manifest


def verify_files(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Names of the files whose SHA-256 differs from the manifest's."""
    files: Mapping[str, Mapping[str, Any]] = manifest["files"]
    return [
        name
        for name, facts in files.items()
        if not (folder / name).is_file() or sha256_file(folder / name) != facts["sha256"]
    ]


def _describes_file(facts: Any) -> bool:
    return isinstance(facts, dict) and facts.keys() >= {"bytes", "sha256"}


def _is_leftover(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".partial")


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
