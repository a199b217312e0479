"""A folder of one's own, or a prefix in an object store, through fsspec: packed into a store as services' papers are.

Papers become rows; archives are copied as the files that they are. Where PMC's JSON lies beside a paper (or in
`metadata/`, as in a copy of the Cloud Service), it comes along.
"""

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa

from biolm.errors import ConfigError, InputError
from biolm.papers.metadata import head_facts, parse_metadata
from biolm.papers.report import Report
from biolm.papers.selection import Selection
from biolm.papers.services import SERVICES
from biolm.papers.writer import StoreWriter, place_file
from biolm.progress import Progress

PAPERS = (".xml", ".nxml", ".xml.gz", ".nxml.gz")
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip", ".meca")
LARGE_BYTES = 16 << 20
"""A paper file from this size on is kept as a file: PubMed's, a bundle."""
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
    "updated",
    "mtime",
)


@dataclass(slots=True, kw_only=True)
class OwnFetch:
    """One pass over a folder."""

    source: str
    folder: "OwnFolder"
    report: Report
    writer: StoreWriter
    in_flight: int
    counts: Counter[str] = field(default_factory=Counter)
    read_bytes: int = 0

    def run(self, listed: dict[str, dict[str, Any]], known: pa.Table, progress: Progress) -> None:
        """Bring what is new or changed of the listed files. Problems go to the report."""
        held = {row["id"]: row for row in known.to_pylist() if row["state"] != "withdrawn"}
        files, root = self.folder.files, self.folder.root
        wanted = [name for name in sorted(listed) if is_paper(name)]
        progress.start(f"read {self.source}", len(wanted), "files")
        with ThreadPoolExecutor(min(self.in_flight, MOST_IN_FLIGHT)) as pool:
            waiting: list[tuple[str, Future[tuple[bytes, str | None]]]] = []
            for done, name in enumerate(wanted, 1):
                mark = self._mark(listed, name)
                if name in held and held[name]["etag"] == mark:
                    self.counts["unchanged"] += 1
                elif name.lower().endswith(ARCHIVES) or (listed[name].get("size") or 0) >= LARGE_BYTES:
                    self._copy(files, root, name, mark, is_new=name not in held)
                else:
                    waiting.append((name, pool.submit(_read, files, root, name, _beside(listed, name))))
                while len(waiting) >= 2 * MOST_IN_FLIGHT or (waiting and done == len(wanted)):
                    first, future = waiting.pop(0)
                    self._keep(first, future, self._mark(listed, first), is_new=first not in held)
                progress.update(done, f"{self.read_bytes / 1e6:,.0f} MB")
        said = [f"{count:,} {name}" for name, count in sorted(self.counts.items()) if count]
        progress.finish(", ".join(said or ["nothing to do"]) + f", {self.read_bytes / 1e6:,.1f} MB")

    def withdraw(self, listed: dict[str, dict[str, Any]], known: pa.Table) -> None:
        """Mark what the store has of a folder that has it no more."""
        for row in known.to_pylist():
            if row["state"] != "withdrawn" and row["id"] not in listed:
                self.writer.add(
                    **{name: row[name] for name in ("source", "id", "md5", "etag", "licence", "retracted")},
                    state="withdrawn",
                    note="no longer in the folder",
                )
                self.counts["withdrawn"] += 1

    def _mark(self, listed: dict[str, dict[str, Any]], name: str) -> str:
        beside = _beside(listed, name)
        return _stamp(listed[name]) + (f" + {_stamp(listed[beside])}" if beside else "")

    def _keep(self, name: str, future: Future[tuple[bytes, str | None]], mark: str, *, is_new: bool) -> None:
        try:
            xml, metadata = future.result()
        except FileNotFoundError:
            self.report.add(name, "gone", "listed, but not there any more")
            return
        except Exception as error:  # each driver has its own
            self.report.add(name, "unanswered", " ".join(str(error).split())[:300] or type(error).__name__)
            return
        facts: dict[str, Any] = {}
        if metadata is not None:
            try:
                said = parse_metadata(metadata)
                facts = {"licence": said.licence, "manuscript": said.manuscript, "retracted": said.retracted}
            except ValueError as error:
                self.report.add(name, "bad metadata", str(error))
                metadata = None
        self.read_bytes += len(xml)
        self.writer.add(
            source=self.source,
            id=name,
            state="article",
            md5=hashlib.md5(xml, usedforsecurity=False).hexdigest(),
            bytes=len(xml),
            etag=mark,
            metadata=metadata,
            xml=xml,
            **facts,
            **(head_facts(xml) if not name.endswith(".gz") else {}),
        )
        self.counts["new" if is_new else "changed"] += 1

    def _copy(self, files: Any, root: str, name: str, mark: str, *, is_new: bool) -> None:
        path = place_file(self.writer.folder, self.source, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        try:
            with files.open(f"{root}/{name}", "rb") as source, partial.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        except FileNotFoundError:
            self.report.add(name, "gone", "listed, but not there any more")
            return
        except Exception as error:  # each driver has its own
            partial.unlink(missing_ok=True)
            self.report.add(name, "unanswered", " ".join(str(error).split())[:300] or type(error).__name__)
            return
        with partial.open("rb") as file:
            md5 = hashlib.file_digest(file, "md5").hexdigest()
        partial.replace(path)
        self.read_bytes += path.stat().st_size
        self.writer.add(
            source=self.source, id=name, state="file", md5=md5, bytes=path.stat().st_size, etag=mark
        )
        self.writer.flush()
        self.counts["new" if is_new else "changed"] += 1


def source_name(address: str) -> str:
    """What a folder is called in a store: the last part of its address. Raises ConfigError for a service's name."""
    name = re.sub(
        r"[^A-Za-z0-9._-]", "_", urlsplit(address).path.rstrip("/").rpartition("/")[2] or "root"
    ).strip(".")
    if name in SERVICES or not name:
        raise ConfigError(f"{address} ends in {name!r}, the name of a service; rename the folder")
    return name


def without_secrets(address: str) -> str:
    """An address without a password, to keep."""
    return re.sub(r"://[^/@\s]*@", "://", address)


class OwnFolder:
    """A folder here or in an object store. Where S3 finds no credentials it is asked without."""

    def __init__(self, address: str) -> None:
        """Raises InputError where there is no such kind of address."""
        self._shown = without_secrets(address)
        self._address = address
        self.files, self.root = self._open()

    def listed(self) -> dict[str, dict[str, Any]]:
        """Everything below the folder by its place in it. Raises InputError where that fails or has no papers."""
        try:
            found = self._find()
        except FileNotFoundError:
            found = {}
        except Exception as error:  # each driver has its own
            raise InputError(
                f"{self._shown} cannot be listed: {' '.join(str(error).split())[:200]}; check the address and your "
                "credentials"
            ) from None
        base = self.files._strip_protocol(self.root).strip("/")
        listed = {place.strip("/").removeprefix(base).strip("/"): facts for place, facts in found.items()}
        if not any(map(is_paper, listed)):
            endings = ", ".join((*PAPERS, *ARCHIVES))
            raise InputError(f"{self._shown} holds no file ending in {endings}; give a folder of papers")
        return listed

    def _find(self) -> dict[str, dict[str, Any]]:
        try:
            found: dict[str, dict[str, Any]] = self.files.find(self.root, detail=True)
        except Exception as error:
            if type(error).__name__ != "NoCredentialsError":
                raise
            self.files, self.root = self._open(anon=True)
            found = self.files.find(self.root, detail=True)
        return found

    def _open(self, **options: Any) -> tuple[Any, str]:
        try:
            files, root = fsspec.url_to_fs(self._address, **options)
        except (ImportError, ValueError) as error:
            remedy = (
                "run `pip install 'biolm[remote]'`" if isinstance(error, ImportError) else "check the address"
            )
            raise InputError(f"{self._shown} cannot be opened: {error}; {remedy}") from None
        return files, str(root).rstrip("/")


def check_selection(selection: Selection) -> None:
    """Raise ConfigError where a folder cannot be chosen from so."""
    if asked := set(selection.settings()) - {"retracted"}:
        option = min(asked).replace("_", "-")
        raise ConfigError(
            f"a folder is taken as a whole, without --{option}; filter with `biolm corpus build`"
        )


def is_paper(name: str) -> bool:
    """Whether a file is taken."""
    return name.lower().endswith((*PAPERS, *ARCHIVES))


def _beside(listed: dict[str, dict[str, Any]], name: str) -> str | None:
    """Where the JSON of a paper is, as PMC's Cloud Service lays it out."""
    folder, slash, last = name.rpartition("/")
    if not (found := _CLOUD.fullmatch(last)):
        return None
    places: Iterator[str] = iter((f"{folder}{slash}{found[1]}.json", f"metadata/{found[1]}.json"))
    return next((place for place in places if place in listed), None)


def _stamp(facts: dict[str, Any]) -> str:
    mark = next((facts[key] for key in _STAMPS if facts.get(key)), "")
    if isinstance(mark, float):
        mark = datetime.fromtimestamp(mark, UTC).isoformat()
    return f"{mark} {facts.get('size') or ''}".strip()


def _read(files: Any, root: str, name: str, beside: str | None) -> tuple[bytes, str | None]:
    xml: bytes = files.cat_file(f"{root}/{name}")
    metadata = files.cat_file(f"{root}/{beside}").decode("utf-8", "replace") if beside else None
    return xml, metadata


def local_address(word: str) -> str:
    """An address as it is, a path here as an absolute one. Raises InputError where nothing lies there."""
    if "://" in word:
        return word
    path = Path(word).expanduser().absolute()
    if not path.is_dir():
        raise InputError(f"{word} is neither a service ({', '.join(SERVICES)}) nor a folder; check --source")
    return str(path)
