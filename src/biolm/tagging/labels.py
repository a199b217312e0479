"""Labels of units: which there are, which may follow which, and the way from mentions to labels and back."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ModelError
from biolm.mentions import Mention
from biolm.tagging.units import Units

OUTSIDE = "O"
_BEGINS = {"B": False, "S": True, "U": True}
"""Prefixes that begin a mention, and whether they also end it."""
_GOES_ON = {"I": False, "E": True, "L": True, "M": False}
INSIDE_WORD, OVERLAPPING, WITHOUT_TOKENS = "inside a word", "overlapping", "without tokens"


@dataclass(frozen=True, slots=True)
class Label:
    """One label's parts."""

    type: str | None
    """None for O."""
    begins: bool
    """Whether it begins a mention whatever comes before."""
    ends: bool
    """Whether the mention ends with it whatever comes behind."""
    only_goes_on: bool
    """Whether it needs a mention of its type before it."""


class LabelSet:
    """The labels of a model, in the order of its scores.

    Any of the usual schemes: IOB2 ("B-X", "I-X"), IOBES and BILOU, IOB1 or plain types. What biolm trains is IOB2. The
    names of IOB1 and IOB2 are the same.
    """

    def __init__(self, names: Sequence[str], *, strict: bool = True) -> None:
        """`strict`: where there are labels that begin a mention (B-, S-, U-), I- and E- only go on with one; else I-
        may begin one too, as IOB1 has it and conlleval reads it.

        Raises ModelError where there is no O, by which it could be told what is no mention.
        """
        self.names = tuple(names)
        if OUTSIDE not in self.names or len(set(self.names)) < len(self.names):
            raise ModelError(
                f"the model's labels are {', '.join(self.names[:8])}: token classification wants {OUTSIDE} among them, "
                "and each once; give its config.json an id2label of such names"
            )
        self.outside = self.names.index(OUTSIDE)
        strict = strict and any(name[:2] in ("B-", "S-", "U-") for name in self.names)
        self.labels = tuple(_label(name, strict) for name in self.names)
        types = dict.fromkeys(label.type for label in self.labels if label.type is not None)
        self.types = tuple(types)
        """Of mentions, in the order of their labels."""
        count = len(self.names)
        self.allowed = np.ones((count, count), bool)
        """(labels, labels): [i, j] whether j may stand right behind i."""
        self.may_start = np.array([not label.only_goes_on for label in self.labels])
        """(labels,) whether it may stand first."""
        for i, one in enumerate(self.labels):
            for j, other in enumerate(self.labels):
                open_ = one.type is not None and not one.ends and one.type == other.type
                self.allowed[i, j] = open_ or not other.only_goes_on

    @classmethod
    def iob2(cls, types: Iterable[str], *, starts_only: Iterable[str] = ()) -> "LabelSet":
        """O, then B-X and I-X of each type; of `starts_only` B-X alone (their mentions are one unit)."""
        single = set(starts_only)
        names = [OUTSIDE]
        for kind in types:
            names += [f"B-{kind}"] + [f"I-{kind}"] * (kind not in single)
        return cls(names)

    @classmethod
    def of(cls, id2label: Mapping[int, str], *, strict: bool = True) -> "LabelSet":
        """Those of a model's configuration."""
        return cls([id2label[number] for number in sorted(id2label)], strict=strict)

    def encode(self, units: Units, mentions: Sequence[Mention]) -> tuple[NDArray[np.int64], Counter[str]]:
        """(units,) the labels of mentions, and how many could not be said exactly, by reason.

        A mention that begins or ends inside a unit labels the whole unit ("inside a word"). Of mentions that share a
        unit the longest is kept, of equally long ones the first ("overlapping"). One that shares a character with no
        unit is left out ("without tokens"). Types that the set has not are ignored.
        """
        found = np.full(len(units), self.outside)
        lost: Counter[str] = Counter()
        taken = np.zeros(len(units), bool)
        known = [mention for mention in mentions if mention.type in self.types]
        for mention in sorted(known, key=lambda each: (each.start - each.end, each.start)):
            first, end = units.overlapping(mention.start, mention.end)
            begin = self._find("B", mention.type)
            inside = self._find("I", mention.type)
            if first == end:
                lost[WITHOUT_TOKENS] += 1
                continue
            if taken[first:end].any():
                lost[OVERLAPPING] += 1
                continue
            taken[first:end] = True
            whole = (int(units.spans[first, 0]), int(units.spans[end - 1, 1]))
            lost[INSIDE_WORD] += whole != (mention.start, mention.end)
            found[first] = begin
            found[first + 1 : end] = inside
        return found, +lost

    def spans(self, labels: NDArray[np.int64]) -> list[tuple[int, int, str]]:
        """(first unit, one behind the last, type) of each mention in (units,) labels that follow the rules."""
        found: list[tuple[int, int, str]] = []
        closed = True
        for place in np.flatnonzero(labels != self.outside).tolist():
            label = self.labels[labels[place]]
            assert label.type is not None
            if not closed and not label.begins and found[-1][1:] == (place, label.type):
                found[-1] = (found[-1][0], place + 1, label.type)
            else:
                found.append((place, place + 1, label.type))
            closed = label.ends
        return found

    def _find(self, prefix: str, kind: str) -> int:
        """The number of a label; a type without I- is written with B- alone, a plain one without prefix."""
        for name in (f"{prefix}-{kind}", f"B-{kind}", f"I-{kind}", kind):
            if name in self.names:
                return self.names.index(name)
        raise ModelError(f"no label for the type {kind} among {', '.join(self.names)}")


def _label(name: str, strict: bool) -> Label:
    if name == OUTSIDE:
        return Label(None, begins=False, ends=False, only_goes_on=False)
    prefix, dash, kind = name.partition("-")
    if dash and kind and prefix in _BEGINS:
        return Label(kind, begins=True, ends=_BEGINS[prefix], only_goes_on=False)
    if dash and kind and prefix in _GOES_ON:
        return Label(kind, begins=False, ends=_GOES_ON[prefix], only_goes_on=strict)
    return Label(name, begins=False, ends=False, only_goes_on=False)
