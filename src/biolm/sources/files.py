"""Which files of a source are papers, in an order that is the same on every machine.

A file is known by a portable name, which begins with its source's name and holds no path of the machine.
Beside it may lie another that says something of the papers in it: its sidecar.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from biolm.sources.xml import PAPERS, Unusable, one_line

PAPER_ENDINGS = (".xml", ".nxml", ".xml.gz", ".nxml.gz")
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")
ZIP_ENDINGS = (".zip", ".meca", ".whl")
FOLDER_ENDINGS = (*PAPER_ENDINGS, *TAR_ENDINGS, ".zip", ".meca")
"""What is read of a folder; a wheel only where it is named itself."""
NO_PAPERS = f"holds no file ending in {', '.join(FOLDER_ENDINGS)}"
NO_MEMBERS = f"holds no file ending in {', '.join(PAPER_ENDINGS)}"
METADATA = "metadata"
"""The folder where PMC's Cloud Service has the facts of all articles, once more."""
_CLOUD = re.compile(r"(PMC\d+\.\d+)\.(?:xml|nxml)(?:\.gz)?", re.IGNORECASE)
_TAR_ENDING = re.compile(r"\.(?:tar|tar\.gz|tgz)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """A file that says something of the papers in another: ids, licence, retraction."""

    path: str
    """Where it lies: a path of this machine, or a URL."""
    name: str
    """What it is called in a corpus."""
    content: str | None = None
    """What tells its contents, where a store says so; None to hash them."""


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A paper in a paper store: where its XML lies, and what is known of it now."""

    name: str
    """What it is called in a corpus."""
    xml_shard: int
    xml_row: int
    facts_shard: int
    facts_row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperFile:
    """One file of papers."""

    path: str
    """Where it lies: a path of this machine, or a URL."""
    name: str
    """What it is called in a corpus; begins with the name of its source."""
    bytes: int
    """As it lies there, packed or not; 0 where that is not known."""
    members: tuple[str, ...] | None = None
    """The members to read of an archive; None for all."""
    content: str | None = None
    """What tells its contents, where the archive's directory or a store says so; None to hash them."""
    sidecar: Sidecar | None = None
    problem: str | None = None
    """Why it is not read, for a person; None for a file that is."""
    rows: tuple[StoredRow, ...] | None = None
    """Of a paper store, whose folder is the path: the papers to read; None for any other file."""


def find_sidecar(
    name: str, is_beside: Callable[[str], bool], is_in_metadata: Callable[[str], bool]
) -> str | None:
    """Where the sidecar of a file called `name` is, from the file's folder or, "metadata/…", from the source's.

    PMC1.1.json of PMC1.1.xml, as in PMC's Cloud Service; NAME.filelist.csv, or .txt, of an archive NAME.tar.gz,
    as with PMC's former bulk packages. None where there is none.
    """
    if found := _CLOUD.fullmatch(name):
        facts = f"{found[1]}.json"
        if is_beside(facts):
            return facts
        return f"{METADATA}/{facts}" if is_in_metadata(facts) else None
    if name.lower().endswith(TAR_ENDINGS):
        stem = _TAR_ENDING.sub("", name)
        return next(filter(is_beside, (f"{stem}.filelist.csv", f"{stem}.filelist.txt")), None)
    return None


def local_file(path: Path, name: str) -> PaperFile:
    """A file that was named itself. Raises Unusable where it is none, or cannot be read."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise Unusable("neither a file nor a folder", PAPERS)
        path.open("rb").close()
    except FileNotFoundError:
        raise Unusable("does not exist", "give a file or folder of papers") from None
    except (OSError, ValueError) as error:
        raise unopened(error) from None
    beside = find_sidecar(path.name, lambda other: path.with_name(other).is_file(), lambda _: False)
    sidecar = None if beside is None else Sidecar(path=str(path.with_name(beside)), name=portable(beside))
    return PaperFile(path=str(path), name=name, bytes=found.st_size, sidecar=sidecar)


def local_files(folder: Path, name: str) -> Iterator[PaperFile]:
    """The papers and archives below a folder called `name`, sorted by name; in memory are open folders' listings.

    Links are followed to files inside the folder only; a link that is not, and a folder in it that cannot be
    listed, come with their `problem`. Raises Unusable where `folder` itself cannot be listed, or holds no papers.
    """
    found = False
    inside = os.path.realpath(folder)
    metadata = folder / METADATA
    has_metadata = metadata.is_dir() and Path(os.path.realpath(metadata)).is_relative_to(inside)
    open_folders = [_listing(folder, name)]
    while open_folders:
        entry = next(open_folders[-1], None)
        if entry is None:
            open_folders.pop()
            continue
        problem = _problem(entry.path, inside, is_folder=entry.is_folder)
        if entry.is_folder and problem is None:
            try:
                open_folders.append(_listing(entry.path, entry.name))
                continue
            except Unusable as error:
                problem = error.reason
        found = True
        if problem is not None:
            yield PaperFile(path=str(entry.path), name=entry.name, bytes=0, problem=problem)
            continue
        beside = find_sidecar(
            entry.path.name,
            entry.beside.__contains__,
            lambda other: has_metadata and (metadata / other).is_file(),
        )
        sidecar = None
        if beside is not None:
            where = folder if beside.startswith(f"{METADATA}/") else entry.path.parent
            called = f"{name if where == folder else entry.name.rpartition('/')[0]}/{portable(beside)}"
            problem = _problem(where / beside, inside, is_folder=False)
            if problem is None:
                sidecar = Sidecar(path=str(where / beside), name=called)
            else:
                yield PaperFile(path=str(where / beside), name=called, bytes=0, problem=problem)
        yield PaperFile(path=str(entry.path), name=entry.name, bytes=_size(entry.path), sidecar=sidecar)
    if not found:
        raise Unusable(NO_PAPERS, PAPERS)


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    name: str
    is_folder: bool
    beside: Mapping[str, bool]
    """Names of everything in the same folder."""


def _listing(folder: Path, name: str) -> Iterator[_Entry]:
    """The papers, archives and folders in a folder, so ordered that a walk gives whole names in order.

    The folder is listed at once; memory is that of its names.
    """
    try:
        with os.scandir(folder) as entries:
            kinds = {entry.name: _is_folder(entry) for entry in entries}
    except OSError as error:
        raise unopened(error) from None
    found = [
        entry for entry, is_folder in kinds.items() if is_folder or entry.lower().endswith(FOLDER_ENDINGS)
    ]
    found.sort(key=lambda entry: f"{portable(entry)}/" if kinds[entry] else portable(entry))
    return (_Entry(folder / entry, f"{name}/{portable(entry)}", kinds[entry], kinds) for entry in found)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _problem(path: Path, inside: str, *, is_folder: bool) -> str | None:
    """Why what lies in a folder is not read."""
    if path.is_symlink():
        target = Path(os.path.realpath(path))
        if not target.exists():
            return "a link that leads nowhere"
        if not target.is_relative_to(inside):
            return "a link out of the folder, which is not followed"
        if is_folder:
            return "a link to a folder, which is not followed"
    return None if is_folder or path.is_file() else "neither a file nor a folder"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # whoever reads it says why


def unopened(error: Exception) -> Unusable:
    """What is said of a path that cannot be opened."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
    return Unusable(f"cannot be read: {why}", "check its path and permissions")


def portable(name: str) -> str:
    """A file's name as text that UTF-8 can hold."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
