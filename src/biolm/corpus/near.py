"""Passages that are nearly the same, by locality-sensitive hashing of their signatures, out of core.

The signatures lie in a file; one band at a time is in memory. Equal keys of a band are candidates: each is
compared with its neighbour and with the first of its group, so a group of n costs 2n comparisons. Compared are
the whole signatures. What similar pairs connect is one text.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from biolm.corpus.components import Rows, connected_components
from biolm.corpus.minhash import BANDS, SIGNATURE_BYTES, SLOTS, band_keys, similarity
from biolm.corpus.workspace import Workspace

BLOCK_PAIRS = 1 << 16


class NearDuplicates:
    """Finds near duplicates among the passages of extracts.

    Memory: about 60 bytes a passage; on disk, while it works, 168 for the keys and 252 for the signatures.
    """

    def __init__(self, workspace: Workspace, keys: Sequence[str], offsets: Rows, threshold: float) -> None:
        self._workspace, self._keys, self._offsets = workspace, keys, offsets
        self._threshold = threshold

    def __call__(self, rows: Rows, rank: Rows) -> Rows:
        """The passage that stands for each of the passages `rows` (ascending): of the similar ones that of lowest rank.

        A passage without near duplicates stands for itself.
        """
        with self._workspace.draft() as scratch:
            signatures = np.memmap(f"{scratch}/signatures", np.uint16, "w+", shape=(max(len(rows), 1), SLOTS))
            bands = np.memmap(f"{scratch}/bands", np.uint64, "w+", shape=(BANDS, max(len(rows), 1)))
            self._load(rows, signatures, bands)
            component = cluster(signatures[: len(rows)], bands[:, : len(rows)], self._threshold)
        order = np.lexsort((rank, component))
        begins = np.flatnonzero(np.diff(component[order], prepend=-1))
        best = np.empty(len(rows), np.int64)
        best[order] = np.repeat(order[begins], np.diff(np.append(begins, len(order))))
        return rows[best]

    def _load(self, rows: Rows, signatures: NDArray[np.uint16], bands: NDArray[np.uint64]) -> None:
        done = 0
        for number, key in enumerate(self._keys):
            begin = int(self._offsets[number])
            with self._workspace.table(key, "passages", columns=("signature",)) as table:
                for batch in table.iter_batches(16_384, columns=["signature"]):
                    end = begin + batch.num_rows
                    here = rows[done : np.searchsorted(rows, end)] - begin
                    found = _signatures(batch["signature"])[here]
                    signatures[done : done + len(here)] = found
                    bands[:, done : done + len(here)] = band_keys(found)
                    bands[:, done : done + len(here)][:, ~found.any(axis=1)] = 0
                    done += len(here)
                    begin = end


def cluster(signatures: NDArray[np.uint16], bands: NDArray[np.uint64], threshold: float) -> Rows:
    """(n,) the lowest row of each row's cluster, from (n, SLOTS) signatures and their (BANDS, n) keys.

    A key of 0 is none. Two rows are similar from an estimated Jaccard similarity of `threshold` on.
    """
    component = np.arange(len(signatures), dtype=np.int64)
    for keys in bands:
        keys = np.asarray(keys)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        same = (ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)
        if not same.any():
            continue
        begins = np.flatnonzero(np.concatenate([[True], ~same]))
        first = np.repeat(order[begins], np.diff(np.append(begins, len(order))))
        left = np.concatenate([order[:-1][same], first[1:][same]])
        right = np.concatenate([order[1:][same]] * 2)
        apart = component[left] != component[right]
        left, right = left[apart], right[apart]
        similar = np.zeros(len(left), bool)
        for begin in range(0, len(left), BLOCK_PAIRS):
            block = slice(begin, begin + BLOCK_PAIRS)
            similar[block] = similarity(signatures[left[block]], signatures[right[block]]) >= threshold
        if similar.any():
            merged = connected_components(len(component), component[left[similar]], component[right[similar]])
            component = merged[component]
    return component


def _signatures(column: pa.FixedSizeBinaryArray) -> NDArray[np.uint16]:
    begin = column.offset * SIGNATURE_BYTES
    data = np.frombuffer(column.buffers()[1], np.uint8)[begin : begin + len(column) * SIGNATURE_BYTES]
    return data.view(np.uint16).reshape(len(column), SLOTS)
