"""What a paper store holds: counted, checked, and given out as plain files."""

import hashlib
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from biolm.artifacts import MANIFEST, new_folder, write_json
from biolm.errors import ArtifactError, InputError
from biolm.papers.selection import number_of
from biolm.papers.services import PMC
from biolm.papers.store import FILES, Store, attributions, missing_shards, rows_of, shard_numbers
from biolm.progress import Progress

_PAPER_ENDING = re.compile(r"\.n?xml(?:\.gz)?$", re.IGNORECASE)


def store_facts(store: Store) -> dict[str, Any]:
    """Counts of a store by source, state, licence, year, journal and type, and of which day it is."""
    index = store.index()
    papers = index.filter(
        pc.and_(pc.not_equal(index["state"], "file"), pc.greater_equal(index["xml_row"], 0))
    )
    live = papers.filter(pc.not_equal(papers["state"], "withdrawn"))
    sources = {}
    for name, facts in sorted(store.sources.items()):
        mine = index.filter(pc.equal(index["source"], name))
        sources[name] = {
            "papers": _count(live, source=name),
            "withdrawn": _count(mine, state="withdrawn"),
            "retracted": _count(live, source=name, retracted=True),
            "manuscripts": _count(live, source=name, manuscript=True),
            "files": _count(mine, state="file"),
            "as_of": facts.get("as_of"),
            "fetched": _span(mine["fetched"]),
            "selections": facts.get("selections", []),
            "address": facts.get("address") or facts.get("endpoints") or None,
        }
    return {
        "sources": sources,
        "papers": live.num_rows,
        "articles": _articles(live),
        "xml_bytes": pc.sum(live["bytes"]).as_py() or 0,
        "disk_bytes": sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file()),
        "shards": len(shard_numbers(store.folder)),
        "waiting_bytes": store.waiting,
        "licences": _counted(live["licence"]),
        "years": dict(sorted(_counted(live["year"]).items())),
        "journals": _counted(live["journal"]),
        "types": _counted(live["type"]),
        "notes": _counted(index.filter(pc.equal(index["state"], "withdrawn"))["note"]),
        "attribution": list(attributions(store.folder)),
    }


def _articles(papers: pa.Table) -> int:
    """How many there are, versions of one article in PMC counted once."""
    article = pc.if_else(
        pc.equal(papers["source"], PMC.name),
        pc.replace_substring_regex(papers["id"], r"\.\d+$", ""),
        papers["id"],
    )
    return int(pc.count_distinct(pc.binary_join_element_wise(papers["source"], article, "\t")).as_py())


def _count(table: pa.Table, **wanted: Any) -> int:
    for name, value in wanted.items():
        table = table.filter(pc.equal(table[name], value))
    return int(table.num_rows)


def _counted(column: pa.ChunkedArray) -> dict[str, int]:
    """Values by how often they occur, the commonest first; "unknown" where there is none."""
    counts = Counter({str(pair["values"]): pair["counts"] for pair in pc.value_counts(column).to_pylist()})
    if unknown := counts.pop("None", 0):
        counts["unknown"] += unknown
    return dict(counts.most_common())


def _span(times: pa.ChunkedArray) -> list[str] | None:
    found = pc.min_max(times).as_py()
    return [found[name].isoformat() for name in ("min", "max")] if found["min"] else None


def verify_store(store: Store, progress: Progress) -> list[tuple[str, str]]:
    """What is damaged: the paper, file or shard, and how. Reads everything once, a row group at a time."""
    index = store.index()
    damage: list[tuple[str, str]] = []
    numbers = shard_numbers(store.folder)
    damage += [
        (f"shards/{store.shard(number).name}", "the shard is missing")
        for number in missing_shards(store.folder)
    ]
    progress.start("verify", len(numbers), "shards")
    for done, number in enumerate(numbers, 1):
        try:
            count = pq.read_metadata(store.shard(number)).num_rows
            for _, name, md5, xml in rows_of(store.shard(number), ("id", "md5", "xml"), range(count)):
                if xml is not None and hashlib.md5(xml, usedforsecurity=False).hexdigest() != md5:
                    damage.append((name, f"another MD5 than the shard {store.shard(number).name} states"))
        except (ArtifactError, OSError, pa.ArrowException) as error:
            damage.append((f"shards/{store.shard(number).name}", " ".join(str(error).split())))
        progress.update(done)
    for row in index.filter(pc.equal(index["state"], "file")).to_pylist():
        path = store.folder / FILES / row["source"] / row["id"]
        if not path.is_file():
            damage.append((row["id"], "the file is missing"))
            continue
        with path.open("rb") as file:
            if hashlib.file_digest(file, "md5").hexdigest() != row["md5"]:
                damage.append((row["id"], "another MD5 than the store states"))
    progress.finish(f"{len(damage):,} damaged")
    return damage


def preferred(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of several versions of an article in PMC the one to take: published before manuscript, then the latest."""
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        article, _, version = row["id"].partition(".")
        if row["source"] != PMC.name:
            best[row["source"], row["id"]] = row
            continue
        held = best.setdefault((row["source"], article), row)
        if _rank(row, version) > _rank(held, held["id"].partition(".")[2]):
            best[row["source"], article] = row
    return list(best.values())


def _rank(row: dict[str, Any], version: str) -> tuple[bool, int]:
    return not row["manuscript"], int(version)


def export_papers(
    store: Store, out: Path, ids: Sequence[str], *, every_version: bool, progress: Progress
) -> int:
    """Papers as plain files in a new folder, laid out as in PMC's Cloud Service; how many there were.

    `ids`: PMCIDs, with or without version; none for all. What is withdrawn stays behind. Raises InputError where
    an id is not in the store or nothing is, ArtifactError where `out` holds anything.
    """
    index = store.index()
    live = index.filter(
        pc.and_(pc.not_equal(index["state"], "withdrawn"), pc.not_equal(index["state"], "file"))
    )
    rows = live.to_pylist()
    if ids:
        rows = _named(rows, ids, store.folder, every_version=every_version)
    elif not every_version:
        rows = preferred(rows)
    rows.sort(key=lambda row: (row["xml_shard"], row["xml_row"]))
    files = [] if ids else index.filter(pc.equal(index["state"], "file")).to_pylist()
    if not rows and not files:
        raise InputError(f"{store.folder} holds no papers; fetch some with `biolm papers fetch`")
    progress.start("export", len(rows) + len(files), "papers")
    with new_folder(out, kind="exported papers") as folder:
        for done, (row, metadata, xml) in enumerate(_contents(store, rows), 1):
            place = _place(folder, row)
            place.write_bytes(xml)
            if metadata is not None:
                place.with_name(f"{_PAPER_ENDING.sub('', place.name)}.json").write_text(metadata, "utf-8")
            progress.update(done)
        for done, row in enumerate(files, len(rows) + 1):
            _copy(store.folder / FILES / row["source"] / row["id"], _place(folder, row))
            progress.update(done)
        write_json(
            folder / MANIFEST,
            {
                "kind": "exported papers",
                "version": 1,
                "papers": len(rows),
                "files_kept": len(files),
                "attribution": list(attributions(store.folder)),
            },
        )
    progress.finish(f"{len(rows):,} papers, {len(files):,} files in {out}")
    return len(rows)


def _place(folder: Path, row: dict[str, Any]) -> Path:
    """Where a paper goes below its source: as in PMC's Cloud Service, or as it lay in its folder.

    Raises ArtifactError for a name that leads out of the folder.
    """
    name: str = row["id"]
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise ArtifactError(f"the store names a paper {name!r}, which would lie outside {folder}")
    is_article = row["source"] == PMC.name and row["state"] != "file"
    place = folder / row["source"] / (f"{name}/{name}.xml" if is_article else name)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _copy(kept: Path, place: Path) -> None:
    """A copy, no link: whoever changes an exported file must not change the store."""
    if not kept.is_file():
        raise ArtifactError(f"{kept} is missing; run `biolm papers update` on its store")
    shutil.copyfile(kept, place)


def _named(
    rows: Sequence[dict[str, Any]], ids: Sequence[str], folder: Path, *, every_version: bool
) -> list[dict[str, Any]]:
    """The rows of some ids: those with a version as they are, of the others the preferred version or every one."""
    wanted: dict[str, bool] = {}
    for word in ids:
        try:
            version = word.partition(".")[2]
            wanted[f"PMC{number_of(word)}" + (f".{version}" if version else "")] = False
        except ValueError:
            wanted[word] = False
    exact, versions = [], []
    for row in rows:
        article = row["id"].partition(".")[0]
        if row["id"] in wanted:
            wanted[row["id"]] = True
            exact.append(row)
        if article in wanted:
            wanted[article] = True
            versions.append(row)
    if missing := [name for name, found in wanted.items() if not found]:
        raise InputError(f"{folder} has no {', '.join(missing[:5])}; see `biolm papers show {folder}`")
    chosen = [*exact, *(versions if every_version else preferred(versions))]
    return list({(row["source"], row["id"]): row for row in chosen}.values())


def _contents(
    store: Store, rows: Sequence[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], str | None, bytes]]:
    """Each row with its newest metadata and its XML; rows in the order of their shards."""
    for number, group in groupby(rows, itemgetter("xml_shard")):
        mine = list(group)
        known: dict[tuple[int, int], str | None] = {}
        facts = sorted((row["facts_shard"], row["facts_row"]) for row in mine)
        for shard, places in groupby(facts, itemgetter(0)):
            for place, metadata in store.column("metadata", shard, [place for _, place in places]):
                known[shard, place] = metadata
        found = store.column("xml", number, [row["xml_row"] for row in mine])
        for row, (_, xml) in zip(mine, found, strict=True):
            yield row, known[row["facts_shard"], row["facts_row"]], xml
