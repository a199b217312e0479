"""What a corpus is built from: paths by their portable names, cut into shards."""

import os
from dataclasses import dataclass
from pathlib import Path

from biolm.artifacts import cache_folder
from biolm.errors import InputError
from biolm.papers.store import attributions, is_store
from biolm.progress import Progress
from biolm.sources.remote import is_url, name_of
from biolm.sources.sample import PAPERS_MEMBERS, SAMPLE, sample_papers
from biolm.sources.shards import Shard, plan_shards


@dataclass(frozen=True, kw_only=True, slots=True)
class Input:
    """One source of a corpus."""

    name: str
    """What it is called in the corpus: its last path component, so that no path of the machine gets in."""
    address: str
    """Where it lies: a path, or a URL that fsspec knows."""
    folder: Path | None
    """The local folder that it is; None for files, archives and what lies elsewhere."""
    shards: tuple[Shard, ...]
    attribution: tuple[str, ...] = ()
    """Whom a corpus of it must name, and as of when it is; of a paper store."""


def resolve_input(source: str | Path, progress: Progress) -> Input:
    """The input that a word on the command line names: a path, a URL, or `@sample` for the embedded papers.

    Raises InputError where nothing lies there, it cannot be read, or the sample cannot be fetched.
    """
    word = str(source)
    if not word.strip():
        raise InputError(f"a source without a name; give papers, or {SAMPLE} for the embedded ones")
    if word == SAMPLE:
        wheel = sample_papers(cache_folder(), progress)
        shards = tuple(plan_shards(wheel, SAMPLE, PAPERS_MEMBERS))
        return Input(name=SAMPLE, address=str(wheel), folder=None, shards=shards)
    if is_url(word):
        name = name_of(word)
        return Input(name=name, address=word, folder=None, shards=tuple(plan_shards(word, name)))
    path = Path(source).expanduser()
    path = path.resolve() if path.is_dir() else path.absolute()
    if not path.exists():
        raise InputError(f"no file or folder at {source}; give papers, or {SAMPLE} for the embedded ones")
    try:
        os.scandir(path).close() if path.is_dir() else path.open("rb").close()
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}; check its permissions") from None
    name = path.name.encode("utf-8", "backslashreplace").decode() or "root"
    folder = path if path.is_dir() else None
    shards = tuple(plan_shards(path, name))
    attribution = attributions(path) if is_store(path) else ()
    return Input(name=name, address=str(path), folder=folder, shards=shards, attribution=attribution)
