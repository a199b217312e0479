"""Every score of a prediction, together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from biolm.batches.bootstrap import BOOTSTRAP_SEED, REPLICATES
from biolm.tagging.intervals import Interval, intervals
from biolm.tagging.matching import Kind
from biolm.tagging.pairs import Pair
from biolm.tagging.schemes import Scheme, SchemeCounts, kind_counts, scheme_counts
from biolm.tagging.scores import Counts, RelaxedCounts, Scores, relaxed_scores, span_scores, strict_scores
from biolm.tagging.seen import Name, SeenRecall, seen_recall


@dataclass(frozen=True, slots=True)
class Report:
    """How well a prediction agrees with gold, from the strictest reading to the most lenient."""

    documents: int
    strict: Scores
    intervals: dict[str, Interval]
    """Of the strict scores: `precision`, `recall`, `f1`, `macro_f1`."""
    span: Counts
    """Types ignored."""
    relaxed: RelaxedCounts
    relaxed_types: dict[str, RelaxedCounts]
    kinds: dict[Kind, int]
    """What became of the mentions in the best matching."""
    schemes: dict[Scheme, SchemeCounts]
    """The same, as each scheme counts it."""
    seen: SeenRecall | None
    """None where no training mentions were given."""

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "documents": self.documents,
            "strict": self.strict.as_dict(),
            "intervals": {name: interval.as_dict() for name, interval in self.intervals.items()},
            "span": self.span.as_dict(),
            "relaxed": {
                "micro": self.relaxed.as_dict(),
                "types": {type_: counts.as_dict() for type_, counts in self.relaxed_types.items()},
            },
            "kinds": dict(self.kinds),
            "schemes": {scheme: counts.as_dict() for scheme, counts in self.schemes.items()},
            "seen": self.seen.as_dict() if self.seen else None,
        }


def score(
    pairs: Sequence[Pair],
    *,
    known: frozenset[Name] | None = None,
    replicates: int = REPLICATES,
    seed: int = BOOTSTRAP_SEED,
) -> Report:
    """Score what `biolm.tagging.pairs.paired` joined.

    `known`: the names of the training mentions (`biolm.tagging.seen.names_in`), for recall on the others.
    """
    kinds = kind_counts(pairs)
    relaxed, relaxed_types = relaxed_scores(pairs)
    return Report(
        documents=len(pairs),
        strict=strict_scores(pairs),
        intervals=intervals(pairs, replicates=replicates, seed=seed),
        span=span_scores(pairs),
        relaxed=relaxed,
        relaxed_types=relaxed_types,
        kinds=kinds,
        schemes=scheme_counts(kinds),
        seen=None if known is None else seen_recall(pairs, known),
    )
