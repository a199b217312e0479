"""How two corpora differ: papers and passages that came, went, moved or changed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.corpus.hashes import hash64
from biolm.corpus.reader import Corpus
from biolm.corpus.split import SPLITS

Keys = NDArray[np.uint64]


def corpus_diff(old: Corpus, new: Corpus) -> dict[str, Any]:
    """Counts of papers and passages by what became of them; drops by reason and settings, where they differ.

    A passage is its paper, section and text. Memory: 25 bytes a passage of both corpora.
    """
    a, b = _Contents(old), _Contents(new)
    both, in_a, in_b = np.intersect1d(a.papers, b.papers, return_indices=True)
    moved: dict[str, int] = {}
    for before, after in zip(a.splits[in_a].tolist(), b.splits[in_b].tolist(), strict=True):
        if before != after:
            name = f"{SPLITS[before]} to {SPLITS[after]}"
            moved[name] = moved.get(name, 0) + 1
    same = len(np.intersect1d(a.passages, b.passages))
    settings = {
        name: [old.manifest["settings"].get(name), new.manifest["settings"].get(name)]
        for name in sorted({*old.manifest["settings"], *new.manifest["settings"]})
        if old.manifest["settings"].get(name) != new.manifest["settings"].get(name)
    }
    drops = [corpus.manifest["counts"]["dropped"] for corpus in (old, new)]
    return {
        "papers": {
            "old": len(a.papers),
            "new": len(b.papers),
            "added": len(b.papers) - len(both),
            "removed": len(a.papers) - len(both),
            "moved": dict(sorted(moved.items())),
        },
        "passages": {
            "old": len(a.passages),
            "new": len(b.passages),
            "added": len(b.passages) - same,
            "removed": len(a.passages) - same,
        },
        "dropped": {
            reason: [counts.get(reason, 0) for counts in drops]
            for reason in sorted({*drops[0], *drops[1]})
            if drops[0].get(reason, 0) != drops[1].get(reason, 0)
        },
        "settings": settings,
        "same": old.fingerprint == new.fingerprint,
    }


class _Contents:
    """Sorted hashes of a corpus's papers, with their splits, and of its passages."""

    def __init__(self, corpus: Corpus) -> None:
        papers, splits, passages = [], [], []
        for split in corpus.splits:
            for batch in corpus.iter_batches(split, ["document", "section", "text"], 8192):
                columns = [batch[name].to_pylist() for name in ("document", "section", "text")]
                mine = np.unique(np.array([hash64(name) for name in columns[0]], np.uint64))
                papers.append(mine)
                splits.append(np.full(len(mine), SPLITS.index(split), np.int8))
                passages.append(np.array([hash64(*row) for row in zip(*columns, strict=True)], np.uint64))
        self.papers, first = np.unique(np.concatenate(papers), return_index=True)
        self.splits = np.concatenate(splits)[first]
        self.passages = np.unique(np.concatenate(passages))
