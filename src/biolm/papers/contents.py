"""What a paper store holds, counted: column by column, for a store may hold millions of papers."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from biolm.errors import ArtifactError
from biolm.papers.services import PMC
from biolm.papers.store import Store, attributions, is_being_written, kept_path, shard_numbers

_COUNTED = ("licence", "year", "journal", "type")
_COLUMNS = ("source", "id", "state", "md5", "bytes", "fetched", "manuscript", "retracted", "note", "xml_row")


def store_facts(store: Store) -> dict[str, Any]:
    """Counts of a store by source, state, licence, year, journal and type, and of which day it is."""
    index = store.index().select([*_COLUMNS, *_COUNTED])
    is_live = pc.and_(
        pc.invert(pc.is_in(index["state"], pa.array(["withdrawn", "file"]))),
        pc.greater_equal(index["xml_row"], 0),
    )
    groups = _groups(index, is_live)
    files = index.filter(pc.equal(index["state"], "file"))["bytes"]
    left = _left_files(store, index)
    counts = {name: _counted(index[name].filter(is_live)) for name in _COUNTED}
    return {
        "sources": {name: _source_facts(name, of, groups) for name, of in sorted(store.sources.items())},
        "papers": _sum(groups, live=True),
        "articles": pc.count_distinct(articles_of(index.select(["source", "id"]).filter(is_live))).as_py(),
        "xml_bytes": pc.sum(index["bytes"].filter(is_live)).as_py() or 0,
        "files": len(files),
        "files_bytes": pc.sum(files).as_py() or 0,
        "withdrawn_files": len(left),
        "withdrawn_files_bytes": sum(left),
        "disk_bytes": sum(path.stat().st_size for path in store.folder.rglob("*") if path.is_file()),
        "shards": len(shard_numbers(store.folder)),
        "waiting_bytes": store.waiting,
        "is_being_written": is_being_written(store.folder),
        "licences": counts["licence"],
        "years": dict(sorted(counts["year"].items())),
        "journals": counts["journal"],
        "types": counts["type"],
        "notes": _counted(index["note"].filter(pc.equal(index["state"], "withdrawn"))),
        "attribution": list(attributions(store.folder)),
    }


def articles_of(papers: pa.Table) -> pa.ChunkedArray:
    """Source and id of each paper in one string; of articles in PMC without the version."""
    article = pc.if_else(
        pc.equal(papers["source"], PMC.name),
        pc.replace_substring_regex(papers["id"], r"\.\d+$", ""),
        papers["id"],
    )
    return pc.binary_join_element_wise(papers["source"], article, "\t")


def _groups(index: pa.Table, is_live: pa.ChunkedArray) -> list[dict[str, Any]]:
    """How many rows are alike in what a source is told by, and when they were fetched."""
    told = ["source", "state", "manuscript", "retracted", "live"]
    table = index.select([*told[:-1], "fetched"]).append_column("live", is_live)
    counted = table.group_by(told, use_threads=False).aggregate(
        [([], "count_all"), ("fetched", "min"), ("fetched", "max")]
    )
    groups: list[dict[str, Any]] = counted.to_pylist()
    return groups


def _sum(groups: Iterable[Mapping[str, Any]], **wanted: Any) -> int:
    alike = (group for group in groups if all(group[name] == value for name, value in wanted.items()))
    return sum(group["count_all"] for group in alike)


def _source_facts(name: str, of: Mapping[str, Any], groups: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    mine = [group for group in groups if group["source"] == name]
    first = [group["fetched_min"] for group in mine if group["fetched_min"]]
    last = [group["fetched_max"] for group in mine if group["fetched_max"]]
    return {
        "papers": _sum(mine, live=True),
        "withdrawn": _sum(mine, state="withdrawn"),
        "retracted": _sum(mine, live=True, retracted=True),
        "manuscripts": _sum(mine, live=True, manuscript=True),
        "files": _sum(mine, state="file"),
        "as_of": of.get("as_of"),
        "fetched": [min(first).isoformat(), max(last).isoformat()] if first else None,
        "selections": of.get("selections", []),
        "address": of.get("address") or of.get("endpoints") or None,
    }


def _left_files(store: Store, index: pa.Table) -> list[int]:
    """Bytes of each file that is withdrawn, so that nobody reads it, and lies in the store all the same."""
    withdrawn = pc.and_(pc.equal(index["state"], "withdrawn"), pc.less(index["xml_row"], 0))
    found = []
    for row in index.select(["source", "id", "md5"]).filter(withdrawn).to_pylist():
        try:
            path = kept_path(store.folder, row["source"], row["id"], row["md5"] or "")
        except ArtifactError:  # `verify_store` names it
            continue
        if path.is_file():
            found.append(path.stat().st_size)
    return found


def _counted(column: pa.ChunkedArray) -> dict[str, int]:
    """Values by how often they occur, the commonest first; "unknown" where there is none."""
    counts = Counter({str(pair["values"]): pair["counts"] for pair in pc.value_counts(column).to_pylist()})
    if unknown := counts.pop("None", 0):
        counts["unknown"] += unknown
    return dict(counts.most_common())
