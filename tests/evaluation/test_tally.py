"""Intervals: their weights, their coverage, their pairing."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from biolm.batches.bootstrap import document_weights
from biolm.evaluation.quantities import calibration_curve, quantities
from biolm.evaluation.tally import Sums, differences, estimates
from biolm.model.masked_lm import Scores


def sums_of(
    loss: np.ndarray, rank: np.ndarray, confidence: np.ndarray | None = None, **of_tokens
) -> np.ndarray:
    """(1, COUNT) what some masked tokens of one document add."""
    confidence = np.zeros(len(loss)) if confidence is None else confidence
    scores = Scores(loss=loss, rank=rank, predicted=np.zeros_like(rank), confidence=confidence)
    of_tokens.setdefault("shown_as_mask", np.ones(len(loss), bool))
    return quantities(scores, **of_tokens).sum(0, keepdims=True)


def filled(losses: list[np.ndarray], ranks: list[np.ndarray], seed: int = 0, replicates: int = 1000) -> Sums:
    sums = Sums(replicates)
    for document, (loss, rank) in enumerate(zip(losses, ranks, strict=True)):
        sums.add(sums_of(loss, rank), document_weights(document, seed=seed, replicates=replicates)[None])
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
    found = estimates(filled(losses, ranks), 3)
    loss, rank = np.concatenate(losses), np.concatenate(ranks)
    assert np.isclose(found["loss"]["value"], loss.mean())
    assert np.isclose(found["perplexity"]["value"], np.exp(loss.mean()))
    assert np.isclose(found["recall_at_1"]["value"], (rank == 0).mean())
    assert np.isclose(found["recall_at_5"]["value"], (rank < 5).mean())
    assert np.isclose(found["recall_at_10"]["value"], (rank < 10).mean())
    assert np.isclose(found["mean_reciprocal_rank"]["value"], (1 / (rank + 1)).mean())
    measured = {name: value for name, value in found.items() if not np.isnan(value["value"])}
    assert set(found) - set(measured) == {
        "whole_word_recall",
        "bits_per_character",
    }  # no words, no characters
    for value in (value for name, value in measured.items() if name != "calibration_error"):
        assert value["low"] <= value["value"] <= value["high"]


def test_words_characters_masks_and_calibration_by_hand():
    """Six masked tokens of four words; the second word has three of them."""
    rank = np.array([0, 0, 0, 3, 0, 1])
    loss, confidence = np.log(2.0) * np.array([1, 1, 2, 3, 0, 5]), np.array([0.95, 0.55, 0.5, 0.25, 1.0, 0.3])
    sums = Sums(10)
    sums.add(
        sums_of(
            loss,
            rank,
            confidence,
            shown_as_mask=np.array([True, True, False, True, True, False]),
            words=np.array([3, 7, 7, 7, 9, 12]),
            characters=np.array([4, 2, 3, 1, 1, 1]),
        ),
        np.ones((1, 10), int),
    )
    found = sums.metrics()
    assert found["recall_at_1"] == 4 / 6
    assert found["strict_recall_at_1"] == 3 / 4
    assert found["whole_word_recall"] == 2 / 4
    assert np.isclose(found["bits_per_character"], 12 / 12)
    bins = calibration_curve(sums.total)
    assert [(each["from"], each["tokens"]) for each in bins] == [(0.2, 1), (0.3, 1), (0.5, 2), (0.9, 2)]
    assert np.isclose(bins[2]["probability"], 0.525)
    assert bins[2]["recall"] == 1
    assert np.isclose(found["calibration_error"], (0.25 + 0.3 + 0.95 + 0.05) / 6)


@given(st.permutations(range(6)), st.integers(1, 5))
def test_neither_order_nor_the_cut_of_a_document_matters(order: list[int], cut: int):
    generator = np.random.default_rng(1)
    losses = [generator.exponential(2.0, 6) for _ in range(6)]
    ranks = [generator.integers(0, 9, 6) for _ in range(6)]
    whole, parts = filled(losses, ranks, replicates=50), Sums(50)
    for document in order:
        weights = document_weights(document, seed=0, replicates=50)[None]
        parts.add(sums_of(losses[document][:cut], ranks[document][:cut]), weights)
        parts.add(sums_of(losses[document][cut:], ranks[document][cut:]), weights)
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
            weights = document_weights(document, seed=repeat, replicates=200)[None]
            sums.add(sums_of(np.zeros(count), ranks), weights)
        interval = estimates(sums, 120)["recall_at_1"]
        covered += interval["low"] <= truth <= interval["high"]
    # 95 % of 300 within four standard errors, and two points for the bootstrap's own bias at 120 documents.
    assert 0.88 <= covered / repeats <= 0.99


def test_a_paired_difference_is_narrower_than_the_two_intervals():
    generator = np.random.default_rng(3)
    losses = [generator.normal(generator.normal(2, 1), 0.1, 20) for _ in range(100)]
    ranks = [np.zeros(20, int)] * 100
    better, worse = filled([loss - 0.05 for loss in losses], ranks), filled(losses, ranks)
    difference = differences(better, worse, 100)["loss"]
    assert difference["high"] < 0
    assert difference["p"] < 0.01
    single = estimates(worse, 100)["loss"]
    assert difference["high"] - difference["low"] < 0.01 * (single["high"] - single["low"])


def test_nothing_measured_gives_nan_and_no_warning():
    assert all(np.isnan(value["value"]) for value in estimates(Sums(), 0).values())


def test_a_difference_that_is_not_there_is_found_about_5_times_in_100_and_a_planted_one_nearly_always():
    """150 pairs of models on 60 documents each: what a document gives is the same for both but for noise."""
    generator = np.random.default_rng(4)
    found = {0.0: 0, 0.25: 0}
    repeats = 150
    for planted in found:
        for repeat in range(repeats):
            ours, theirs = Sums(200), Sums(200)
            for document in range(60):
                count = int(generator.integers(5, 40))
                shared = generator.normal(3, 1)
                weights = document_weights(document, seed=repeat, replicates=200)[None]
                for sums, shift in ((ours, planted), (theirs, 0.0)):
                    loss = shared + shift + generator.normal(0, 0.3, count) + generator.normal(0, 0.3)
                    sums.add(sums_of(loss, np.zeros(count, int)), weights)
            found[planted] += differences(ours, theirs, 60)["loss"]["p"] < 0.05
    assert (
        found[0.0] / repeats < 0.14
    )  # 5 %, four standard errors, and two points for the bootstrap's own bias
    assert found[0.25] / repeats > 0.9


def test_one_document_has_no_interval_and_no_test():
    """All its replicates are the same ratio: an interval of width zero would be a claim."""
    sums, other = filled([np.ones(5)], [np.zeros(5, int)]), filled([np.full(5, 2.0)], [np.zeros(5, int)])
    value = estimates(sums, 1)["loss"]
    assert value["value"] == 1
    assert np.isnan([value["low"], value["high"]]).all()
    difference = differences(sums, other, 1)["loss"]
    assert difference["value"] == -1
    assert np.isnan([difference["low"], difference["high"], difference["p"]]).all()
