"""Intervals: their weights, their coverage, their pairing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from biolm.evaluation.tally import Sums, differences, document_weights, estimates


def filled(losses: list[np.ndarray], ranks: list[np.ndarray], seed: int = 0, replicates: int = 1000) -> Sums:
    sums = Sums(replicates)
    for document, (loss, rank) in enumerate(zip(losses, ranks, strict=True)):
        sums.add(loss, rank, document_weights(document, seed=seed, replicates=replicates))
    return sums


def test_weights_are_poisson_one_and_belong_to_the_document():
    weights = document_weights(5, seed=0, replicates=40_000)
    assert abs(weights.mean() - 1) < 4 / np.sqrt(40_000)
    assert abs(weights.var() - 1) < 0.06
    assert np.array_equal(weights, document_weights(5, seed=0, replicates=40_000))
    assert not np.array_equal(weights, document_weights(6, seed=0, replicates=40_000))
    assert not np.array_equal(weights, document_weights(5, seed=1, replicates=40_000))


def test_values_are_those_of_numpy():
    generator = np.random.default_rng(0)
    losses = [generator.exponential(2.0, n) for n in (5, 1, 30)]
    ranks = [generator.integers(0, 9, n) for n in (5, 1, 30)]
    found = estimates(filled(losses, ranks))
    loss, rank = np.concatenate(losses), np.concatenate(ranks)
    assert np.isclose(found["loss"]["value"], loss.mean())
    assert np.isclose(found["perplexity"]["value"], np.exp(loss.mean()))
    assert np.isclose(found["recall_at_1"]["value"], (rank == 0).mean())
    assert np.isclose(found["recall_at_5"]["value"], (rank < 5).mean())
    for value in found.values():
        assert value["low"] <= value["value"] <= value["high"]


@given(st.permutations(range(6)), st.integers(1, 5))
def test_neither_order_nor_the_cut_of_a_document_matters(order: list[int], cut: int):
    generator = np.random.default_rng(1)
    losses = [generator.exponential(2.0, 6) for _ in range(6)]
    ranks = [generator.integers(0, 9, 6) for _ in range(6)]
    whole, parts = filled(losses, ranks, replicates=50), Sums(50)
    for document in order:
        weights = document_weights(document, seed=0, replicates=50)
        parts.add(losses[document][:cut], ranks[document][:cut], weights)
        parts.add(losses[document][cut:], ranks[document][cut:], weights)
    np.testing.assert_allclose(whole.total, parts.total)
    np.testing.assert_allclose(whole.resampled, parts.resampled)


def test_intervals_cover_the_truth_about_95_times_in_100():
    """Documents of unequal length and difficulty; the truth is the ratio of expectations."""
    generator = np.random.default_rng(2)
    covered, repeats, truth = 0, 300, 0.3
    for repeat in range(repeats):
        sums = Sums(200)
        for document in range(120):
            difficulty = generator.beta(3, 7)  # mean 0.3, independent of the length
            count = int(generator.integers(5, 40))
            ranks = np.where(generator.random(count) < difficulty, 0, 9)
            weights = document_weights(document, seed=repeat, replicates=200)
            sums.add(np.zeros(count), ranks, weights)
        interval = estimates(sums)["recall_at_1"]
        covered += interval["low"] <= truth <= interval["high"]
    # 95 % of 300 within four standard errors, and two points for the bootstrap's own bias at 120 documents.
    assert 0.88 <= covered / repeats <= 0.99


def test_a_paired_difference_is_narrower_than_the_two_intervals():
    generator = np.random.default_rng(3)
    losses = [generator.normal(generator.normal(2, 1), 0.1, 20) for _ in range(100)]
    ranks = [np.zeros(20, int)] * 100
    better, worse = filled([loss - 0.05 for loss in losses], ranks), filled(losses, ranks)
    difference = differences(better, worse)["loss"]
    assert difference["high"] < 0
    single = estimates(worse)["loss"]
    assert difference["high"] - difference["low"] < 0.01 * (single["high"] - single["low"])


def test_nothing_measured_gives_nan_and_no_warning():
    assert all(np.isnan(value["value"]) for value in estimates(Sums()).values())
