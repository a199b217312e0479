"""Any source of papers as one stream of `Article` and `Unreadable`.

The path that was named must be usable: otherwise InputError. What lies inside a folder, archive or bundle may
be bad: it is given as `Unreadable`, and the stream goes on.
"""

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any, cast

from biolm.errors import InputError
from biolm.records import Article, Unreadable
from biolm.sources.jats import parse_article
from biolm.sources.pubmed import RECORDS, parse_record
from biolm.sources.xml import NotXml, local_name, parse_xml, reason, root_name, stream_elements

PAPERS = (".xml", ".nxml", ".xml.gz", ".nxml.gz")
TARS = (".tar", ".tar.gz", ".tgz")
ZIPS = (".zip", ".whl")
BUNDLES = frozenset({"articles", "pmc-articleset"})
HEAD_BYTES = 1 << 16
MEMBER_BYTES = 1 << 28
"""A JATS article, or member of an archive, above this is not read: the largest real ones are a tenth of it."""
_BROKEN = (
    EOFError,
    OSError,
    zlib.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
)


def read_source(path: Path, members: Collection[str] | None = None) -> Iterator[Article | Unreadable]:
    """Every article of a file, folder or archive.

    A file of JATS, of PubMed XML or of a bundle of articles, gzipped or not; a folder of such files and
    archives, in sorted order; a tar archive, gzipped or not, in its own order; a zip archive, of which
    `members` may name the only ones to read. PubMed XML, bundles and archives are streamed. `source` of each
    record is the path's last part, with "/member" or "#PMID" behind it. Raises InputError where `path` itself
    cannot be used.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; give a file or folder of papers")
    if path.is_dir():
        yield from _read_folder(path)
        return
    try:
        yield from _read_named(path, path.name, members)
    except _Unusable as error:
        raise InputError(f"{path} cannot be used: {error}; {error.next_step}") from None


class _Unusable(Exception):  # noqa: N818  becomes InputError or Unreadable, by where it happens
    """A file as a whole cannot be read."""

    next_step = "give JATS or PubMed XML, or an archive of it"


class _Truncated(_Unusable):
    next_step = "fetch it again"


def _read_folder(folder: Path) -> Iterator[Article | Unreadable]:
    found = 0
    for path in _papers_below(folder):
        found += 1
        name = f"{folder.resolve().name}/{path.relative_to(folder).as_posix()}"
        try:
            yield from _read_named(path, name, None)
        except _Unusable as error:
            yield Unreadable(source=name, reason=str(error))
    if not found:
        raise InputError(
            f"{folder} holds no file ending in {', '.join((*PAPERS, *TARS))}; give another folder"
        )


def _papers_below(folder: Path) -> Iterator[Path]:
    """Papers and archives in sorted order; links to outside the folder are not followed."""
    inside = folder.resolve()
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _papers_below(path)
        elif path.is_file() and path.name.lower().endswith((*PAPERS, *TARS)):
            yield path


def _read_named(path: Path, name: str, members: Collection[str] | None) -> Iterator[Article | Unreadable]:
    lower = path.name.lower()
    try:
        if lower.endswith(TARS):
            yield from _read_tar(path, name)
        elif lower.endswith(ZIPS):
            yield from _read_zip(path, name, members)
        else:
            with path.open("rb") as file:
                yield from _read_file(_unpacked(file), name)
    except PermissionError:
        raise _Unusable("it may not be read by you") from None
    except EOFError:
        raise _Truncated("it is truncated") from None
    except _BROKEN as error:
        raise _Truncated(f"it is damaged ({reason(error)})") from None


def _unpacked(file: IO[bytes]) -> IO[bytes]:
    """The file's contents, whether gzipped or not: its first bytes say, not its name."""
    magic = file.read(2)
    file.seek(0)
    return _gunzipped(file) if magic == b"\x1f\x8b" else file


def _gunzipped(file: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(file))


def _read_file(file: IO[bytes], name: str) -> Iterator[Article | Unreadable]:
    """The articles of one XML document. Raises _Unusable where it is none, or breaks off."""
    head = file.read(HEAD_BYTES)
    if not head.strip():
        raise _Unusable("it is empty")
    try:
        root = root_name(head)
    except NotXml as error:
        raise _Unusable(f"it is no XML ({error})") from None
    whole: Any = _Rejoined(head, file)
    if root == "article":
        data = whole.read(MEMBER_BYTES + 1)
        if len(data) > MEMBER_BYTES:
            raise _Unusable(f"it is larger than {MEMBER_BYTES >> 20} MiB")
        try:
            article = parse_article(parse_xml(data), name)
        except NotXml as error:
            raise _Unusable(f"it is broken XML ({error})") from None
        yield article
    elif root == "PubmedArticleSet":
        yield from _stream(whole, name, RECORDS)
    elif root in BUNDLES:
        yield from _stream(whole, name, ("article",))
    elif root in RECORDS:
        raise _Unusable("it is a single PubMed record outside its PubmedArticleSet")
    else:
        raise _Unusable(f"its root is <{root}>, which is neither JATS nor PubMed")


def _stream(file: IO[bytes], name: str, elements: tuple[str, ...]) -> Iterator[Article]:
    number = 0
    try:
        for element in stream_elements(file, elements):
            number += 1
            if local_name(element) == "article":
                yield parse_article(element, f"{name}#{number}")
            else:
                yield parse_record(element, name)
    except NotXml as error:
        raise _Truncated(f"it is broken XML after {number} records ({error})") from None


class _Rejoined(io.RawIOBase):
    """A file whose head has been read already."""

    def __init__(self, head: bytes, rest: IO[bytes]) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, first of the head, then of the rest."""
        if size < 0:
            size = 1 << 62
        part, self._head = self._head[:size], self._head[size:]
        if len(part) < size:
            part += self._rest.read(size - len(part) if size < 1 << 62 else -1)
        return part


def _read_tar(path: Path, name: str) -> Iterator[Article | Unreadable]:
    found = 0
    with path.open("rb") as file, tarfile.open(fileobj=_unpacked(file), mode="r|") as archive:
        for member in archive:
            if not member.isfile() or not member.name.lower().endswith(PAPERS):
                continue
            found += 1
            stream = archive.extractfile(member)
            if stream is not None:
                yield from _read_member(stream.read(MEMBER_BYTES + 1), f"{name}/{_portable(member.name)}")
    if not found:
        raise _Unusable("it holds no XML file")


def _read_zip(path: Path, name: str, members: Collection[str] | None) -> Iterator[Article | Unreadable]:
    found = 0
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            wanted = (
                info.filename in members if members is not None else info.filename.lower().endswith(PAPERS)
            )
            if info.is_dir() or not wanted:
                continue
            found += 1
            member = f"{name}/{_portable(info.filename)}"
            with archive.open(info) as file:
                try:
                    gzipped = info.filename.endswith(".gz")
                    yield from _read_file(_gunzipped(file) if gzipped else file, member)
                except (_Unusable, gzip.BadGzipFile) as error:
                    yield Unreadable(source=member, reason=str(error))
    if not found:
        raise _Unusable("it holds no XML file")


def _read_member(data: bytes, name: str) -> Iterator[Article | Unreadable]:
    if len(data) > MEMBER_BYTES:
        yield Unreadable(source=name, reason=f"it is larger than {MEMBER_BYTES >> 20} MiB")
        return
    try:
        yield from _read_file(_unpacked(io.BytesIO(data)), name)
    except (_Unusable, *_BROKEN) as error:
        yield Unreadable(source=name, reason=reason(error))


def _portable(member: str) -> str:
    return member.lstrip("./")
