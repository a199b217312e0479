"""A tagger against gold documents: the report of its mentions, by the code that tags at use."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from biolm.mentions import Document
from biolm.tagging.pairs import paired
from biolm.tagging.report import Report, score
from biolm.tagging.seen import Name
from biolm.tagging.tagger import Tagger
from biolm.tagging.tasks import Example


def predicted(tagger: Tagger, given: Sequence[Example]) -> list[Document]:
    """The documents of examples, with what the tagger finds in place of what is known of them."""
    texts = [example.document.text for example in given]
    found = tagger.tag(texts, [example.entities for example in given])
    return [
        replace(example.document, mentions=tuple(mentions))
        for example, mentions in zip(given, found, strict=True)
    ]


def measure(tagger: Tagger, given: Sequence[Example], *, known: frozenset[Name] | None = None) -> Report:
    """Its scores on gold examples, whose mentions all count, those of types that it does not know too.

    `known`: names of the training mentions, for recall on the others.
    """
    gold = [example.document for example in given]
    return score(paired(gold, predicted(tagger, given)), known=known)


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure of several runs."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the runs; NaN for none."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def deviation(self) -> float | None:
        """The sample's standard deviation; None for a single run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"mean": self.mean, "sd": self.deviation, "values": list(self.values)}

    def __str__(self) -> str:
        """In points: "85.3 ± 0.4"."""
        text = f"{100 * self.mean:.2f}"
        return text if self.deviation is None else f"{text} ± {100 * self.deviation:.2f}"
