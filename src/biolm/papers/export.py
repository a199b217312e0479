"""Papers of a store as plain files.

A store may come from anybody: what its rows say of a paper's place is checked before anything is written there.
"""

import re
import shutil
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from biolm.artifacts import MANIFEST, new_folder, write_json
from biolm.errors import ArtifactError, InputError
from biolm.papers.contents import articles_of
from biolm.papers.selection import number_of
from biolm.papers.services import PMC
from biolm.papers.store import Store, attributions, kept_path
from biolm.progress import Progress

_PAPER_ENDING = re.compile(r"\.n?xml(?:\.gz)?$", re.IGNORECASE)
_PLACES = ("facts_shard", "facts_row", "xml_shard", "xml_row")
_COLUMNS = ("source", "id", "state", "md5", "manuscript", "note", *_PLACES)
_SLICE = 4096
"""Rows that are Python objects at the same time: 2 kB each."""


def export_papers(
    store: Store, out: Path, ids: Sequence[str], *, every_version: bool, progress: Progress
) -> int:
    """Papers as plain files in a new folder, laid out as in PMC's Cloud Service; how many there were.

    `ids`: PMCIDs, with or without version; none for all. What is withdrawn stays behind. Raises InputError where
    an id is not in the store or nothing is, ArtifactError where `out` holds anything.
    """
    index = store.index().select(_COLUMNS)
    files = [] if ids else index.filter(pc.equal(index["state"], "file")).to_pylist()
    if ids:
        papers = _named(index, ids, store.folder, every_version=every_version)
    else:
        papers = index.filter(_is_live(index))
        papers = papers if every_version else preferred(papers)
    del index
    papers = papers.sort_by([("xml_shard", "ascending"), ("xml_row", "ascending")])
    if not papers.num_rows and not files:
        raise InputError(f"{store.folder} holds no papers; fetch some with `biolm papers fetch`")
    progress.start("export", papers.num_rows + len(files), "papers")
    with new_folder(out, kind="exported papers") as folder:
        for done, (row, metadata, xml) in enumerate(_contents(store, papers), 1):
            place = _place(folder, row)
            place.write_bytes(xml)
            if metadata is not None:
                place.with_name(f"{_PAPER_ENDING.sub('', place.name)}.json").write_text(metadata, "utf-8")
            progress.update(done)
        for done, row in enumerate(files, papers.num_rows + 1):
            _copy(kept_path(store.folder, row["source"], row["id"], row["md5"] or ""), _place(folder, row))
            progress.update(done)
        write_json(
            folder / MANIFEST,
            {
                "kind": "exported papers",
                "version": 1,
                "papers": papers.num_rows,
                "files_kept": len(files),
                "attribution": list(attributions(store.folder)),
            },
        )
    progress.finish(f"{papers.num_rows:,} papers, {len(files):,} files in {out}")
    return int(papers.num_rows)


def preferred(papers: pa.Table) -> pa.Table:
    """Of several versions of an article in PMC the one to take: published before manuscript, then the latest."""
    version = pc.extract_regex(papers["id"], r"\.(?P<version>\d{1,9})$")
    version = pc.fill_null(pc.cast(pc.struct_field(version, "version"), pa.int64()), 0)
    published = pc.invert(pc.fill_null(papers["manuscript"], False))
    ranks = pa.table({"published": published, "version": version})
    order = pc.sort_indices(ranks, [("published", "ascending"), ("version", "ascending")]).to_numpy()
    articles = pc.dictionary_encode(articles_of(papers)).combine_chunks()
    best = np.zeros(len(articles.dictionary), np.int64)
    best[articles.indices.to_numpy()[order]] = order  # of several the last is kept
    return papers.take(pa.array(np.sort(best)))


def _is_live(papers: pa.Table) -> pa.ChunkedArray:
    return pc.invert(pc.is_in(papers["state"], pa.array(["withdrawn", "file"])))


def _named(index: pa.Table, ids: Sequence[str], folder: Path, *, every_version: bool) -> pa.Table:
    """The papers of some ids: those with a version as they are, of the others the preferred version or every one."""
    wanted = []
    for word in ids:
        try:
            version = word.partition(".")[2]
            wanted.append(f"PMC{number_of(word)}" + (f".{version}" if version else ""))
        except ValueError:
            wanted.append(word)
    wanted = list(dict.fromkeys(wanted))
    words = pa.array(wanted, pa.string())
    is_exact = pc.is_in(index["id"], words)
    is_version = pc.is_in(pc.replace_substring_regex(index["id"], r"(?s)\..*$", ""), words)
    found = index.filter(pc.or_(is_exact, is_version))
    live = found.filter(_is_live(found))
    names = set(live["id"].to_pylist())
    names |= {name.partition(".")[0] for name in names}
    if missing := [name for name in wanted if name not in names]:
        raise InputError(_without(missing, found, folder))
    exact = pc.is_in(live["id"], words)
    versions = live.filter(pc.invert(exact))
    if not every_version:
        named = pc.is_in(pc.replace_substring_regex(live["id"], r"(?s)\..*$", ""), words)
        versions = preferred(live.filter(named))
        versions = versions.filter(pc.invert(pc.is_in(versions["id"], words)))
    return pa.concat_tables([live.filter(exact), versions])


def _without(missing: Sequence[str], found: pa.Table, folder: Path) -> str:
    """Why some ids cannot be had. Notes are quoted: they may be anybody's."""
    notes: dict[str, str] = {}
    for row in found.select(["id", "state", "note"]).to_pylist():
        for name in (row["id"], row["id"].partition(".")[0]):
            if row["state"] == "withdrawn":
                notes[name] = f"is withdrawn ({row['note'] or 'without a reason'!r})"
            elif row["state"] == "file":
                notes[name] = "is a file of many papers, which only an export of everything gives"
    said = [f"{name} {notes[name]}" for name in missing if name in notes]
    if unknown := [name for name in missing if name not in notes]:
        said.append(f"{folder} has no {', '.join(unknown[:5])}")
    return f"{'; '.join(said[:5])}; see `biolm papers show {folder}`"


def _place(folder: Path, row: dict[str, Any]) -> Path:
    """Where a paper goes below its source: as in PMC's Cloud Service, or as it lay in its folder.

    Raises ArtifactError for a source or name that leads out of the folder.
    """
    name: str = row["id"]
    kept_path(folder, row["source"], name, "")  # raises
    is_article = row["source"] == PMC.name and row["state"] != "file"
    place = folder / row["source"] / (f"{name}/{name}.xml" if is_article else name)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _copy(kept: Path, place: Path) -> None:
    """A copy, no link: whoever changes an exported file must not change the store."""
    if not kept.is_file():
        raise ArtifactError(f"{kept} is missing; run `biolm papers update` on its store")
    shutil.copyfile(kept, place)


def _contents(store: Store, papers: pa.Table) -> Iterator[tuple[dict[str, Any], str | None, bytes]]:
    """Each row with its newest metadata and its XML; rows in the order of their shards."""
    for begin in range(0, papers.num_rows, _SLICE):
        rows = papers.slice(begin, _SLICE).to_pylist()
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
