"""What went into a corpus and what did not: every passage found is kept or dropped for a reason."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from biolm.corpus.passages import REASONS, Reason
from biolm.corpus.split import SPLITS, Split
from biolm.records import Passage, Section

SECTIONS: tuple[Section, ...] = ("abstract", "figure_legend")


class Counts:
    """Counted while a corpus is built; `facts` is what the manifest says."""

    def __init__(self) -> None:
        self.articles_read = 0
        self.articles_failed = 0
        self.passages_found = 0
        self.dropped: Counter[Reason] = Counter()
        self.first_failure = ""
        self._passages: Counter[tuple[Split, Section]] = Counter()
        self._characters: Counter[tuple[Split, Section]] = Counter()
        self._documents: Counter[Split] = Counter()
        self._licences: Counter[str] = Counter()
        self._languages: Counter[str] = Counter()
        self._has_passages = bytearray()

    @property
    def passages_kept(self) -> int:
        """Passages written, in all splits."""
        return self._passages.total()

    def keep(self, passages: Sequence[Passage], split: Split, document_number: int) -> None:
        """Count the passages of one article that are written to a split."""
        for passage in passages:
            self._passages[split, passage.section] += 1
            self._characters[split, passage.section] += len(passage.text)
            self._licences[passage.licence] += 1
            self._languages[passage.language or "unknown"] += 1
        if document_number >= len(self._has_passages):
            self._has_passages.extend(bytes(document_number + 1 - len(self._has_passages)))
        self._documents[split] += not self._has_passages[document_number]
        self._has_passages[document_number] = 1

    def facts(self) -> dict[str, Any]:
        """`counts`, `splits`, `empty_splits`, `licences` and `languages` of the manifest.

        Raises AssertionError unless found = kept + dropped.
        """
        if self.passages_found != self.passages_kept + self.dropped.total():
            raise AssertionError(
                f"{self.passages_found} passages found, but {self.passages_kept} kept and "
                f"{self.dropped.total()} dropped"
            )
        full = [split for split in SPLITS if self._documents[split]]
        return {
            "counts": {
                "articles_read": self.articles_read,
                "articles_failed": self.articles_failed,
                "passages_found": self.passages_found,
                "passages_kept": self.passages_kept,
                "dropped": {reason: self.dropped[reason] for reason in REASONS},
            },
            "splits": {split: self._split_facts(split) for split in full},
            "empty_splits": [split for split in SPLITS if split not in full],
            "licences": _by_count(self._licences),
            "languages": _by_count(self._languages),
        }

    def _split_facts(self, split: Split) -> dict[str, Any]:
        return {
            "passages": sum(self._passages[split, section] for section in SECTIONS),
            "documents": self._documents[split],
            "characters": sum(self._characters[split, section] for section in SECTIONS),
            "sections": {
                section: {
                    "passages": self._passages[split, section],
                    "characters": self._characters[split, section],
                }
                for section in SECTIONS
            },
        }


def _by_count(counter: Counter[str]) -> dict[str, int]:
    return dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))
