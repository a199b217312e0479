"""What lies in a folder of one's own, or below a prefix in an object store, as fsspec lists it.

A listing may tell little (the web: names only), pass over what it cannot look into, or name places outside the folder.
"""

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from biolm.errors import ConfigError, InputError
from biolm.papers.services import EUTILS, SERVICES

PAPERS = (".xml", ".nxml", ".xml.gz", ".nxml.gz")
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip", ".meca")
MOST_IN_FLIGHT = 32
_CLOUD = re.compile(r"(PMC\d+\.\d+)\.(?:xml|nxml)(?:\.gz)?", re.IGNORECASE)
_STAMPS = (
    "ETag",
    "etag",
    "md5Hash",
    "md5",
    "content_md5",
    "LastModified",
    "last_modified",
    "Last-Modified",
    "updated",
    "mtime",
)


class OwnFolder:
    """A folder here or in an object store. Where S3 finds no credentials it is asked without."""

    def __init__(self, address: str) -> None:
        """Raises InputError where there is no such kind of address, ConfigError where it has a service's name."""
        self.shown = without_secrets(address)
        """The address as it is kept and shown."""
        self.name = source_name(self.shown)
        self._address = address
        self.files, self.root = self._open()
        self.unread: list[tuple[str, str, str]] = []
        """What was found and cannot be taken, as a report has it."""

    def listed(self) -> dict[str, dict[str, Any]]:
        """Everything below the folder by its place in it. Raises InputError where that fails or has no papers."""
        try:
            found = self._find()
        except FileNotFoundError:
            found = {}
        except Exception as error:  # each driver has its own
            raise InputError(
                f"{self.shown} cannot be listed: {said_of(error)[:200]}; check the address and your credentials"
            ) from None
        base = self.files._strip_protocol(self.root).strip("/")
        listed = {}
        for path, facts in found.items():
            place = path.strip("/")
            name = place.removeprefix(f"{base}/") if base else place
            if (base and name == place) or ".." in Path(name).parts:
                continue  # a page can link to anything
            text = name.encode("utf-8", "backslashreplace").decode()
            if text != name:
                self.unread.append((text, "refused", "its name is no UTF-8"))
            elif facts.get("type") in (None, "file", "link") or facts.get("islink"):
                listed[name] = facts
        if not any(map(is_paper, listed)):
            endings = ", ".join((*PAPERS, *ARCHIVES))
            raise InputError(f"{self.shown} holds no file ending in {endings}; give a folder of papers")
        self._complete(listed)
        return listed

    def _complete(self, listed: dict[str, dict[str, Any]]) -> None:
        """Ask for the size and state of what the listing tells neither of (the web), or of a link instead."""
        names = [
            name
            for name, facts in listed.items()
            if (facts.get("size") is None or facts.get("islink"))
            and (is_paper(name) or name.endswith(".json"))
        ]

        def ask(name: str) -> dict[str, Any]:
            try:
                facts: dict[str, Any] = self.files.info(f"{self.root}/{name}")
            except Exception:  # each driver has its own; it comes again where the file is read
                return listed[name]
            return facts

        with ThreadPoolExecutor(MOST_IN_FLIGHT) as pool:
            listed |= zip(names, pool.map(ask, names), strict=True)

    def _find(self) -> dict[str, dict[str, Any]]:
        try:
            found: dict[str, dict[str, Any]] = self.files.find(f"{self.root}/", detail=True)
        except Exception as error:
            if type(error).__name__ != "NoCredentialsError":
                raise
            self.files, self.root = self._open(anon=True)
            found = self.files.find(f"{self.root}/", detail=True)
        if "file" in self.files.protocol:  # fsspec passes over a folder that it cannot list
            for _ in os.walk(self.root or "/", onerror=self._unlisted):
                pass
        return found

    def _unlisted(self, error: OSError) -> None:
        self.unread.append((os.path.relpath(error.filename, self.root), "refused", said_of(error)))

    def _open(self, **options: Any) -> tuple[Any, str]:
        if "://" not in self._address:
            return fsspec.filesystem("file"), self._address.rstrip("/")
        try:
            files, root = fsspec.url_to_fs(self._address, **options)
        except (ImportError, ValueError) as error:
            remedy = (
                "run `pip install 'biolm[remote]'`" if isinstance(error, ImportError) else "check the address"
            )
            raise InputError(f"{self.shown} cannot be opened: {error}; {remedy}") from None
        return files, str(root).rstrip("/")


def source_name(address: str) -> str:
    """What a folder is called in a store: the last part of its address. Raises ConfigError for a service's name."""
    path, host = address, ""
    if "://" in address:
        parts = urlsplit(address)
        path, host = parts.path, parts.hostname or ""
    last = path.rstrip("/").rpartition("/")[2] or host or "root"
    name = re.sub(r"[^A-Za-z0-9._-]", "_", last).strip(".") or "root"
    if name in SERVICES:
        raise ConfigError(
            f"{without_secrets(address)} ends in {name!r}, the name of a service; rename the folder"
        )
    return name


def without_secrets(address: str) -> str:
    """An address without a password, and one of the web without what may be a signature, to keep."""
    return re.sub(r"(https?://[^\s?#]*)[?#][^\s'\"]*", r"\1", re.sub(r"://[^/\s]*@", "://", address))


def local_address(word: str) -> str:
    """An address as it is, a path here as an absolute one. Raises InputError where nothing lies there."""
    if "://" in word:
        return word
    path = Path(os.path.normpath(Path(word).expanduser().absolute()))
    if not path.is_dir():
        named = ", ".join(name for name in SERVICES if name != EUTILS.name)
        raise InputError(f"{word} is neither a service ({named}) nor a folder; check --source")
    return str(path)


def is_paper(name: str) -> bool:
    """Whether a file is taken."""
    return name.lower().endswith((*PAPERS, *ARCHIVES))


def beside_of(listed: dict[str, dict[str, Any]], name: str) -> str | None:
    """Where the JSON of a paper is, as PMC's Cloud Service lays it out."""
    folder, slash, last = name.rpartition("/")
    if not (found := _CLOUD.fullmatch(last)):
        return None
    places: Iterator[str] = iter((f"{folder}{slash}{found[1]}.json", f"metadata/{found[1]}.json"))
    return next((place for place in places if place in listed), None)


def mark_of(listed: dict[str, dict[str, Any]], name: str) -> str:
    """What tells one state of a file, and of the JSON beside it, from another; empty where the listing does not."""
    beside = beside_of(listed, name)
    marks = [_stamp(listed[place]) for place in (name, beside) if place]
    return " + ".join(marks) if all(marks) else ""


def _stamp(facts: dict[str, Any]) -> str:
    mark = next((facts[key] for key in _STAMPS if facts.get(key)), "")
    if isinstance(mark, float):
        mark = datetime.fromtimestamp(mark, UTC).isoformat()
    return f"{mark} {facts.get('size') or ''}".strip() if mark else ""


def said_of(error: Exception) -> str:
    """What an error says, on one line and without secrets."""
    return without_secrets(" ".join(str(error).split())[:300]) or type(error).__name__
