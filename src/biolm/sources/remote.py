"""Papers in a store or on a server, through fsspec: listed and streamed, never kept on disk.

A broken connection is taken up where it broke, three times, so that no record is given twice. Where S3 finds no
credentials it is asked without: the buckets of open papers are public. Addresses are shown without what may be
secret in them (a password, a signed query).
"""

import io
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import fsspec

from biolm.sources.files import (
    FOLDER_ENDINGS,
    METADATA,
    NO_PAPERS,
    ZIP_ENDINGS,
    PaperFile,
    Sidecar,
    find_sidecar,
    portable,
    unopened,
)
from biolm.sources.xml import PAPERS, Unusable, one_line

RETRIES = 3
BACKOFF_SECONDS = 0.5
"""Before the first retry; doubled before each further one."""
_BUFFER_BYTES = 1 << 20
_STAMPS = ("ETag", "etag", "md5Hash", "md5", "content_md5", "Content-MD5")
_TIMES = ("LastModified", "last_modified", "Last-Modified", "updated", "mtime", "modified", "created")
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError, ValueError)
"""What no second try puts right."""
_CHECK = "check the address"
_ABSENT = "does not exist"

_Answer = TypeVar("_Answer")


def is_url(word: str) -> bool:
    """Whether a word names something that fsspec reads, rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*(?:::[a-z0-9]+)*://", word) is not None


def shown(url: str) -> str:
    """An address without password and query, for a person to read."""
    return re.sub(r"://[^/@\s]*@", "://", re.sub(r"[?#][^\s'\"]*", "", url))


def name_of(url: str) -> str:
    """The last part of an address, which a source is called by."""
    parts = urlsplit(url)
    last = unquote(parts.path).rstrip("/").rpartition("/")[2] or parts.hostname or "root"
    return portable(last)


def remote_files(url: str, name: str) -> Iterator[PaperFile]:
    """The file at an address, or the papers and archives below it, sorted by name.

    Raises Unusable where nothing lies there, it may not be read, or holds no papers.
    """
    facts = _ask(url, lambda files, path: files.info(path))
    if facts.get("type") != "directory":
        beside = find_sidecar(name_of(url), lambda other: _is_there(_sibling(url, other)), lambda _: False)
        sidecar = None if beside is None else _sidecar(_sibling(url, beside), beside)
        yield PaperFile(
            path=url, name=name, bytes=facts.get("size") or 0, content=_stamp(facts), sidecar=sidecar
        )
        return
    listed = _ask(url, _list)
    papers = sorted((portable(file), file) for file in listed if file.lower().endswith(FOLDER_ENDINGS))
    if not papers:
        raise Unusable(NO_PAPERS, PAPERS)
    base = url.rstrip("/")
    for called, file in papers:
        folder, slash, last = file.rpartition("/")
        beside = find_sidecar(
            last,
            lambda other, folder=folder, slash=slash: f"{folder}{slash}{other}" in listed,  # type: ignore[misc]
            lambda other: f"{METADATA}/{other}" in listed,
        )
        sidecar = None
        if beside is not None:
            where = beside if beside.startswith(f"{METADATA}/") else f"{folder}{slash}{beside}"
            sidecar = Sidecar(
                path=f"{base}/{where}", name=f"{name}/{portable(where)}", content=_stamp(listed[where])
            )
        yield PaperFile(
            path=f"{base}/{file}",
            name=f"{name}/{called}",
            bytes=listed[file].get("size") or 0,
            content=_stamp(listed[file]),
            sidecar=sidecar,
        )


def _list(files: Any, path: str) -> dict[str, dict[str, Any]]:
    """Everything below a folder by its place in it."""
    root = files._strip_protocol(path).strip("/")
    found = files.find(path, detail=True)
    return {place.strip("/").removeprefix(root).strip("/"): facts for place, facts in found.items()}


def _stamp(facts: dict[str, Any]) -> str:
    """What a listing tells of a file's contents: its ETag or hash, else its time, and its size."""
    mark = next((facts[key] for key in (*_STAMPS, *_TIMES) if facts.get(key)), "")
    return f"{mark} {facts.get('size') or ''}"


def _sibling(url: str, name: str) -> str:
    folder, _, query = url.partition("?")
    return f"{folder.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")


def _is_there(url: str) -> bool:
    try:
        return _ask(url, lambda files, path: files.info(path)).get("type") != "directory"
    except Unusable:
        return False


def _sidecar(url: str, name: str) -> Sidecar:
    return Sidecar(path=url, name=name, content=_stamp(_ask(url, lambda files, path: files.info(path))))


def look(url: str) -> dict[str, Any] | None:
    """What its store says of the file or folder at an address ("type", "size"); None where nothing lies there.

    Raises Unusable where the store cannot be asked.
    """
    try:
        facts: dict[str, Any] = _ask(url, lambda files, path: files.info(path))
    except Unusable as error:
        if error.reason == _ABSENT:
            return None
        raise
    return facts


def open_file(address: str) -> io.BufferedReader:
    """A file here or at a URL, to read from its beginning; a zip archive can be searched too.

    Raises Unusable where it cannot be read. What breaks while a remote file is read comes out as OSError, after
    three retries.
    """
    if is_url(address):
        return io.BufferedReader(_Resumed(address), _BUFFER_BYTES)
    try:
        return Path(address).open("rb")
    except (OSError, ValueError) as error:
        raise unopened(error) from None


class _Resumed(io.RawIOBase):
    """A remote file that is opened again at the same place where its connection broke."""

    def __init__(self, url: str) -> None:
        self._url = url
        facts = _ask(url, lambda files, path: files.info(path))
        self._size: int | None = facts.get("size")
        self._stamp = _stamp(facts)
        parts = facts.get("partial", not urlsplit(url).scheme.startswith("http"))  # a server has to say so
        self._in_parts = parts and self._size is not None
        if url.lower().partition("?")[0].endswith(ZIP_ENDINGS) and not self._in_parts:
            raise Unusable("a zip archive that its server sends only as a whole", "download it first")
        self._position = 0
        self._file = self._open()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._in_parts)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if not self._in_parts or self._size is None:
            raise io.UnsupportedOperation("seek")
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        self._file.seek(self._position)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()

    def _read(self, count: int) -> bytes:
        for tried in range(RETRIES + 1):
            try:
                if tried:
                    self._file = self._open_again()
                data: bytes = self._file.read(count)
                if not data and self._size is not None and self._position < self._size:
                    raise ConnectionError("the connection ended too early")
                self._position += len(data)
                return data
            except Unusable:
                raise
            except _FINAL as error:
                raise OSError(said(error)) from None
            except Exception as error:  # each driver has its own
                if tried == RETRIES:
                    raise ConnectionError(
                        f"the connection broke at byte {self._position} and {RETRIES} times again: {said(error)}"
                    ) from None
                time.sleep(BACKOFF_SECONDS * 2**tried)
        raise AssertionError  # the last try returns or raises

    def _open(self) -> Any:
        block = {} if self._in_parts else {"block_size": 0}
        return _ask(self._url, lambda files, path: files.open(path, "rb", **block))

    def _open_again(self) -> Any:
        with suppress(Exception):  # it is broken already
            self._file.close()
        facts = _ask(self._url, lambda files, path: files.info(path))
        if _stamp(facts) != self._stamp:
            raise Unusable("changed while it was read", "run the same command again", transient=True)
        file = self._open()
        if self._in_parts:
            file.seek(self._position)
            return file
        left = self._position
        while left:
            skipped = len(file.read(min(left, _BUFFER_BYTES)))
            if not skipped:
                raise ConnectionError("the connection ended too early")
            left -= skipped
        return file


def _ask(url: str, question: Callable[[Any, str], _Answer]) -> _Answer:
    """The answer of the file system that an address belongs to. Raises Unusable where there is none."""
    access = _access(urlsplit(url).scheme)
    try:
        try:
            return question(*fsspec.url_to_fs(url, **access.options))
        except Exception as error:
            if type(error).__name__ != "NoCredentialsError" or access.options:
                raise
            access.options = {"anon": True}
            return question(*fsspec.url_to_fs(url, **access.options))
    except Unusable:
        raise
    except FileNotFoundError:
        raise Unusable(_ABSENT, _CHECK) from None
    except PermissionError:
        raise Unusable("may not be read", "check your credentials for it") from None
    except (ImportError, ValueError) as error:
        if isinstance(error, ImportError) or "not known" in str(error):
            remedy = "run `pip install 'biolm[remote]'`" if isinstance(error, ImportError) else _CHECK
            raise Unusable(f"cannot be read: {said(error)}", remedy) from None
        raise Unusable(f"cannot be read: {said(error)}", _CHECK) from None
    except Exception as error:  # each driver has its own
        raise Unusable(
            f"cannot be read: {said(error)}", "check the address and the connection", transient=True
        ) from None


@dataclass(slots=True)
class _Access:
    """How a kind of store is asked in this process."""

    options: dict[str, Any]


@cache
def _access(scheme: str) -> _Access:
    return _Access({})


def said(error: Exception) -> str:
    """An error in one line, without what may be secret in an address."""
    return shown(one_line(str(error) or type(error).__name__))
