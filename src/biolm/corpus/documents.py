"""Which records are one paper, which replaces which, and which is preferred: over all extracts at once.

A paper is what a chain of shared ids connects: a PubMed record with PMID and DOI, a JATS file with DOI and
PMCID. Records that a newer version of themselves replaces, or that were withdrawn, connect nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from biolm.corpus.components import connected_components, edges_of_equal
from biolm.corpus.extract import FORMS
from biolm.corpus.hashes import hash64
from biolm.corpus.reasons import CODE

REPEATED = ("retracts", "types", "licence")
COLUMNS = (
    *(
        "name",
        "pmid",
        "pmcid",
        "doi_key",
        "record_key",
        "form",
        "version",
        "revised",
        "sequence",
        "manuscript",
    ),
    *("retracted", "withdrawn", *REPEATED),
)
Rows = NDArray[np.int64]
Column = dict[str, NDArray]


@dataclass(slots=True, kw_only=True)
class Documents:
    """What is known of every article; arrays of (articles,), in the order of the extracts."""

    document: Rows
    """Its paper, as the row of the paper's first article."""
    fate: NDArray[np.int8]
    """CODE of "deleted" or "older_version"; 0 for the others."""
    preference: Rows
    """Its rank among all articles: of several of one paper the lowest is taken."""
    naming: Rows
    """The article whose name is that of its paper."""
    names: pa.LargeStringArray
    """Its own name: "doi:10.1/x", else "pmid:1", else "pmcid:PMC1", else "sha256:..."."""
    retracted: NDArray[np.bool_]
    """Whether a record of its paper, or a notice about it, says that the paper is retracted."""
    licences: list[str]
    licence: NDArray[np.int32]
    """Index into `licences`: what the record states, or else what another of its paper does."""
    all_types: list[tuple[str, ...]]
    types: NDArray[np.int32]
    """Index into `all_types`: its article types."""
    pmid: Rows
    pmcid: Rows
    """Its paper's ids; 0 where no record states one."""
    own: Column
    """Its own ids as numbers: "pmid", "pmcid", "doi"."""

    def rows_with(self, names: Iterable[str]) -> Rows:
        """Rows of the articles that have any of the ids ("pmid:1", "pmcid:PMC1", "doi:10.1/x")."""
        found = [np.flatnonzero(np.isin(self.own[kind], ids)) for kind, ids in self._numbers(names)]
        return np.unique(np.concatenate([*found, np.empty(0, np.int64)]))

    def known(self, names: Iterable[str]) -> int:
        """How many of the ids are an article's."""
        return sum(int(np.isin(ids, self.own[kind]).sum()) for kind, ids in self._numbers(names))

    def _numbers(self, names: Iterable[str]) -> Iterator[tuple[str, NDArray[Any]]]:
        """The ids of each kind, as `own` has them."""
        wanted: dict[str, set[int]] = {}
        for name in names:
            kind, _, value = name.partition(":")
            wanted.setdefault(kind, set()).add(
                hash64(name) if kind == "doi" else int(value.removeprefix("PMC"))
            )
        for kind, values in wanted.items():
            yield kind, np.array(sorted(values), self.own[kind].dtype)

    def papers_with(self, names: Iterable[str]) -> NDArray[np.bool_]:
        """(articles,) whether the article's paper has any of the ids."""
        return self.spread(self.rows_with(names))

    def spread(self, rows: Rows) -> NDArray[np.bool_]:
        """(articles,) whether the article belongs to the paper of any of the rows."""
        papers = np.zeros(len(self.document), bool)
        papers[self.document[rows]] = True
        return papers[self.document]


def join_documents(articles: pa.Table, deletions: Sequence[tuple[int, Sequence[int]]]) -> Documents:
    """Join the articles of all extracts to papers.

    `articles`: COLUMNS of all extracts, one after another, the REPEATED ones as dictionaries; `deletions`:
    sequence numbers of PubMed files with the PMIDs that they withdraw. Memory: 130 bytes an article, and
    as much again while it works.
    """
    column = {name: articles[name].to_numpy() for name in COLUMNS if name not in ("name", *REPEATED)}
    preference = _preference(column)
    fate = _fates(column, preference, deletions)
    live = np.flatnonzero(fate == 0)
    edges = [edges_of_equal(column[name][live], live) for name in ("pmid", "pmcid", "doi_key", "record_key")]
    document = connected_components(
        len(fate), np.concatenate([left for left, _ in edges]), np.concatenate([right for _, right in edges])
    )
    texts = {name: coded(articles[name]) for name in REPEATED}
    licences, licence = texts["licence"]
    if "unknown" in licences:
        unknown = licences.index("unknown")
        known = _of_paper(document, preference, licence, licence != unknown, unknown)
        licence = np.where(licence == unknown, known, licence)
    documents = Documents(
        document=document,
        fate=fate,
        preference=preference,
        naming=_naming(document, column),
        names=pa.chunked_array(articles["name"]).cast(pa.large_string()).combine_chunks(),
        retracted=np.zeros(len(fate), bool),
        licences=licences,
        licence=licence,
        all_types=[tuple(value.split("|")) if value else () for value in texts["types"][0]],
        types=texts["types"][1],
        pmid=_of_paper(document, preference, column["pmid"], column["pmid"] != 0, 0),
        pmcid=_of_paper(document, preference, column["pmcid"], column["pmcid"] != 0, 0),
        own={"pmid": column["pmid"], "pmcid": column["pmcid"], "doi": column["doi_key"]},
    )
    notices, notice = texts["retracts"]
    noticed = {notices[code] for code in np.unique(notice[live])}
    named = documents.rows_with(name for names in noticed if names for name in names.split())
    itself = np.flatnonzero(column["retracted"] & (fate == 0))
    documents.retracted = documents.spread(np.union1d(named, itself))
    return documents


def _preference(column: Column) -> Rows:
    """JATS before PubMed, published before manuscript, the newest (by version, file, date), the first given."""
    newest_first = [-column[name].astype(np.int64) for name in ("revised", "sequence", "version")]
    order = np.lexsort((*newest_first, column["manuscript"], column["form"]))
    preference = np.empty(len(order), np.int64)
    preference[order] = np.arange(len(order))
    return preference


def _fates(
    column: Column, preference: Rows, deletions: Sequence[tuple[int, Sequence[int]]]
) -> NDArray[np.int8]:
    """Withdrawn records; and of those with the same PMID, or PMCID and state, the ones older than the newest."""
    fate = np.zeros(len(preference), np.int8)
    fate[column["withdrawn"]] = CODE["deleted"]
    pubmed = column["form"] == FORMS.index("pubmed")
    last_deletion: dict[int, int] = {}
    for sequence, pmids in deletions:
        last_deletion.update((pmid, max(sequence, last_deletion.get(pmid, 0))) for pmid in pmids)
    if last_deletion:
        gone = np.array(sorted(last_deletion), np.int64)
        until = np.array([last_deletion[pmid] for pmid in gone.tolist()], np.int64)
        place = np.minimum(np.searchsorted(gone, column["pmid"]), len(gone) - 1)
        withdrawn = pubmed & (gone[place] == column["pmid"]) & (column["sequence"] <= until[place])
        fate[withdrawn] = CODE["deleted"]
    state = 2 * column["pmcid"] + column["manuscript"]
    for mine, key in (
        (pubmed & (column["pmid"] != 0), column["pmid"]),
        (~pubmed & (column["pmcid"] != 0), state),
    ):
        rows = np.flatnonzero(mine & (fate == 0))
        order = rows[np.lexsort((preference[rows], key[rows]))]
        begins = np.flatnonzero(np.diff(key[order], prepend=0))
        newest = np.repeat(order[begins], np.diff(np.append(begins, len(order))))
        older = np.zeros(len(order), bool)
        for name in ("version", "revised", "sequence"):  # equal in all three: the same record again
            older |= column[name][order] != column[name][newest]
        fate[order[older]] = CODE["older_version"]
    return fate


def _naming(document: Rows, column: Column) -> Rows:
    """A paper is named by its DOI before its PMID before its PMCID; by the one with the lowest number of several."""
    kinds = ("doi_key", "pmid", "pmcid", "record_key")
    kind = np.full(len(document), len(kinds) - 1, np.int8)
    for number in range(len(kinds) - 2, -1, -1):
        kind[column[kinds[number]] != 0] = number
    value = np.choose(kind, [column[name].astype(np.uint64) for name in kinds])
    order = np.lexsort((value, kind, document))
    first = np.flatnonzero(np.diff(document[order], prepend=-1))
    naming = np.empty(len(document), np.int64)
    naming[document[order[first]]] = order[first]
    return naming[document]


def _of_paper(
    document: Rows, preference: Rows, values: NDArray, stated: NDArray[np.bool_], missing: int
) -> NDArray:
    """(articles,) the value that the most preferred article of its paper states."""
    rows = np.flatnonzero(stated)
    rows = rows[np.argsort(-preference[rows], kind="stable")]
    paper = np.full(len(document), missing, values.dtype)
    paper[document[rows]] = values[rows]  # of several the last is kept
    return paper[document]


def coded(column: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int32]]:
    """The values of a dictionary column, and the index of each row's; −1 where a row has none."""
    if not column.num_chunks:
        return [], np.empty(0, np.int32)
    column = column.unify_dictionaries()
    codes = [chunk.indices.fill_null(-1).to_numpy().astype(np.int32) for chunk in column.chunks]
    return column.chunk(0).dictionary.to_pylist(), np.concatenate(codes)
