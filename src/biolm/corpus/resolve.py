"""What becomes of every passage of all extracts: kept, or dropped for the first reason that applies.

Works on arrays of numbers over all passages; texts stay on disk. The result is a function of the extracts in
their order, the settings and the lists, whoever made the extracts and when.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from biolm.corpus.config import CorpusConfig
from biolm.corpus.counts import SECTIONS
from biolm.corpus.documents import COLUMNS, REPEATED, Documents, Rows, coded, join_documents
from biolm.corpus.duplicates import choose_records, drop_duplicates
from biolm.corpus.filters import filter_passages
from biolm.corpus.held_out_texts import HeldOutTexts
from biolm.corpus.near import NearDuplicates
from biolm.corpus.reasons import KEPT
from biolm.corpus.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The fate of every passage of the extracts."""

    documents: Documents
    article_offsets: Rows
    """(extracts + 1,) where each extract's articles begin."""
    passage_offsets: Rows
    """(extracts + 1,) where each extract's passages begin."""
    article: Rows
    """(passages,) row of each passage's article."""
    fate: NDArray[np.int8]
    """(passages,) KEPT or the CODE of a reason."""
    instead: Rows
    """(passages,) the passage that a duplicate was dropped for; −1 for the others."""
    pinned: NDArray[np.int8] | None = None
    """(articles,) the place in SPLITS where an earlier corpus has the article's paper, −1 where it has it not."""


def resolve(
    workspace: Workspace,
    keys: Sequence[str],
    deletions: Sequence[tuple[int, Sequence[int]]],
    config: CorpusConfig,
    held_out_texts: HeldOutTexts | None = None,
    pin: Callable[[Documents], NDArray[np.int8]] | None = None,
) -> Resolution:
    """Decide over the extracts `keys`; `deletions` are those that they state.

    `pin`: (articles,) the place in SPLITS that an earlier corpus has the article's paper in, else −1: of passages
    that are alike one of those stays, the test split's before the others, so that none of its texts moves.
    Memory: about 130 bytes an article and 100 a passage, and as much again while it sorts.
    """
    articles, article_offsets = _load(workspace, keys, "articles", COLUMNS, REPEATED)
    documents = join_documents(articles, deletions)
    del articles
    columns = ["article", "section", "kind", "language", "characters", "letters", "boilerplate", "text_key"]
    repeated = ["section", "kind", "language"]
    if config.extraction().detect_language:
        columns += ["detected", "certainty"]
        repeated += ["detected"]
    passages, offsets = _load(workspace, keys, "passages", columns, repeated)
    article = passages["article"].to_numpy() + np.repeat(article_offsets[:-1], np.diff(offsets))
    names, section = coded(passages["section"])
    section = np.array([SECTIONS.index(name) for name in names] or [0], np.int32)[section]
    text_key = passages["text_key"].to_numpy()
    fate = filter_passages(article, documents, passages, config)
    del passages
    choose_records(fate, article, section, documents, len(SECTIONS))
    held = documents.papers_with(config.hold_out)[article]
    before = fate.copy()
    elsewhere = np.flatnonzero(held & (fate != KEPT))
    fate[elsewhere] = KEPT  # what a filter dropped of a held-out paper still holds out what is like it
    if held_out_texts is not None:
        held |= _with_held_out_text(workspace, keys, offsets, fate, held_out_texts)
    rank = np.empty(len(fate), np.int64)
    pinned = pin(documents) if pin else None
    later = np.zeros(len(fate), np.int8) if pinned is None else -pinned[article]
    rank[np.lexsort((documents.preference[article], later, ~held))] = np.arange(len(fate))
    near = None
    if config.near_duplicates is not None:
        near = NearDuplicates(workspace, keys, offsets, config.near_duplicates)
    instead = drop_duplicates(fate, text_key, rank, held, documents.document[article], near)
    fate[elsewhere], instead[elsewhere] = before[elsewhere], -1
    return Resolution(
        documents=documents,
        article_offsets=article_offsets,
        passage_offsets=offsets,
        article=article,
        fate=fate,
        instead=instead,
        pinned=pinned,
    )


def _load(
    workspace: Workspace, keys: Sequence[str], name: str, columns: Sequence[str], repeated: Sequence[str]
) -> tuple[pa.Table, Rows]:
    """Columns of one table of all extracts end to end, and where each extract begins."""
    tables = []
    for key in keys:
        with workspace.table(key, name, repeated, columns) as table:
            tables.append(table.read(list(columns)))
    return pa.concat_tables(tables), np.cumsum([0, *(table.num_rows for table in tables)])


def _with_held_out_text(
    workspace: Workspace, keys: Sequence[str], offsets: Rows, fate: NDArray[np.int8], texts: HeldOutTexts
) -> NDArray[np.bool_]:
    """(passages,) whether the passage, of those that no filter dropped, has a held-out text in it."""
    held = np.zeros(len(fate), bool)
    for number, key in enumerate(keys):
        begin = int(offsets[number])
        with workspace.table(key, "passages") as table:
            for batch in table.iter_batches(4096, columns=["text"]):
                here = np.flatnonzero(fate[begin : begin + batch.num_rows] == KEPT)
                held[begin + here] = texts.matches(batch["text"].take(pa.array(here)).to_pylist())
                begin += batch.num_rows
    return held
