"""Where a corpus lies: a folder here, or an address that fsspec knows ("s3://bucket/corpus"), read as it lies."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from biolm.artifacts import MANIFEST, check_manifest, kind_of, kind_said, read_manifest
from biolm.errors import ArtifactError, InputError
from biolm.sources.remote import is_url, look, name_of, open_file, shown
from biolm.sources.xml import Unusable

Place = Path | str
"""A path, or an address; `place_of` tells one from the other."""


def place_of(word: str | Path) -> Place:
    """The place that a word names; `file://` is a path. Raises InputError for an address that names no folder."""
    try:
        str(word).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{str(word)!r} is no UTF-8, which files of a corpus are named in; rename it"
        ) from None
    if not str(word).strip():
        raise InputError("a corpus without a name; give a folder, or an address such as s3://bucket/corpus")
    if isinstance(word, Path) or not is_url(word):
        return Path(word)
    if urlsplit(word).scheme in ("file", "local"):
        return Path(fsspec.url_to_fs(word)[1])
    if not word.partition("://")[2].strip("/"):
        raise InputError(f"{word} names no folder; give for example s3://bucket/corpus")
    return word.rstrip("/")


def spelled(place: Place) -> str:
    """A place for a person to read: an address without what may be secret in it."""
    return shown(place) if isinstance(place, str) else str(place)


def last_name(place: Place) -> str:
    """What a place is called: its last part."""
    return name_of(place) if isinstance(place, str) else place.name


def below(place: Place, name: str) -> Place:
    """A file of the folder at a place."""
    if isinstance(place, Path):
        return place / name
    first, link, rest = place.partition("::")
    if "://" not in first:  # "simplecache::s3://bucket/corpus": the path is that of the last
        first, link, rest = place, "", ""
    path, mark, query = first.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}{link}{rest}"


def kind_at(place: Place) -> str | None:
    """The kind of artifact that lies at a place, or None. Raises InputError where its store cannot be asked."""
    if isinstance(place, Path):
        return kind_of(place)
    data = _manifest_of(place)
    return None if data is None else kind_said(data)


def read_manifest_at(
    place: Place, *, kind: str, version: int | tuple[int, ...], rebuild: str
) -> dict[str, Any]:
    """The manifest of an artifact whose files are all there with their sizes: `read_manifest`, also at an address.

    At an address that is one question to the store for each file.
    """
    if isinstance(place, Path):
        return read_manifest(place, kind=kind, version=version, rebuild=rebuild)
    remedy = f"make it with `{rebuild}`"
    data = _manifest_of(place)
    if data is None:
        raise ArtifactError(f"{spelled(place)} has no {MANIFEST}, so it is no finished {kind}; {remedy}")
    manifest = check_manifest(data, spelled(place), kind=kind, version=version, remedy=remedy)
    for name, facts in manifest.get("files", {}).items():
        found = _look(str(below(place, name)))
        if found is None or found.get("size") not in (None, facts.get("bytes")):
            raise ArtifactError(
                f"{spelled(below(place, name))} is missing or has another size than {MANIFEST} says; {remedy}"
            )
    return manifest


@contextmanager
def opened(place: Place) -> Iterator[Any]:
    """What pyarrow reads the file at a place from: its path, or a stream that can be searched.

    Raises InputError where the store cannot be asked or sends files only as a whole, and OSError where the
    connection breaks for good.
    """
    if isinstance(place, Path):
        yield place
        return
    try:
        with open_file(place) as stream:
            if not stream.seekable():
                raise Unusable(
                    "its server sends files only as a whole", "put simplecache:: before the corpus's address"
                )
            yield stream
    except Unusable as error:
        raise _said(place, error) from None


def _manifest_of(url: str) -> bytes | None:
    place = str(below(url, MANIFEST))
    if _look(place) is None:
        return None
    try:
        with open_file(place) as stream:
            return stream.read()
    except Unusable as error:
        raise _said(place, error) from None
    except OSError as error:
        raise InputError(f"{shown(place)} cannot be read: {error}; run the same command again") from None


def _look(url: str) -> dict[str, Any] | None:
    try:
        return look(url)
    except Unusable as error:
        raise _said(url, error) from None


def _said(place: str, error: Unusable) -> InputError:
    return InputError(f"{shown(place)}: {error.reason}; {error.remedy}")
