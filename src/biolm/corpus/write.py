"""The files of a corpus out of its extracts: what is kept by split, what was dropped, what was unreadable."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from biolm.corpus.config import CorpusConfig
from biolm.corpus.counts import Counts
from biolm.corpus.reader import DROPPED
from biolm.corpus.reasons import KEPT, REASONS
from biolm.corpus.resolve import Resolution
from biolm.corpus.split import SPLITS, split_of
from biolm.corpus.workspace import Workspace
from biolm.corpus.writer import DROPPED_SCHEMA, SCHEMA, SplitWriter, parquet_writer
from biolm.progress import Progress

REPORT = "report.json"
ARTICLE_COLUMNS = ("source", "doi", "title", "journal", "year")
PASSAGE_COLUMNS = ("section", "kind", "label", "text", "language", "rights", "characters")
_REASONS = pa.array([None, *REASONS])


def write_corpus(
    folder: Path,
    workspace: Workspace,
    keys: Sequence[str],
    resolution: Resolution,
    config: CorpusConfig,
    pinned: NDArray[np.int8] | None,
    progress: Progress,
) -> Counts:
    """Write the Parquet files of a resolution into `folder`, and count what is kept.

    `pinned`: (articles,) the split that the article's paper has already, as its place in SPLITS, −1 for none.
    Memory is that of a row group of each split and the article table of one extract.
    """
    counts = Counts()
    seen = np.zeros(len(resolution.documents.document), bool)
    progress.start("write corpus", len(resolution.fate), "passages")
    with ExitStack() as files:
        writers = [
            files.enter_context(SplitWriter(folder, split, config.passages_per_file)) for split in SPLITS
        ]
        dropped = files.enter_context(parquet_writer(folder / DROPPED, DROPPED_SCHEMA))
        for number, key in enumerate(keys):
            begin = resolution.article_offsets[number]
            with workspace.table(key, "articles") as table:
                articles = table.read([*ARTICLE_COLUMNS, "types", "passages"])
            split = _splits(resolution, begin, articles.num_rows, config, pinned)
            for rows, passages in _batches(workspace, key, resolution.passage_offsets[number]):
                kept = rows[resolution.fate[rows] == KEPT]
                local = resolution.article[kept] - begin
                full = _full_rows(resolution, articles, passages, kept, begin, kept - rows[0])
                for place, writer in enumerate(writers):
                    mine = np.flatnonzero(split[local] == place)
                    if len(mine):
                        part = full.take(mine)
                        papers = np.unique(resolution.documents.document[resolution.article[kept[mine]]])
                        counts.keep(part, SPLITS[place], int(np.count_nonzero(~seen[papers])))
                        seen[papers] = True
                        writer.add(part, resolution.article[kept[mine]])
                gone = rows[resolution.fate[rows] != KEPT]
                if len(gone):
                    dropped.write_table(
                        _dropped_rows(resolution, articles, passages, gone, begin, gone - rows[0])
                    )
                progress.update(int(rows[-1]) + 1)
            empty = np.flatnonzero(articles["passages"].to_numpy() == 0)
            counts.without_text += len(empty)
            if len(empty):
                dropped.write_table(_empty_rows(resolution, articles, empty, begin))
        for writer in writers:
            writer.finish()
    progress.finish(
        f"{int(np.count_nonzero(resolution.fate == KEPT)):,} passages kept of {len(resolution.fate):,}"
    )
    return counts


def write_report(path: Path, unreadable: Iterator[tuple[str, str]]) -> tuple[int, str]:
    """Write `report.json`, which names every file or record that gave no article; their number, and the first."""
    count, first = 0, ""
    with path.open("w", encoding="utf-8") as report:
        report.write('{"unreadable": [')
        for source, reason in unreadable:
            report.write(",\n" if count else "\n")
            report.write(json.dumps({"source": source, "reason": reason}, ensure_ascii=False))
            count += 1
            first = first or f"{source}: {reason}"
        report.write("\n]}\n" if count else "]}\n")
    return count, first


def _batches(workspace: Workspace, key: str, begin: int) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
    """The row groups of an extract's passages, each with the numbers of its rows."""
    with workspace.table(key, "passages") as table:
        for group in range(table.num_row_groups):
            passages = table.read_row_group(group, list(PASSAGE_COLUMNS)).combine_chunks()
            yield np.arange(begin, begin + passages.num_rows), passages
            begin += passages.num_rows


def _splits(
    resolution: Resolution, begin: int, count: int, config: CorpusConfig, pinned: NDArray[np.int8] | None
) -> NDArray[np.int8]:
    """(count,) the split of each article of an extract, by its place in SPLITS."""
    names = _document_names(resolution, np.arange(begin, begin + count)).to_pylist()
    split = np.array([SPLITS.index(split_of(name, config.shares, config.seed)) for name in names], np.int8)
    if pinned is None:
        return split
    earlier = pinned[begin : begin + count]
    return np.where(earlier >= 0, earlier, split)


def _document_names(resolution: Resolution, articles: NDArray[np.int64]) -> pa.Array:
    documents = resolution.documents
    return documents.names.take(pa.array(documents.naming[articles])).cast(pa.string())


def _ids(
    resolution: Resolution, articles: NDArray[np.int64], own_doi: pa.Array, names: pa.Array
) -> Mapping[str, pa.Array]:
    """The ids of the articles' papers, whichever record states them."""
    documents = resolution.documents

    def numbers(values: NDArray[np.int64], prefix: str) -> pa.Array:
        return pc.binary_join_element_wise(prefix, pa.array(values, mask=values == 0).cast(pa.string()), "")

    from_name = pc.if_else(pc.starts_with(names, "doi:"), pc.utf8_slice_codeunits(names, 4), None)
    return {
        "pmid": numbers(documents.pmid[articles], ""),
        "pmcid": numbers(documents.pmcid[articles], "PMC"),
        "doi": pc.coalesce(own_doi, from_name),
    }


def _full_rows(
    resolution: Resolution,
    articles: pa.Table,
    passages: pa.Table,
    rows: NDArray[np.int64],
    begin: int,
    places: NDArray[np.int64],
) -> pa.Table:
    """The corpus's columns of some passages: `rows` among all, `places` in the batch."""
    owners = resolution.article[rows]
    of, found = articles.take(owners - begin).combine_chunks(), passages.take(places)
    names = _document_names(resolution, owners)
    documents = resolution.documents
    licences = pa.array(documents.licences, pa.string()).take(pa.array(documents.licence[owners]))
    first_type = [types[0] if types else None for types in documents.all_types]
    types = pa.array(first_type, pa.string()).take(pa.array(documents.types[owners]))
    columns = {
        **{name: found[name] for name in ("text", "section", "label", "kind", "language", "rights")},
        **{name: of[name] for name in ("title", "journal", "year", "source")},
        **_ids(resolution, owners, _one(of["doi"]), names),
        "document": names,
        "licence": licences,
        "article_type": types,
    }
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def _dropped_rows(
    resolution: Resolution,
    articles: pa.Table,
    passages: pa.Table,
    rows: NDArray[np.int64],
    begin: int,
    places: NDArray[np.int64],
) -> pa.Table:
    owners = resolution.article[rows]
    of, found = articles.take(owners - begin).combine_chunks(), passages.take(places)
    names = _document_names(resolution, owners)
    winner = resolution.instead[rows]
    kept_for = _document_names(resolution, resolution.article[np.maximum(winner, 0)])
    columns = {
        **{name: found[name] for name in ("section", "kind", "label", "characters")},
        **_ids(resolution, owners, _one(of["doi"]), names),
        "reason": _REASONS.take(pa.array(resolution.fate[rows])),
        "document": names,
        "source": of["source"],
        "instead": pc.if_else(pa.array(winner >= 0), kept_for, None),
    }
    return pa.table({name: columns[name] for name in DROPPED_SCHEMA.names}, schema=DROPPED_SCHEMA)


def _empty_rows(
    resolution: Resolution, articles: pa.Table, places: NDArray[np.int64], begin: int
) -> pa.Table:
    """One row, without section, for each record that has neither abstract nor legend."""
    owners = begin + places
    of, names = articles.take(places).combine_chunks(), _document_names(resolution, owners)
    fate = resolution.documents.fate[owners]
    columns = {
        **dict.fromkeys(("section", "kind", "label", "instead"), pa.nulls(len(places), pa.string())),
        **_ids(resolution, owners, _one(of["doi"]), names),
        "characters": np.zeros(len(places), np.int32),
        "reason": pc.coalesce(_REASONS.take(pa.array(fate)), pa.scalar("no_text")),
        "document": names,
        "source": of["source"],
    }
    return pa.table({name: columns[name] for name in DROPPED_SCHEMA.names}, schema=DROPPED_SCHEMA)


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
