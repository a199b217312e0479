"""A folder of one's own, or a prefix in an object store, through fsspec: packed into a store as services' papers are.

Papers become rows; archives are copied as the files that they are. Where PMC's JSON lies beside a paper (or in
`metadata/`, as in a copy of the Cloud Service), it comes along.
"""

import os
import shutil
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from biolm.errors import ConfigError
from biolm.papers.checksums import md5_of, md5_of_file
from biolm.papers.metadata import head_facts, parse_metadata
from biolm.papers.own_folder import ARCHIVES, MOST_IN_FLIGHT, OwnFolder, beside_of, is_paper, mark_of, said_of
from biolm.papers.report import MEANING, Report, in_words
from biolm.papers.selection import Selection
from biolm.papers.writer import StoreWriter
from biolm.progress import Progress

LARGE_BYTES = 16 << 20
"""A paper file from this size on is kept as a file: PubMed's, a bundle."""


@dataclass(slots=True, kw_only=True)
class OwnFetch:
    """One pass over a folder."""

    source: str
    folder: OwnFolder
    report: Report
    writer: StoreWriter
    in_flight: int
    counts: Counter[str] = field(default_factory=Counter)
    read_bytes: int = 0

    def run(self, listed: dict[str, dict[str, Any]], known: pa.Table, progress: Progress) -> None:
        """Bring what is new or changed of the listed files. Problems go to the report."""
        held = {row["id"]: row for row in _live(known, "id", "state", "md5", "etag", "bytes")}
        files, root = self.folder.files, self.folder.root
        self.report.problems += self.folder.unread
        wanted = [name for name in sorted(listed) if is_paper(name)]
        progress.start(f"read {self.source}", len(wanted), "files")
        with ThreadPoolExecutor(min(self.in_flight, MOST_IN_FLIGHT)) as pool:
            waiting: list[tuple[str, Future[tuple[bytes, str | None]]]] = []
            for done, name in enumerate(wanted, 1):
                mark = mark_of(listed, name)
                if mark and name in held and held[name]["etag"] == mark and self._is_there(held[name]):
                    self.counts["unchanged"] += 1
                elif name.lower().endswith(ARCHIVES) or (listed[name].get("size") or 0) >= LARGE_BYTES:
                    self._copy(files, root, name, mark, held.get(name))
                else:
                    waiting.append((name, pool.submit(_read, files, root, name, beside_of(listed, name))))
                while len(waiting) >= 2 * MOST_IN_FLIGHT or (waiting and done == len(wanted)):
                    first, future = waiting.pop(0)
                    self._keep(first, future, mark_of(listed, first), held.get(first))
                progress.update(done, f"{self.read_bytes / 1e6:,.0f} MB")
        progress.finish(f"{in_words(self.counts)}, {self.read_bytes / 1e6:,.1f} MB")

    def withdraw(self, listed: dict[str, dict[str, Any]], known: pa.Table) -> None:
        """Mark what the store has of a folder that has it no more.

        What is not listed is asked for first: fsspec passes over a folder that it cannot list.
        """
        for row in _live(known, "source", "id", "md5", "etag", "licence", "retracted"):
            if row["id"] in listed:
                continue
            try:
                self.folder.files.info(f"{self.folder.root}/{row['id']}")
            except (FileNotFoundError, NotADirectoryError):
                self.writer.add(
                    **row,
                    state="withdrawn",
                    note="no longer in the folder",
                )
                self.report.marks.append((row["id"], "withdrawn: no longer in the folder"))
                self.counts["withdrawn"] += 1
            except Exception as error:  # each driver has its own
                self.report.add(
                    row["id"], "unanswered", f"neither listed nor certainly gone: {said_of(error)}"
                )

    def _keep(
        self, name: str, future: Future[tuple[bytes, str | None]], mark: str, held: dict[str, Any] | None
    ) -> None:
        try:
            xml, metadata = future.result()
        except Exception as error:  # each driver has its own
            self._problem(name, error)
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
        md5 = md5_of(xml)
        facts |= {"source": self.source, "id": name, "md5": md5, "metadata": metadata}
        facts["etag"] = mark or " ".join([md5, *([md5_of(metadata.encode())] if metadata else [])])
        if held and held["md5"] == md5 and held["state"] != "file":
            if held["etag"] == facts["etag"]:
                self.counts["unchanged"] += 1
            else:
                self.writer.add(state="facts", **facts)
                self.counts["facts"] += 1
            return
        head = head_facts(xml) if not name.lower().endswith(".gz") else {}
        self.writer.add(state="article", bytes=len(xml), xml=xml, **facts, **head)
        self.counts["changed" if held else "new"] += 1

    def _copy(self, files: Any, root: str, name: str, mark: str, held: dict[str, Any] | None) -> None:
        partial = self.writer.partial_file(self.source, name)
        try:
            with files.open(f"{root}/{name}", "rb") as source, partial.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
                target.flush()
                os.fsync(target.fileno())
        except Exception as error:  # each driver has its own
            partial.unlink(missing_ok=True)
            self._problem(name, error)
            return
        md5 = md5_of_file(partial)
        self.read_bytes += partial.stat().st_size
        if (
            held
            and (held["state"], held["md5"], held["etag"]) == ("file", md5, mark)
            and self._is_there(held)
        ):
            partial.unlink()
            self.counts["unchanged"] += 1
            return
        self.writer.add_file(partial, source=self.source, id=name, md5=md5, etag=mark)
        self.counts["changed" if held else "new"] += 1

    def _is_there(self, row: dict[str, Any]) -> bool:
        return row["state"] != "file" or self.writer.has_file({**row, "source": self.source})

    def _problem(self, name: str, error: Exception) -> None:
        if isinstance(error, FileNotFoundError):
            self.report.add(name, "gone", MEANING["gone"])
        else:
            self.report.add(
                name, "refused" if isinstance(error, PermissionError) else "unanswered", said_of(error)
            )


def _live(known: pa.Table, *columns: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        known.filter(pc.not_equal(known["state"], "withdrawn")).select(columns).to_pylist()
    )
    return rows


def check_selection(selection: Selection) -> None:
    """Raise ConfigError where a folder cannot be chosen from so."""
    if asked := set(selection.settings()):
        option = min(asked).replace("_", "-")
        raise ConfigError(
            f"a folder is taken as a whole, without --{option}; filter with `biolm corpus build`"
        )


def _read(files: Any, root: str, name: str, beside: str | None) -> tuple[bytes, str | None]:
    xml: bytes = files.cat_file(f"{root}/{name}")
    metadata = files.cat_file(f"{root}/{beside}").decode("utf-8", "replace") if beside else None
    return xml, metadata
