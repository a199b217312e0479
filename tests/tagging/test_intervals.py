"""Intervals of scores: their values, their coverage, their pairing; as `tests/evaluation/test_tally.py`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm.errors import InputError
from biolm.mentions import Document, Mention
from biolm.tagging.intervals import METRICS, compare, intervals, weights_of
from biolm.tagging.pairs import Pair, paired
from biolm.tagging.scores import strict_scores

TEXT = "x" * 400


def document(id_: str, places: list[int], type_: str = "A") -> Document:
    return Document(id_, TEXT, tuple(Mention(10 * place, 10 * place + 4, type_) for place in places))


def predictions(generator: np.random.Generator, documents: int, rates: tuple[float, ...]) -> list[list[Pair]]:
    """Pairs for models that find a share of gold; each document is as hard for all of them."""
    gold = [document(str(at), list(range(int(generator.integers(3, 30))))) for at in range(documents)]
    found: list[list[Document]] = [[] for _ in rates]
    for each in gold:
        hardness = generator.beta(8, 8) - 0.5
        for rate, side in zip(rates, found, strict=True):
            hits = generator.random(len(each.mentions)) < rate + hardness
            side.append(document(each.id, list(np.flatnonzero(hits))))
    return [paired(gold, side) for side in found]


def test_weights_are_poisson_one_and_belong_to_the_document():
    weights = weights_of("PMC5", seed=0, replicates=40_000)
    assert abs(weights.mean() - 1) < 4 / np.sqrt(40_000)
    assert abs(weights.var() - 1) < 0.06
    assert np.array_equal(weights, weights_of("PMC5", seed=0, replicates=40_000))
    assert not np.array_equal(weights, weights_of("PMC6", seed=0, replicates=40_000))
    assert not np.array_equal(weights, weights_of("PMC5", seed=1, replicates=40_000))


def test_values_are_those_of_the_scores_and_replicates_those_of_repeated_documents():
    generator = np.random.default_rng(0)
    kinds, gold, predicted = "ABC", [], []
    for at in range(12):
        keys = [(int(place), kinds[int(generator.integers(3))]) for place in generator.integers(0, 30, 8)]
        other = [(int(place), kinds[int(generator.integers(3))]) for place in generator.integers(0, 30, 3)]
        for side, chosen in ((gold, keys), (predicted, keys[: int(generator.integers(9))] + other)):
            mentions = tuple(Mention(place, place + 2, kind) for place, kind in chosen)
            side.append(Document(f"d{at}", TEXT, mentions))
    pairs = paired(gold, predicted)
    scores = strict_scores(pairs)
    found = intervals(pairs, replicates=9)
    values = (scores.micro.precision, scores.micro.recall, scores.micro.f1, scores.macro_f1)
    assert np.allclose([found[name].value for name in METRICS], values)

    weights = np.array([weights_of(pair.gold.id, seed=0, replicates=9) for pair in pairs])
    by_hand = []
    for replicate in range(9):
        copies = [
            pair for pair, count in zip(pairs, weights[:, replicate], strict=True) for _ in range(count)
        ]
        drawn = strict_scores(copies)
        by_hand.append((drawn.micro.precision, drawn.micro.recall, drawn.micro.f1, drawn.macro_f1))
    low, high = np.percentile(by_hand, [2.5, 97.5], axis=0)
    assert np.allclose([found[name].low for name in METRICS], low)
    assert np.allclose([found[name].high for name in METRICS], high)


@settings(deadline=None)
@given(st.permutations(range(6)))
def test_the_order_of_documents_does_not_matter(order: list[int]):
    (pairs,) = predictions(np.random.default_rng(1), 6, (0.6,))
    whole = intervals(pairs, replicates=50)
    assert intervals([pairs[at] for at in order], replicates=50) == whole


def test_intervals_cover_the_truth_about_95_times_in_100():
    generator = np.random.default_rng(2)
    covered, repeats, truth = 0, 200, 0.6
    for repeat in range(repeats):
        (pairs,) = predictions(generator, 60, (truth,))
        recall = intervals(pairs, replicates=200, seed=repeat)["recall"]
        covered += recall.low <= truth <= recall.high
    # 95 % of 200 within four standard errors, and two points for the bootstrap's own bias at 60 documents.
    assert 0.87 <= covered / repeats <= 1


def test_a_difference_is_found_where_it_is_and_seldom_where_it_is_not():
    generator = np.random.default_rng(3)
    same = planted = 0
    for repeat in range(100):
        ours, theirs, better = predictions(generator, 60, (0.6, 0.6, 0.7))
        same += compare(ours, theirs, replicates=200, seed=repeat)["f1"].p < 0.05
        planted += compare(better, theirs, replicates=200, seed=repeat)["f1"].p < 0.05
    assert same <= 15
    assert planted >= 95


def test_a_paired_difference_is_narrower_than_the_two_intervals():
    generator = np.random.default_rng(4)
    gold = [document(str(at), list(range(20))) for at in range(80)]
    found = [document(each.id, list(range(int(generator.integers(1, 20))))) for each in gold]
    fewer = [document(each.id, list(range(len(each.mentions) - 1))) for each in found]
    difference = compare(paired(gold, found), paired(gold, fewer))["f1"]
    single = intervals(paired(gold, found))["f1"]
    assert 0 < difference.low <= difference.value <= difference.high
    assert difference.p < 0.01
    assert difference.high - difference.low < 0.2 * (single.high - single.low)


def test_a_prediction_does_not_differ_from_itself_and_the_two_sides_mirror():
    ours, theirs = predictions(np.random.default_rng(5), 20, (0.6, 0.7))
    itself = compare(ours, ours)["f1"]
    assert (itself.value, itself.low, itself.high, itself.p) == (0, 0, 0, 1)
    there, back = compare(ours, theirs)["f1"], compare(theirs, ours)["f1"]
    assert there.value == -back.value
    assert there.p == back.p


def test_one_document_has_no_interval_and_no_test():
    ours, theirs = predictions(np.random.default_rng(6), 1, (0.6, 0.7))
    found = intervals(ours)["f1"]
    assert 0 < found.value < 1
    assert np.isnan([found.low, found.high]).all()
    difference = compare(ours, theirs)["f1"]
    assert np.isnan([difference.low, difference.high, difference.p]).all()


def test_predictions_of_other_gold_are_not_compared():
    (ours,) = predictions(np.random.default_rng(7), 3, (0.6,))
    with pytest.raises(InputError, match="same gold"):
        compare(ours, ours[:2])
