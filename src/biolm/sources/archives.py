"""The bytes of packed papers: gzip, tar and zip, streamed; nothing is ever written to disk.

Whatever is wrong with the packing comes out as Unusable. A tar archive is one stream, so damage anywhere ends
it; a zip archive has a directory, so a damaged member is alone.
"""

import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from lzma import LZMAError
from tarfile import (  # type: ignore[attr-defined]  # typeshed has only their root
    EmptyHeaderError,
    EOFHeaderError,
    InvalidHeaderError,
    TruncatedHeaderError,
)
from typing import Any, Self

from isal import igzip, isal_zlib

from biolm.sources.files import PAPER_ENDINGS
from biolm.sources.meca import meca_articles
from biolm.sources.xml import MAX_RECORD_BYTES, Unusable, one_line

CHUNK_BYTES = 1 << 18
CUT_OFF = "cut off: its data end too early"
_GZIP = b"\x1f\x8b"
_MAX_HEADER_BYTES = 1 << 20
"""Of a tar's long names and attributes, which tarfile reads into memory as they come."""
BROKEN = (
    *(OSError, ValueError, OverflowError, RuntimeError, IndexError, KeyError),
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, isal_zlib.error),
)
"""What the standard library and isal raise on damaged archives; NotImplementedError is a RuntimeError."""


Stream = Any
"""A BufferedReader, IGzipFile or ZipExtFile: what has `peek` and `read1`, for which typing has no name."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file in an archive."""

    name: str
    chunks: Callable[[], Iterator[bytes]]
    """Its contents, unpacked where gzipped. May raise Unusable, as this member's fault."""


def unpacked_chunks(stream: Stream) -> Iterator[bytes]:
    """What a stream holds, unpacked where gzipped: its first bytes tell. Raises Unusable where damaged."""
    try:
        plain = _unpacked(stream)
        while chunk := plain.read1(CHUNK_BYTES):
            yield chunk
    except EOFError:
        raise Unusable(CUT_OFF) from None
    except BROKEN as error:
        raise _damaged(error) from None


def tar_members(file: io.BufferedReader, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """The wanted regular files of a tar archive, gzipped or not, in its order, each in memory in its turn.

    Raises Unusable where the archive is damaged, or cut off anywhere: after its last member it is read to its
    end mark, and a gzipped one to its checksum.
    """
    try:
        plain = _unpacked(file)
        with tarfile.open(fileobj=plain, mode="r|", tarinfo=_Header) as archive:
            while (entry := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every entry; bulk packages have many
                packed = archive.extractfile(entry) if entry.isreg() and wanted(entry.name) else None
                if packed is not None and entry.size > MAX_RECORD_BYTES:
                    yield Member(entry.name, _too_large)
                elif packed is not None:
                    data = io.BufferedReader(io.BytesIO(packed.read()))
                    yield Member(entry.name, partial(unpacked_chunks, data))
        while rest := plain.read1(CHUNK_BYTES):
            if rest.strip(b"\0"):
                raise Unusable(
                    "holds more behind its end mark, which is not read", "give each archive by itself"
                )
    except EOFError:
        raise Unusable(CUT_OFF) from None
    except BROKEN as error:
        raise _damaged(error) from None


def zip_members(file: io.BufferedReader, wanted: Sequence[str] | None) -> Iterator[Member]:
    """The wanted files of a zip archive, in the order of the names; the papers of it, in its own order, for None.

    Raises Unusable where its directory is damaged.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (*BROKEN, EOFError) as error:
        raise Unusable(f"no whole zip archive: {one_line(error)}") from None
    with archive:
        for entry in zip_papers(archive) if wanted is None else _entries(archive, wanted):
            yield Member(entry.filename, partial(_zip_chunks, archive, entry))


def _entries(archive: zipfile.ZipFile, names: Sequence[str]) -> Iterator[zipfile.ZipInfo]:
    """The files of these names; a name can be there twice."""
    found: dict[str, list[zipfile.ZipInfo]] = {name: [] for name in names}
    for entry in archive.infolist():
        if not entry.is_dir() and entry.filename in found:
            found[entry.filename].append(entry)
    return chain.from_iterable(found.values())


def zip_papers(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The papers of a zip archive: what a MECA package calls its article, else what their endings tell.

    Raises Unusable where a package's manifest is damaged.
    """
    try:
        articles = meca_articles(archive)
    except (*BROKEN, EOFError) as error:
        raise _damaged(error) from None
    return [
        entry
        for entry in archive.infolist()
        if not entry.is_dir()
        and (
            entry.filename in articles
            if articles is not None
            else entry.filename.lower().endswith(PAPER_ENDINGS)
        )
    ]


def _zip_chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        stream = archive.open(entry)
    except (*BROKEN, EOFError) as error:
        raise _damaged(error) from None
    with stream:
        yield from unpacked_chunks(stream)


def _damaged(error: Exception) -> Unusable:
    """What is said of damage; of a disk or a connection that failed, which comes with a number or as one."""
    transient = isinstance(error, ConnectionError) or getattr(error, "errno", None) is not None
    return Unusable(f"damaged: {one_line(error)}", transient=transient)


def _too_large() -> Iterator[bytes]:
    raise Unusable(f"larger than {MAX_RECORD_BYTES >> 20} MiB")


def _unpacked(stream: Stream) -> Stream:
    return igzip.IGzipFile(fileobj=stream) if stream.peek(2)[:2] == _GZIP else stream


class _Header(tarfile.TarInfo):
    """A tar header, read strictly: by itself tarfile takes damage after the first member for the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except EOFHeaderError:  # the end mark
            raise
        except (EmptyHeaderError, TruncatedHeaderError):
            raise EOFError from None
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if not header.isreg() and header.size > _MAX_HEADER_BYTES:
            raise InvalidHeaderError("a header of more than a MiB")
        return header
