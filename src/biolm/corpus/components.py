"""Connected components of large graphs, in arrays."""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def connected_components(count: int, left: Rows, right: Rows) -> Rows:
    """The smallest node of each node's component, for the graph of `count` nodes with edges left–right.

    `left`, `right`: (edges,) int64. Labels fall to the smallest neighbour's and then jump to their own labels'
    labels, so a chain of n nodes takes about log n rounds. Memory: 8 bytes a node, 32 an edge.
    """
    labels = np.arange(count, dtype=np.int64)
    while len(left):
        a, b = labels[left], labels[right]
        open_ = a != b
        if not open_.any():
            break
        left, right, a, b = left[open_], right[open_], a[open_], b[open_]
        low, high = np.minimum(a, b), np.maximum(a, b)
        np.minimum.at(labels, high, low)  # hooks roots: a label is always the label of a root
        while True:
            jumped = labels[labels]
            if np.array_equal(jumped, labels):
                break
            labels = jumped
    return labels


def edges_of_equal(keys: NDArray, rows: Rows | None = None) -> tuple[Rows, Rows]:
    """Edges that connect all rows with the same key; a key of 0 is none.

    `keys`: (n,) of any integer type; `rows`: the row of each, its place where left out.
    """
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    same = (ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)
    left, right = order[:-1][same], order[1:][same]
    return (left, right) if rows is None else (rows[left], rows[right])
