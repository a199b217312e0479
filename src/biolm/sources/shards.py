"""A source cut into shards: the unit of work of a build that is parallel and takes up where it stopped.

A large file (PubMed's, a bundle, an archive) is a shard of its own. A folder's small papers are grouped in sorted
order, and a group ends where a hash of a file's name says so: a paper that comes into the folder changes its own
group and no other. So are a paper store's (`stored.py`). Nothing here depends on how many processes work.
"""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from biolm.artifacts import sha256_file, sha256_json
from biolm.errors import InputError
from biolm.papers.store import is_store
from biolm.records import Unreadable
from biolm.sources.archives import BROKEN, zip_papers
from biolm.sources.files import (
    NO_MEMBERS,
    TAR_ENDINGS,
    ZIP_ENDINGS,
    PaperFile,
    Sidecar,
    StoredRow,
    local_file,
    local_files,
    portable,
)
from biolm.sources.options import TextOptions
from biolm.sources.read import Stream, read_file
from biolm.sources.remote import is_url, name_of, remote_files, shown
from biolm.sources.stored import stored_files
from biolm.sources.xml import PAPERS, Unusable, one_line

GROUP_FILES = 256
"""Files of a group on average; at most four times as many."""
GROUP_BYTES = 32 << 20
"""A group ends before the file that would exceed this."""
LARGE_BYTES = 16 << 20
"""A file from this size on is a shard of its own."""
_DEFAULT = TextOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Files that one worker reads, one after another."""

    packed: bytes
    """They, compressed: a hundred bytes each, where millions are planned at once."""
    count: int
    """Files, or papers of a paper store."""
    size: int
    """Their bytes together."""
    alone: bool
    """Whether its one file is the source itself, which must be usable; a file of a folder may be bad."""

    @classmethod
    def of(cls, files: Sequence[PaperFile], *, alone: bool) -> "Shard":
        """The shard of some files."""
        packed = zlib.compress(json.dumps(list(map(_facts, files))).encode(), 1)
        count = sum(1 if file.rows is None else len(file.rows) for file in files)
        return cls(packed=packed, count=count, size=sum(file.bytes for file in files), alone=alone)

    @property
    def files(self) -> tuple[PaperFile, ...]:
        """The files in their order."""
        return tuple(map(_paper_file, json.loads(zlib.decompress(self.packed))))


def _facts(file: PaperFile) -> list[Any]:
    beside = file.sidecar and [file.sidecar.path, file.sidecar.name, file.sidecar.content]
    rows = file.rows and [astuple(row) for row in file.rows]
    return [file.path, file.name, file.bytes, file.members, file.content, file.problem, beside, rows]


def _paper_file(facts: list[Any]) -> PaperFile:
    path, name, size, members, content, problem, beside, rows = facts
    return PaperFile(
        path=path,
        name=name,
        bytes=size,
        members=None if members is None else tuple(members),
        content=content,
        problem=problem,
        sidecar=beside and Sidecar(path=beside[0], name=beside[1], content=beside[2]),
        rows=rows and tuple(StoredRow(*row) for row in rows),
    )


def plan_shards(path: str | Path, name: str, members: Collection[str] | None = None) -> list[Shard]:
    """The shards of a file, folder or URL that is called `name`, in the order of the names of the files.

    Raises InputError where it cannot be listed, or holds no papers.
    """
    try:
        return [
            Shard.of(files, alone=_is_source(files, name)) for files in _groups(_listed(path, name, members))
        ]
    except Unusable as error:
        where = shown(str(path)) if is_url(str(path)) else path
        raise InputError(f"{where}: {error.reason}; {error.remedy}") from None


def _is_source(files: tuple[PaperFile, ...], name: str) -> bool:
    return any(file.name == name for file in files)


def _listed(path: str | Path, name: str, members: Collection[str] | None) -> Iterator[PaperFile]:
    if members is not None and not str(path).lower().endswith((*TAR_ENDINGS, *ZIP_ENDINGS)):
        raise Unusable("no archive, so it has no members to choose from", PAPERS)
    if is_url(str(path)):
        found = remote_files(str(path), name)
    elif is_store(Path(path)):
        found = stored_files(Path(path), name)
    elif Path(path).is_dir():
        found = local_files(Path(path), name)
    elif str(path).lower().endswith(ZIP_ENDINGS):
        yield from _zipped(local_file(Path(path), name), members)
        return
    else:
        found = iter([local_file(Path(path), name)])
    for file in found:
        yield file if members is None else replace(file, members=tuple(sorted(members)))


def _zipped(file: PaperFile, members: Collection[str] | None) -> Iterator[PaperFile]:
    """The papers of a zip archive, each as a file of its own: its directory tells their sizes and checksums."""
    try:
        with zipfile.ZipFile(file.path) as archive:
            papers = zip_papers(archive) if members is None else archive.infolist()
    except (*BROKEN, EOFError) as error:
        raise Unusable(f"no whole zip archive: {one_line(error)}") from None
    found: dict[str, list[zipfile.ZipInfo]] = {}
    for entry in papers:
        if members is None or entry.filename in members:
            found.setdefault(entry.filename, []).append(entry)  # a name can be there twice
    if not found:
        raise Unusable(NO_MEMBERS if members is None else "holds none of the members", PAPERS)
    for name, entries in sorted(found.items()):
        yield replace(
            file,
            bytes=sum(entry.compress_size for entry in entries),
            members=(name,),
            content=" ".join([name, *(f"{entry.CRC:08x} {entry.file_size}" for entry in entries)]),
        )
    for name in sorted(set(members or ()) - set(found)):
        yield replace(file, bytes=0, members=(name,), problem="not in the archive")


def _groups(files: Iterable[PaperFile]) -> Iterator[tuple[PaperFile, ...]]:
    group: list[PaperFile] = []
    size = 0
    for file in files:
        large = file.bytes >= LARGE_BYTES or file.rows or (file.members is None and _is_archive(file))
        if group and (large or size + file.bytes > GROUP_BYTES or len(group) >= 4 * GROUP_FILES):
            yield tuple(group)
            group, size = [], 0
        group.append(file)
        size += file.bytes
        if (
            large
            or hashlib.blake2b((file.content or file.name).encode(), digest_size=4).digest()[0] % GROUP_FILES
            == 0
        ):
            yield tuple(group)
            group, size = [], 0
    if group:
        yield tuple(group)


def _is_archive(file: PaperFile) -> bool:
    return file.problem is None and file.name.lower().endswith((*TAR_ENDINGS, *ZIP_ENDINGS))


def identity(shard: Shard) -> str:
    """SHA-256 over the names and contents of the shard's files and sidecars; no path of the machine is in it.

    Of a file in a store only what its listing tells is taken: its ETag, or its time and size. Where a store tells
    neither, a change that keeps the size is not noticed.
    """
    facts = [
        [
            file.name,
            _content(file),
            file.members,
            file.problem,
            file.sidecar and [file.sidecar.name, _content(file.sidecar)],
        ]
        for file in shard.files
    ]
    return sha256_json([shard.alone, facts])


def _content(file: PaperFile | Sidecar) -> str:
    if file.content is not None:
        return file.content
    try:
        return sha256_file(Path(file.path))
    except OSError as error:
        return f"unreadable: {error.strerror}"


def read_shard(shard: Shard, options: TextOptions = _DEFAULT) -> Stream:
    """Every record of the shard, always in the same order.

    A file that is gone or damaged gives an Unreadable. Raises InputError, possibly after the records before the
    damage, where it is the source itself.
    """
    for file in _joined(shard.files):
        try:
            yield from read_file(file, options)
        except Unusable as error:
            if shard.alone and file.problem is None:
                where = shown(file.path) if is_url(file.path) else file.path
                raise InputError(f"{where}: {error.reason}; {error.remedy}") from None
            member = f"/{portable(file.members[0])}" if file.problem and file.members else ""
            yield Unreadable(source=f"{file.name}{member}", reason=error.reason, transient=error.transient)


def _joined(files: Iterable[PaperFile]) -> Iterator[PaperFile]:
    """The files, members of one archive together: to open it for each would read its directory each time."""
    for (_, in_archive), group in groupby(
        files, lambda file: (file.path, bool(file.members) and not file.problem)
    ):
        same = list(group)
        if in_archive:
            same = [replace(same[0], members=tuple(member for file in same for member in file.members or ()))]
        yield from same


def read_source(
    path: str | Path, members: Collection[str] | None = None, options: TextOptions = _DEFAULT
) -> Stream:
    """Every record of a file, folder, archive or URL, one after another: `plan_shards` and `read_shard` in one.

    A folder's papers and archives come in the order of their names, a tar archive's members in its own, a zip
    archive's by name. `members` names the only ones to read of an archive. The source is called by the last part
    of its path. Raises InputError, possibly after the records before the damage, where `path` cannot be used;
    whatever is bad inside it gives an Unreadable.
    """
    for shard in plan_shards(path, source_name(path), members):
        yield from read_shard(shard, options)


def source_name(path: str | Path) -> str:
    """What a source is called in a corpus: the last part of its path or URL, so that no path of the machine gets in."""
    if is_url(str(path)):
        return name_of(str(path))
    path = Path(path)
    return portable(Path(os.path.realpath(path)).name if path.is_dir() else path.name) or "root"
