"""Recall on names that training showed and on names that it did not: remembered, or recognized?"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from biolm.mentions import Document
from biolm.tagging.pairs import Pair
from biolm.tagging.scores import finite, ratio

Name = tuple[str, str]
"""(type, surface form): case-folded, with each run of white space as one space."""


@dataclass(frozen=True, slots=True)
class Found:
    """Gold mentions, and those of them that were predicted with the same span and type."""

    gold: int
    correct: int

    @property
    def recall(self) -> float:
        """Their share; NaN of none."""
        return ratio(self.correct, self.gold)

    def as_dict(self) -> dict[str, Any]:
        """Counts and recall, for JSON."""
        return {**asdict(self), "recall": finite(self.recall)}


@dataclass(frozen=True, slots=True)
class SeenRecall:
    """Recall by whether a mention's name is among the training mentions of its type."""

    seen: Found
    unseen: Found
    types: dict[str, tuple[Found, Found]]
    """By type: (seen, unseen)."""

    def as_dict(self) -> dict[str, Any]:
        """`seen`, `unseen`, and both by type, for JSON."""
        return {
            "seen": self.seen.as_dict(),
            "unseen": self.unseen.as_dict(),
            "types": {
                type_: {"seen": seen.as_dict(), "unseen": unseen.as_dict()}
                for type_, (seen, unseen) in self.types.items()
            },
        }


def name_of(type_: str, surface: str) -> Name:
    """A surface form as names are compared."""
    return type_, " ".join(surface.casefold().split())


def names_in(documents: Iterable[Document]) -> frozenset[Name]:
    """The names of all mentions of some documents, those of the training set for instance."""
    return frozenset(
        name_of(mention.type, document.surface(mention))
        for document in documents
        for mention in document.mentions
    )


def seen_recall(pairs: Sequence[Pair], known: frozenset[Name]) -> SeenRecall:
    """Strict recall on gold mentions whose name is known, and on the others.

    A name that training showed only as another type is unseen.
    """
    counts: dict[str, list[list[int]]] = {}  # of seen and of unseen ones: in gold, correct
    for pair in pairs:
        for key, mention in pair.gold_mentions.items():
            is_unseen = name_of(mention.type, pair.gold.surface(mention)) not in known
            of_kind = counts.setdefault(mention.type, [[0, 0], [0, 0]])[is_unseen]
            of_kind[0] += 1
            of_kind[1] += key in pair.predicted_mentions
    types = {type_: (Found(*seen), Found(*unseen)) for type_, (seen, unseen) in sorted(counts.items())}
    return SeenRecall(
        _sum(seen for seen, _ in types.values()), _sum(unseen for _, unseen in types.values()), types
    )


def _sum(counts: Iterable[Found]) -> Found:
    every = list(counts)
    return Found(sum(each.gold for each in every), sum(each.correct for each in every))
