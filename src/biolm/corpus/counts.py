"""What went into a corpus and what did not: every passage found is kept or dropped for a reason."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from biolm.corpus.reasons import REASONS
from biolm.corpus.split import SPLITS, Split
from biolm.records import Section

SECTIONS: tuple[Section, ...] = ("abstract", "figure_legend", "supplementary_legend")
"""Stored as its place in this tuple where a number is wanted."""
TOP_JOURNALS = 20


class Counts:
    """Counted while a corpus is written; `facts` is what the manifest says."""

    def __init__(self) -> None:
        self._passages: Counter[tuple[Split, str]] = Counter()
        self._characters: Counter[tuple[Split, str]] = Counter()
        self._documents: dict[Split, int] = dict.fromkeys(SPLITS, 0)
        self._with_rights = 0
        self.without_text = 0
        """Articles that have neither abstract nor legend."""
        self._values: dict[str, Counter[Any]] = {
            name: Counter() for name in ("licence", "language", "journal", "year", "article_type")
        }

    def keep(self, passages: pa.Table, split: Split, new_documents: int) -> None:
        """Count passages that are written to a split, `new_documents` of whose papers were not in it yet."""
        self._documents[split] += new_documents
        lengths = pc.utf8_length(passages["text"])
        sums = pa.table({"section": passages["section"], "n": lengths}).group_by("section")
        for row in sums.aggregate([("n", "sum"), ("n", "count")]).to_pylist():
            self._passages[split, row["section"]] += row["n_count"]
            self._characters[split, row["section"]] += row["n_sum"]
        self._with_rights += len(passages) - passages["rights"].null_count
        for name, counter in self._values.items():
            for pair in pc.value_counts(passages[name]).to_pylist():
                counter[pair["values"]] += pair["counts"]

    def facts(self, *, articles: int, failed: int, fate: NDArray[np.int8]) -> dict[str, Any]:
        """The manifest's `counts`, `splits`, `licences`, `languages`, `journals` and so on.

        Raises AssertionError unless found = kept + dropped.
        """
        dropped = dict(zip(REASONS, np.bincount(fate, minlength=len(REASONS) + 1)[1:].tolist(), strict=True))
        kept = self._passages.total()
        if len(fate) != kept + sum(dropped.values()):
            raise AssertionError(
                f"{len(fate)} passages found, but {kept} kept and {sum(dropped.values())} dropped"
            )
        full = [split for split in SPLITS if self._documents[split]]
        journals = {name or "unknown": count for name, count in self._values["journal"].items()}
        return {
            "counts": {
                "articles_read": articles,
                "articles_failed": failed,
                "articles_without_text": self.without_text,
                "passages_found": len(fate),
                "passages_kept": kept,
                "dropped": dropped,
            },
            "splits": {split: self._split_facts(split) for split in full},
            "empty_splits": [split for split in SPLITS if split not in full],
            "licences": _by_count(self._values["licence"]),
            "languages": _by_count(self._values["language"]),
            "rights": self._with_rights,
            "article_types": _by_count(self._values["article_type"]),
            "journals": {
                "different": len(set(journals) - {"unknown"}),
                "top": dict([*_by_count(journals).items()][:TOP_JOURNALS]),
            },
            "years": {
                str(year): count
                for year, count in sorted(self._values["year"].items(), key=lambda item: item[0] or 0)
                if year is not None
            },
        }

    def _split_facts(self, split: Split) -> dict[str, Any]:
        found = [*SECTIONS[:2]] + [section for section in SECTIONS[2:] if self._passages[split, section]]
        return {
            "passages": sum(self._passages[split, section] for section in SECTIONS),
            "documents": self._documents[split],
            "characters": sum(self._characters[split, section] for section in SECTIONS),
            "sections": {
                section: {
                    "passages": self._passages[split, section],
                    "characters": self._characters[split, section],
                }
                for section in found
            },
        }


def _by_count(counter: Mapping[str | None, int]) -> dict[str, int]:
    named = [(name or "unknown", count) for name, count in counter.items()]
    return dict(sorted(named, key=lambda item: (-item[1], item[0])))
