"""How well predicted mentions agree with gold ones: exactly, by span alone, or in part.

Counts are of mentions over all documents (micro). A quotient of nothing is NaN here and null in JSON, not 0: a model
that predicts nothing has a recall of 0, an F1 of 0 and no precision. conlleval and seqeval print 0 for it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.mentions import Mention
from biolm.tagging.pairs import Key, Pair, overlap


@dataclass(frozen=True, slots=True)
class Counts:
    """Mentions in gold, mentions predicted, and those that are in both."""

    gold: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float:
        """Share of the predicted that is correct."""
        return ratio(self.correct, self.predicted)

    @property
    def recall(self) -> float:
        """Share of gold that is found."""
        return ratio(self.correct, self.gold)

    @property
    def f1(self) -> float:
        """The harmonic mean of both; 0 where nothing is correct, NaN only where there is nothing in either."""
        return ratio(2 * self.correct, self.gold + self.predicted)

    def as_dict(self) -> dict[str, Any]:
        """Counts and quotients, for JSON."""
        return {**asdict(self), **quotients(self)}


@dataclass(frozen=True, slots=True)
class RelaxedCounts:
    """Mentions that overlap one of the same type on the other side, by however little.

    One prediction may find several gold mentions, and several one: joined or split mentions count as right, so this
    is the most lenient reading.
    """

    gold: int
    predicted: int
    found: int
    """Of gold."""
    right: int
    """Of the predicted."""

    @property
    def precision(self) -> float:
        """Share of the predicted that is right."""
        return ratio(self.right, self.predicted)

    @property
    def recall(self) -> float:
        """Share of gold that is found."""
        return ratio(self.found, self.gold)

    @property
    def f1(self) -> float:
        """The harmonic mean of both; NaN only where there is nothing in either."""
        if not self.right:  # then nothing is found either
            return ratio(0, self.gold + self.predicted)
        return harmonic(self.precision, self.recall)

    def as_dict(self) -> dict[str, Any]:
        """Counts and quotients, for JSON."""
        return {**asdict(self), **quotients(self)}


@dataclass(frozen=True, slots=True)
class Scores:
    """Counts by type and over all types."""

    types: dict[str, Counts]
    """Every type that occurs in gold or in the prediction, by name."""
    repeated_gold: int
    """Mentions left out since the same start, end and type stood in the document before."""
    repeated_predicted: int

    @property
    def micro(self) -> Counts:
        """Over all types."""
        counts = self.types.values()
        return Counts(
            sum(each.gold for each in counts),
            sum(each.predicted for each in counts),
            sum(each.correct for each in counts),
        )

    @property
    def macro_f1(self) -> float:
        """The plain mean of the types' F1, over the types that occur in gold or in the prediction.

        So one prediction of a type that gold does not know adds a type with an F1 of 0, as in scikit-learn and seqeval.
        """
        return ratio(math.fsum(each.f1 for each in self.types.values()), len(self.types))

    def as_dict(self) -> dict[str, Any]:
        """`micro`, `macro_f1`, `types`, `repeated`, for JSON."""
        return {
            "micro": self.micro.as_dict(),
            "macro_f1": finite(self.macro_f1),
            "types": {name: counts.as_dict() for name, counts in self.types.items()},
            "repeated": {"gold": self.repeated_gold, "predicted": self.repeated_predicted},
        }


@dataclass(frozen=True, slots=True)
class CountTable:
    """What each document has of each type: what strict scores and their intervals are made from."""

    ids: tuple[str, ...]
    types: tuple[str, ...]
    counts: NDArray[np.int64]
    """(documents, types, 3): in gold, predicted, in both."""


def count_table(pairs: Sequence[Pair]) -> CountTable:
    """Mentions of each document and type, the same where start, end and type are."""
    types = sorted({type_ for pair in pairs for *_, type_ in (*pair.gold_mentions, *pair.predicted_mentions)})
    place = {type_: at for at, type_ in enumerate(types)}
    counts = np.zeros((len(pairs), len(types), 3), np.int64)
    for row, pair in enumerate(pairs):
        gold, predicted = pair.gold_mentions.keys(), pair.predicted_mentions.keys()
        sides: tuple[Iterable[Key], ...] = (gold, predicted, gold & predicted)
        for column, keys in enumerate(sides):
            for *_, type_ in keys:
                counts[row, place[type_], column] += 1
    return CountTable(tuple(pair.gold.id for pair in pairs), tuple(types), counts)


def strict_scores(pairs: Sequence[Pair]) -> Scores:
    """A mention is correct where start, end and type are the same.

    A discontinuous gold mention is one like others: it is missed unless its covering span is predicted.
    """
    table = count_table(pairs)
    totals = table.counts.sum(0)
    types = {type_: Counts(*map(int, totals[at])) for at, type_ in enumerate(table.types)}
    repeated = [pair.repeated for pair in pairs]
    return Scores(types, sum(gold for gold, _ in repeated), sum(predicted for _, predicted in repeated))


def span_scores(pairs: Sequence[Pair]) -> Counts:
    """A span is correct where start and end are the same; one that bears two types is one span."""
    gold = predicted = correct = 0
    for pair in pairs:
        in_gold = {(start, end) for start, end, _ in pair.gold_mentions}
        found = {(start, end) for start, end, _ in pair.predicted_mentions}
        gold, predicted, correct = (
            gold + len(in_gold),
            predicted + len(found),
            correct + len(in_gold & found),
        )
    return Counts(gold, predicted, correct)


def relaxed_scores(pairs: Sequence[Pair]) -> tuple[RelaxedCounts, dict[str, RelaxedCounts]]:
    """Over all types, and by type: a mention counts where it overlaps one of the same type on the other side."""
    by_type: dict[str, list[int]] = {}
    for pair in pairs:
        gold, predicted = _by_type(pair.gold_mentions), _by_type(pair.predicted_mentions)
        for type_ in gold.keys() | predicted.keys():
            ours, theirs = gold.get(type_, []), predicted.get(type_, [])
            added = (len(ours), len(theirs), _touched(ours, theirs), _touched(theirs, ours))
            before = by_type.get(type_, [0, 0, 0, 0])
            by_type[type_] = [old + new for old, new in zip(before, added, strict=True)]
    types = {type_: RelaxedCounts(*counts) for type_, counts in sorted(by_type.items())}
    totals = [sum(counts[at] for counts in by_type.values()) for at in range(4)]
    return RelaxedCounts(*totals), types


def _by_type(mentions: dict[Key, Mention]) -> dict[str, list[Mention]]:
    found: dict[str, list[Mention]] = {}
    for mention in mentions.values():  # by start, as `paired` put them
        found.setdefault(mention.type, []).append(mention)
    return found


def _touched(mentions: Sequence[Mention], others: Sequence[Mention]) -> int:
    """How many mentions overlap one of the others; both by start."""
    count = first = 0
    for mention in mentions:
        while first < len(others) and others[first].end <= mention.start:
            first += 1  # ends before this mention, and so before all later ones
        for other in others[first:]:
            if other.start >= mention.end:
                break
            if overlap(mention, other):
                count += 1
                break
    return count


def ratio(part: float, whole: float) -> float:
    """A quotient, NaN where the whole is 0."""
    return part / whole if whole else math.nan


def harmonic(first: float, second: float) -> float:
    """The harmonic mean of two numbers that are not both 0."""
    return 2 * first * second / (first + second)


def finite(value: float) -> float | None:
    """None for NaN, which JSON cannot say."""
    return value if math.isfinite(value) else None


class HasQuotients(Protocol):
    """Counts of one kind or another."""

    @property
    def precision(self) -> float:
        """Of the predicted."""

    @property
    def recall(self) -> float:
        """Of gold."""

    @property
    def f1(self) -> float:
        """Of both."""


def quotients(counts: HasQuotients) -> dict[str, float | None]:
    """`precision`, `recall` and `f1`, for JSON."""
    return {
        "precision": finite(counts.precision),
        "recall": finite(counts.recall),
        "f1": finite(counts.f1),
    }
