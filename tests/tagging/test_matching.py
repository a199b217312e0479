"""The best matching, against trying them all; and why it is not nervaluate's."""

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm.mentions import Document, Mention
from biolm.tagging.matching import heaviest_matching, matches
from biolm.tagging.pairs import Pair, paired
from biolm.tagging.schemes import SCHEMES, differences, kind_counts, scheme_counts

Key = tuple[int, int, str]
KINDS = ("correct", "wrong type", "wrong boundaries", "wrong type and boundaries")
TEXT = "x" * 12


def document(mentions: list[Key], text: str = TEXT) -> Document:
    return Document("d", text, tuple(Mention(*mention) for mention in mentions))


def pair_of(gold: list[Key], predicted: list[Key]) -> Pair:
    return paired([document(gold)], [document(predicted)])[0]


def kind_of(gold: Key, predicted: Key) -> str | None:
    if gold == predicted:
        return "correct"
    if gold[:2] == predicted[:2]:
        return "wrong type"
    if min(gold[1], predicted[1]) <= max(gold[0], predicted[0]):
        return None
    return "wrong boundaries" if gold[2] == predicted[2] else "wrong type and boundaries"


def all_matchings(gold: list[Key], predicted: list[Key]) -> Iterator[Counter[str]]:
    """What every one-to-one matching counts, by trying each partner of the first gold mention, and none."""
    if not gold:
        yield Counter({"spurious": len(predicted)})
        return
    for rest in all_matchings(gold[1:], predicted):
        yield rest + Counter(["missed"])
    for place, each in enumerate(predicted):
        kind = kind_of(gold[0], each)
        if kind:
            for rest in all_matchings(gold[1:], predicted[:place] + predicted[place + 1 :]):
                yield rest + Counter([kind])


def best_by_trying(gold: list[Key], predicted: list[Key]) -> Counter[str]:
    return max(all_matchings(gold, predicted), key=lambda counts: [counts[kind] for kind in KINDS])


mentions = st.lists(
    st.tuples(st.integers(0, 9), st.integers(1, 5), st.sampled_from("AB")).map(
        lambda each: (each[0], min(12, each[0] + each[1]), each[2])
    ),
    max_size=4,
    unique=True,
)


@settings(deadline=None)
@given(mentions, mentions)
def test_no_matching_is_better(gold: list[Key], predicted: list[Key]):
    counted = kind_counts([pair_of(gold, predicted)])
    assert +Counter(counted) == +best_by_trying(gold, predicted)


@settings(deadline=None)
@given(mentions, mentions, st.randoms(use_true_random=False))
def test_the_order_of_mentions_does_not_matter(gold: list[Key], predicted: list[Key], random):
    before = matches(pair_of(gold, predicted))
    random.shuffle(gold)
    random.shuffle(predicted)
    assert matches(pair_of(gold, predicted)) == before


@settings(deadline=None)
@given(mentions, mentions)
def test_every_mention_is_told_of_once_and_counts_add_up_in_every_scheme(
    gold: list[Key], predicted: list[Key]
):
    pair = pair_of(gold, predicted)
    found = matches(pair)
    assert sorted(map(repr, (match.gold for match in found if match.gold))) == sorted(
        map(repr, pair.gold_mentions.values())
    )
    assert len([match for match in found if match.predicted]) == len(predicted)
    schemes = scheme_counts(kind_counts([pair]))
    assert list(schemes) == list(SCHEMES) == ["strict", "exact", "partial", "type"]
    for counts in schemes.values():
        assert (counts.gold, counts.predicted) == (len(gold), len(predicted))
    assert schemes["strict"].correct == len(set(gold) & set(predicted))


@settings(deadline=None)
@given(
    st.integers(0, 4).flatmap(
        lambda rows: st.lists(
            st.lists(st.integers(-5, 20), min_size=rows + 1, max_size=rows + 1), min_size=rows, max_size=rows
        )
    )
)
def test_the_heaviest_matching_is_the_heaviest(weights: list[list[int]]):
    def most(rows: list[list[int]], taken: frozenset[int] = frozenset()) -> int:
        if not rows:
            return 0
        return max(
            weight + most(rows[1:], taken | {column})
            for column, weight in enumerate(rows[0])
            if column not in taken
        )

    columns = heaviest_matching(weights)
    assert len(set(columns)) == len(weights)
    assert sum(row[column] for row, column in zip(weights, columns, strict=True)) == most(weights)


@pytest.mark.parametrize("turned", [False, True])
def test_an_exact_prediction_is_correct_beside_one_that_overlaps(turned: bool):
    """nervaluate 1.2.1 gives the first prediction the gold mention: strict 0 correct, 1 incorrect, 1 spurious."""
    predicted = [(0, 5, "A"), (0, 10, "A")]
    counts = scheme_counts(kind_counts([pair_of([(0, 10, "A")], predicted[:: -1 if turned else 1])]))
    assert (counts["strict"].correct, counts["strict"].incorrect, counts["strict"].spurious) == (1, 0, 1)


@pytest.mark.parametrize("turned", [False, True])
def test_mentions_side_by_side_are_matched_as_far_as_they_can_be(turned: bool):
    """nervaluate 1.2.1 counts for "type" 1 correct, 1 missed, 1 spurious in this order, and 2 correct in the other."""
    predicted = [(3, 8, "A"), (9, 10, "A")]
    counts = scheme_counts(
        kind_counts([pair_of([(0, 4, "A"), (5, 10, "A")], predicted[:: -1 if turned else 1])])
    )
    assert (counts["type"].correct, counts["type"].missed, counts["type"].spurious) == (2, 0, 0)


def test_one_character_of_a_long_mention_is_an_overlap():
    """nervaluate's default wants one hundredth of the gold mention."""
    text = "x" * 200
    gold, predicted = document([(0, 150, "A")], text), document([(149, 160, "A")], text)
    assert kind_counts(paired([gold], [predicted]))["wrong boundaries"] == 1


def test_schemes_by_hand():
    """The scenarios of SemEval-2013 task 9: right, wrong type, wrong boundaries, both, missed, spurious."""
    gold = [(0, 2, "A"), (2, 4, "A"), (4, 6, "A"), (6, 8, "A"), (8, 9, "A")]
    predicted = [(0, 2, "A"), (2, 4, "B"), (4, 5, "A"), (7, 8, "B"), (10, 11, "A")]
    pairs = [pair_of(gold, predicted)]
    schemes = scheme_counts(kind_counts(pairs))
    told = {
        name: (each.correct, each.incorrect, each.partial, each.missed, each.spurious)
        for name, each in schemes.items()
    }
    assert told == {
        "strict": (1, 3, 0, 1, 1),
        "exact": (2, 2, 0, 1, 1),
        "partial": (2, 0, 2, 1, 1),
        "type": (2, 2, 0, 1, 1),
    }
    assert schemes["partial"].as_dict() == {
        "correct": 2,
        "incorrect": 0,
        "partial": 2,
        "missed": 1,
        "spurious": 1,
        "gold": 5,
        "predicted": 5,
        "precision": 0.6,
        "recall": 0.6,
        "f1": 0.6,
    }
    assert [
        (
            id_,
            match.kind,
            match.gold and (match.gold.start, match.gold.type),
            match.predicted and (match.predicted.start, match.predicted.type),
        )
        for id_, match in differences(pairs)
    ] == [
        ("d", "wrong type", (2, "A"), (2, "B")),
        ("d", "wrong boundaries", (4, "A"), (4, "A")),
        ("d", "wrong type and boundaries", (6, "A"), (7, "B")),
        ("d", "missed", (8, "A"), None),
        ("d", "spurious", None, (10, "A")),
    ]


def test_of_two_that_overlap_the_one_that_shares_more_is_meant():
    found = matches(pair_of([(0, 10, "A")], [(0, 2, "A"), (3, 9, "A")]))
    assert [
        (match.kind, match.predicted and (match.predicted.start, match.predicted.end)) for match in found
    ] == [
        ("spurious", (0, 2)),
        ("wrong boundaries", (3, 9)),
    ]
