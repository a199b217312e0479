"""One abstract and one set of legends a paper, and each text once."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from biolm.corpus.documents import Documents, Rows
from biolm.corpus.reasons import CODE, KEPT


def choose_records(
    fate: NDArray[np.int8], article: Rows, section: NDArray[np.int32], documents: Documents, sections: int
) -> None:
    """Drop, as "other_record", the passages of all but one of a paper's records, for each section by itself.

    The record is the most preferred of those that have a passage there which no filter dropped. So a PubMed
    record gives its abstract where the paper's JATS has none, and never beside it. Changes `fate`, (passages,).
    """
    rows = np.flatnonzero(fate == KEPT)
    rank = documents.preference[article[rows]]
    group = documents.document[article[rows]] * sections + section[rows]
    order = np.lexsort((rank, group))
    begins = np.flatnonzero(np.diff(group[order], prepend=-1))
    best = np.repeat(rank[order[begins]], np.diff(np.append(begins, len(order))))
    fate[rows[order[rank[order] != best]]] = CODE["other_record"]


def drop_duplicates(
    fate: NDArray[np.int8],
    text_key: NDArray[np.uint64],
    rank: Rows,
    held: NDArray[np.bool_],
    document: Rows,
    near: Callable[[Rows, Rows], Rows] | None,
) -> Rows:
    """Drop each text but once, and whatever is like a held-out one; gives what each was dropped for, else −1.

    `rank`: (passages,) of several of one text the lowest stays; `held`: (passages,) held out themselves, which
    must rank lowest; `document`: (passages,) the paper of each; `near(rows, rank)`: the representative of each
    of the rows among them. Legends of one paper may be nearly alike: they are kept. Changes `fate`.
    """
    instead = np.full(len(fate), -1, np.int64)
    rows = np.flatnonzero(fate == KEPT)
    order = rows[np.lexsort((rank[rows], text_key[rows]))]
    begins = np.flatnonzero(np.diff(text_key[order], prepend=text_key[order[:1]] + np.uint64(1)))
    first = np.repeat(order[begins], np.diff(np.append(begins, len(order))))
    again = order != first
    instead[order[again]] = first[again]
    fate[order[again]] = CODE["duplicate"]
    if near is not None:
        rows = np.flatnonzero(fate == KEPT)
        kept = near(rows, rank[rows])
        again = (kept != rows) & (document[kept] != document[rows])
        instead[rows[again]] = kept[again]
        fate[rows[again]] = CODE["near_duplicate"]
        # What an exact duplicate was dropped for may itself have been a near duplicate.
        has = np.flatnonzero(instead >= 0)
        further = instead[instead[has]]
        instead[has] = np.where(further >= 0, further, instead[has])
    like_held = np.flatnonzero(instead >= 0)
    fate[like_held[held[instead[like_held]]]] = CODE["held_out"]
    fate[held & (fate == KEPT)] = CODE["held_out"]
    return instead
