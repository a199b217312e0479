"""A source cut into shards: the unit of work of a build that is parallel and takes up where it stopped.

A large file (PubMed's, a bundle, an archive) is a shard of its own. A folder's small papers are grouped in
sorted order, and a group ends where a hash of a file's name says so: a paper that comes into the folder
changes its own group and no other. Nothing here depends on how many processes work.
"""

import hashlib
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from biolm.artifacts import sha256_file, sha256_json
from biolm.errors import InputError
from biolm.records import Article, Unreadable
from biolm.sources.beside import files_beside, read_file_list, read_metadata
from biolm.sources.options import TextOptions
from biolm.sources.read import (
    PAPER_ENDINGS,
    TAR_ENDINGS,
    ZIP_ENDINGS,
    Stream,
    is_paper,
    papers_below,
    read_file,
)
from biolm.sources.xml import AGAIN, PAPERS, Unusable, one_line

GROUP_FILES = 64
"""Files of a group on average; at most four times as many."""
GROUP_BYTES = 32 << 20
"""A group ends before the file that would exceed this."""
LARGE_BYTES = 16 << 20
"""A file from this size on is a shard of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperFile:
    """One file of papers."""

    path: str
    """Where it lies on this machine."""
    name: str
    """What it is called in a corpus; begins with the name of its source."""
    bytes: int
    members: tuple[str, ...] | None = None
    """The members to read of an archive; None for all."""
    beside: tuple[str, ...] = ()
    """Files of metadata that belong to it, on this machine."""
    content: str | None = None
    """What tells its contents, where the archive's directory says so; None to hash them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Files that one worker reads, one after another."""

    files: tuple[PaperFile, ...]
    alone: bool
    """Whether its one file is the source itself, which must be usable; a file of a folder may be bad."""

    @property
    def bytes(self) -> int:
        """Size of its files."""
        return sum(file.bytes for file in self.files)


def plan_shards(path: Path, name: str, members: Collection[str] | None = None) -> list[Shard]:
    """The shards of a file or folder that is called `name`, in the order of the names of the files.

    Raises InputError where it cannot be listed, or a folder holds no papers.
    """
    if path.name.lower().endswith(ZIP_ENDINGS):
        return [Shard(files=files, alone=True) for files in _groups(_zipped(path, name, members))]
    if not path.is_dir():
        file = _paper_file(path, name)
        return [Shard(files=(file,), alone=True)]
    try:
        found = [_paper_file(file, f"{name}/{portable}") for portable, file in papers_below(path)]
    except Unusable as error:
        raise InputError(f"{path}: {error.reason}; {error.remedy}") from None
    return [Shard(files=files, alone=False) for files in _groups(found)]


def _paper_file(path: Path, name: str) -> PaperFile:
    beside = tuple(str(file) for file in files_beside(path))
    return PaperFile(path=str(path), name=name, bytes=path.stat().st_size, beside=beside)


def _zipped(path: Path, name: str, members: Collection[str] | None) -> list[PaperFile]:
    """The papers of a zip archive, each as a file of its own: its directory tells their sizes and checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError(f"{path}: no whole zip archive: {one_line(error)}; {AGAIN}") from None
    wanted = [
        entry
        for entry in entries
        if (entry.filename in members if members is not None else is_paper(entry.filename))
    ]
    if not wanted:
        raise InputError(f"{path}: holds no file ending in {', '.join(PAPER_ENDINGS)}; {PAPERS}")
    return [
        PaperFile(
            path=str(path),
            name=name,
            bytes=entry.compress_size,
            members=(entry.filename,),
            content=f"{entry.filename} {entry.CRC:08x} {entry.file_size}",
        )
        for entry in sorted(wanted, key=lambda entry: entry.filename)
    ]


def _groups(files: list[PaperFile]) -> Iterator[tuple[PaperFile, ...]]:
    group: list[PaperFile] = []
    size = 0
    for file in files:
        packed = file.members is None and file.name.lower().endswith((*TAR_ENDINGS, *ZIP_ENDINGS))
        large = packed or file.bytes >= LARGE_BYTES
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


def identity(shard: Shard) -> str:
    """SHA-256 over the names and contents of the shard's files; no path of the machine is in it."""
    facts = []
    for file in shard.files:
        try:
            content = file.content or sha256_file(Path(file.path))
        except OSError as error:
            content = f"unreadable: {error.strerror}"
        beside = [[Path(other).name, sha256_file(Path(other))] for other in file.beside]
        facts.append([file.name, content, file.members, *beside])
    return sha256_json([shard.alone, facts])


def read_shard(shard: Shard, options: TextOptions) -> Stream:
    """Every record of the shard. Raises InputError where its file is the source itself and cannot be used."""
    for file in shard.files:
        try:
            records = read_file(Path(file.path), file.name, file.members, options)
            yield from _with_metadata(records, file) if file.beside else records
        except Unusable as error:
            if shard.alone:
                raise InputError(f"{file.path}: {error.reason}; {error.remedy}") from None
            yield Unreadable(source=file.name, reason=error.reason)


def _with_metadata(records: Stream, file: PaperFile) -> Stream:
    """The records with what the metadata beside their file say; where those are broken, without it."""
    (beside,) = map(Path, file.beside)
    source = f"{file.name} ({beside.name})"
    try:
        if beside.suffix == ".json":
            said = read_metadata(beside)
            of = dict.fromkeys((file.name,), said)
        else:
            of = {f"{file.name}/{member}": facts for member, facts in read_file_list(beside).items()}
    except Unusable as error:
        yield Unreadable(source=source, reason=error.reason)
        of = {}
    for record in records:
        found = of.get(record.source) if isinstance(record, Article) else None
        yield record if found is None or not isinstance(record, Article) else found.of(record)
