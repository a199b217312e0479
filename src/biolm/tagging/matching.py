"""Which predicted mention is meant for which gold one, where they do not agree exactly.

One matching serves every scheme and the list of errors, so that all of them tell the same story: each gold mention
has at most one predicted one and the other way round, and of all such matchings it is the one with most pairs of the
same span and type, then of the same span, then of overlapping spans and the same type, then of overlapping spans,
then of shared characters. How many pairs of each kind there are so depends on nothing else, the order of mentions in
a file least of all. The price: a scheme that does not look at types might alone have matched a few mentions more.

Not nervaluate (1.2.1): it gives each prediction in turn the first free gold mention that it overlaps, and so takes
from a later prediction the one that it has found exactly. Of gold 0-10 and predicted 0-5 and 0-10, all of one type,
it counts none correct in its strict scheme (tests/tagging/test_matching.py).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from biolm.mentions import Mention
from biolm.tagging.pairs import Pair, overlap

Kind = Literal["correct", "wrong type", "wrong boundaries", "wrong type and boundaries", "missed", "spurious"]


@dataclass(frozen=True, slots=True)
class Match:
    """A gold mention and what was predicted for it."""

    kind: Kind
    gold: Mention | None
    """None for a spurious one."""
    predicted: Mention | None
    """None for a missed one."""


def matches(pair: Pair) -> list[Match]:
    """Every mention of a document once, matched or not, by where it stands."""
    same = pair.gold_mentions.keys() & pair.predicted_mentions.keys()
    found = [Match("correct", pair.gold_mentions[key], pair.predicted_mentions[key]) for key in same]
    # Pairs of the same span and type are in the best matching whatever else is.
    gold = [mention for key, mention in pair.gold_mentions.items() if key not in same]
    predicted = [mention for key, mention in pair.predicted_mentions.items() if key not in same]
    for some_gold, some_predicted in _clusters(gold, predicted):
        found += _best(some_gold, some_predicted)
    return sorted(found, key=_place)


def _place(match: Match) -> tuple[int, int, str, str]:
    mention = match.gold or match.predicted
    assert mention is not None
    return mention.start, mention.end, mention.type, match.kind


def _clusters(gold: list[Mention], predicted: list[Mention]) -> Iterator[tuple[list[Mention], list[Mention]]]:
    """Mentions cut where none goes on, so that no two of different clusters overlap."""
    mentions = [*((mention, 0) for mention in gold), *((mention, 1) for mention in predicted)]
    mentions.sort(key=lambda each: (each[0].start, each[0].end, each[0].type, each[1]))
    cluster: tuple[list[Mention], list[Mention]] = ([], [])
    end = 0
    for mention, side in mentions:
        if mention.start >= end and any(cluster):
            yield cluster
            cluster = ([], [])
        cluster[side].append(mention)
        end = max(end, mention.end)
    if any(cluster):
        yield cluster


def _best(gold: list[Mention], predicted: list[Mention]) -> Iterator[Match]:
    """The best matching of a cluster; its mentions come in order."""
    unit = 1 + sum(mention.end - mention.start for mention in gold)  # more than all shared characters
    step = 1 + min(len(gold), len(predicted))  # more than all pairs of a kind
    worth = {
        "wrong type": unit * step**2,
        "wrong boundaries": unit * step,
        "wrong type and boundaries": unit,
    }

    def worth_of(first: Mention, second: Mention) -> int:
        shared = overlap(first, second)
        return worth[_kind(first, second)] + shared if shared else 0

    turned = len(gold) > len(predicted)
    rows, columns = (predicted, gold) if turned else (gold, predicted)
    column_of = heaviest_matching([[worth_of(row, column) for column in columns] for row in rows])
    pairs = [(column, row) if turned else (row, column) for row, column in enumerate(column_of)]
    pairs = [(i, j) for i, j in pairs if overlap(gold[i], predicted[j])]
    for i, j in pairs:
        yield Match(_kind(gold[i], predicted[j]), gold[i], predicted[j])
    left_gold, left_predicted = {i for i, _ in pairs}, {j for _, j in pairs}
    yield from (Match("missed", mention, None) for i, mention in enumerate(gold) if i not in left_gold)
    yield from (
        Match("spurious", None, mention) for j, mention in enumerate(predicted) if j not in left_predicted
    )


def _kind(gold: Mention, predicted: Mention) -> Kind:
    same_span = (gold.start, gold.end) == (predicted.start, predicted.end)
    if gold.type == predicted.type:
        return "correct" if same_span else "wrong boundaries"
    return "wrong type" if same_span else "wrong type and boundaries"


def heaviest_matching(weights: Sequence[Sequence[int]]) -> list[int]:
    """The column of each row, all different, whose weights add up to most. There are at least as many columns as rows.

    The Hungarian method with potentials (Kuhn 1955; Jonker and Volgenant 1987), in rows² × columns steps and exact
    integers: scipy's `linear_sum_assignment` computes with floats, which cannot hold weights of four ranks.
    """
    if not weights:
        return []
    columns = len(weights[0])
    row_of = [-1] * (columns + 1)  # the last column is where a new row starts from
    row_potential, column_potential = [0] * len(weights), [0] * (columns + 1)
    for new in range(len(weights)):
        row_of[columns] = new
        column = columns
        slack: list[int | None] = [None] * columns
        came_from = [columns] * columns
        used: list[int] = []
        free = set(range(columns))
        while row_of[column] != -1:
            used.append(column)
            row = row_of[column]
            nearest, least = -1, None
            for other in sorted(free):
                reduced = -weights[row][other] - row_potential[row] - column_potential[other]
                known = slack[other]
                if known is None or reduced < known:
                    slack[other] = known = reduced
                    came_from[other] = column
                if least is None or known < least:
                    nearest, least = other, known
            assert least is not None
            for reached in used:
                row_potential[row_of[reached]] += least
                column_potential[reached] -= least
            for other in free:
                known = slack[other]
                assert known is not None
                slack[other] = known - least
            free.remove(nearest)
            column = nearest
        while column != columns:
            row_of[column] = row_of[came_from[column]]
            column = came_from[column]
    found = [-1] * len(weights)
    for column, row in enumerate(row_of[:columns]):
        if row >= 0:
            found[row] = column
    return found
