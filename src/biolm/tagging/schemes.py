"""Partial agreement, counted as in MUC-5 (Chinchor and Sundheim 1993) and SemEval-2013 task 9.

The schemes and their names are those of nervaluate 1.2.1 (its "ent_type" is our "type"); the counts are our own, from
one best matching (`biolm.tagging.matching` says why).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from biolm.tagging.matching import Kind, Match, matches
from biolm.tagging.pairs import Pair
from biolm.tagging.scores import quotients, ratio

Scheme = Literal["strict", "exact", "partial", "type"]
SCHEMES: dict[Scheme, dict[Kind, str]] = {
    "strict": {
        "correct": "correct",
        "wrong type": "incorrect",
        "wrong boundaries": "incorrect",
        "wrong type and boundaries": "incorrect",
    },
    "exact": {
        "correct": "correct",
        "wrong type": "correct",
        "wrong boundaries": "incorrect",
        "wrong type and boundaries": "incorrect",
    },
    "partial": {
        "correct": "correct",
        "wrong type": "correct",
        "wrong boundaries": "partial",
        "wrong type and boundaries": "partial",
    },
    "type": {
        "correct": "correct",
        "wrong type": "incorrect",
        "wrong boundaries": "correct",
        "wrong type and boundaries": "incorrect",
    },
}
"""What a matched pair counts as: strict wants span and type, exact the span, partial gives half for an overlap, type
wants an overlap and the type. Mentions without a partner are missed or spurious in every scheme."""


@dataclass(frozen=True, slots=True)
class SchemeCounts:
    """Mentions by what became of them in one scheme. A partial pair counts half."""

    correct: int
    incorrect: int
    partial: int
    missed: int
    spurious: int

    @property
    def gold(self) -> int:
        """Mentions in gold ("possible" in MUC)."""
        return self.correct + self.incorrect + self.partial + self.missed

    @property
    def predicted(self) -> int:
        """Mentions predicted ("actual" in MUC)."""
        return self.correct + self.incorrect + self.partial + self.spurious

    @property
    def precision(self) -> float:
        """Share of the predicted that is correct."""
        return ratio(self.correct + self.partial / 2, self.predicted)

    @property
    def recall(self) -> float:
        """Share of gold that is found."""
        return ratio(self.correct + self.partial / 2, self.gold)

    @property
    def f1(self) -> float:
        """The harmonic mean of both; NaN only where there is nothing in either."""
        return ratio(2 * self.correct + self.partial, self.gold + self.predicted)

    def as_dict(self) -> dict[str, Any]:
        """Counts and quotients, for JSON."""
        return {**asdict(self), "gold": self.gold, "predicted": self.predicted, **quotients(self)}


def kind_counts(pairs: Sequence[Pair]) -> dict[Kind, int]:
    """How many pairs and single mentions of each kind the best matching has."""
    counted = Counter(match.kind for pair in pairs for match in matches(pair))
    kinds: tuple[Kind, ...] = (*SCHEMES["strict"], "missed", "spurious")
    return {kind: counted[kind] for kind in kinds}


def scheme_counts(kinds: dict[Kind, int]) -> dict[Scheme, SchemeCounts]:
    """The counts of every scheme, from `kind_counts`."""
    found = {}
    for scheme, counts_as in SCHEMES.items():
        counts = Counter({"missed": kinds["missed"], "spurious": kinds["spurious"]})
        for kind, outcome in counts_as.items():
            counts[outcome] += kinds[kind]
        found[scheme] = SchemeCounts(
            counts["correct"], counts["incorrect"], counts["partial"], counts["missed"], counts["spurious"]
        )
    return found


def differences(pairs: Sequence[Pair]) -> Iterator[tuple[str, Match]]:
    """(document id, match) of everything that is not correct, in the documents' order and by place in each."""
    for pair in pairs:
        for match in matches(pair):
            if match.kind != "correct":
                yield pair.gold.id, match
