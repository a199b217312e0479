"""Windows, order and packing: everything once, nothing lost, all of it a function of counters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.batches.examples import Examples, cut_examples
from biolm.batches.masking import Masker, MaskingConfig
from biolm.batches.packing import IGNORED, PackedRow, divide_lengths, pack_lengths
from biolm.batches.steps import TrainingSteps, epoch_order, evaluation_rows
from biolm.errors import ConfigError
from biolm.tokens.store import TokenSplit
from biolm.tokens.tokenizer import Vocabulary

VOCABULARY = Vocabulary(
    size=1000, prefix=(0,), suffix=(2,), mask_id=4, special_ids=(0, 1, 2, 3, 4), hash="of a test"
)


def split_of(lengths: list[int]) -> TokenSplit:
    """A split whose token values count up, so that each token can be told from all others."""
    total = sum(lengths)
    return TokenSplit(
        name="train",
        ids=(np.arange(total) % 990 + 5).astype(np.uint16),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        documents=np.arange(len(lengths), dtype=np.int32),
        sections=np.zeros(len(lengths), np.uint8),
        document_count=len(lengths),
    )


def steps_of(examples: Examples, **changes) -> TrainingSteps:
    settings = {"seed": 5, "examples_per_step": 4, "max_row_tokens": 64, **changes}
    masker = Masker(VOCABULARY, MaskingConfig(), purpose="train mask", seed=settings["seed"])
    return TrainingSteps(examples, masker, **settings)


lengths_of_passages = st.lists(st.integers(0, 70), min_size=1, max_size=30)


@given(lengths_of_passages, st.integers(3, 40))
def test_windows_hold_every_token_once(lengths: list[int], max_tokens: int):
    split = split_of(lengths)
    examples = cut_examples(split, VOCABULARY, max_tokens=max_tokens)
    whole = [examples.content(i) for i in range(len(examples))]
    assert np.array_equal(np.concatenate([*whole, np.empty(0, np.int64)]), split.ids)
    assert all(1 <= len(window) <= max_tokens - 2 for window in whole)
    assert [len(w) + 2 for w in whole] == examples.lengths(np.arange(len(examples))).tolist()


@given(lengths_of_passages, st.integers(3, 40))
def test_truncation_counts_what_it_leaves_out(lengths: list[int], max_tokens: int):
    split = split_of(lengths)
    examples = cut_examples(split, VOCABULARY, max_tokens=max_tokens, long_passages="truncate")
    kept = sum(len(examples.content(i)) for i in range(len(examples)))
    assert kept + examples.truncated_tokens == sum(lengths)
    assert examples.passages.tolist() == [i for i, n in enumerate(lengths) if n]


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 80))
def test_packing_puts_each_passage_in_one_row_within_the_budget(lengths: list[int], budget: int):
    rows = pack_lengths(lengths, budget)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    for row in rows:
        assert len(row) == 1 or sum(lengths[i] for i in row) <= budget


def test_packing_fills_rows_better_than_half():
    lengths = np.random.default_rng(0).integers(20, 512, 400)
    rows = pack_lengths(lengths, 4096)
    assert len(rows) == -(-int(lengths.sum()) // 4096)


@given(st.integers(1, 200), st.integers(0, 2**40), st.integers(0, 9))
def test_order_is_a_permutation_of_its_seed_and_epoch(count: int, seed: int, epoch: int):
    order = epoch_order(count, seed=seed, epoch=epoch)
    assert sorted(order.tolist()) == list(range(count))
    assert np.array_equal(order, epoch_order(count, seed=seed, epoch=epoch))


@pytest.mark.parametrize("per_step", [1, 4, 7, 100])
def test_every_window_is_seen_once_an_epoch(per_step: int):
    examples = cut_examples(split_of([5, 30, 12, 60, 8, 9, 33] * 5), VOCABULARY, max_tokens=32)
    steps = steps_of(examples, examples_per_step=per_step)
    for epoch in range(2):
        seen = [
            int(example)
            for step in range(epoch * steps.per_epoch, (epoch + 1) * steps.per_epoch)
            for row in steps.rows(step)
            for example in row.examples
        ]
        assert sorted(seen) == list(range(len(examples)))


mixed = st.lists(st.integers(1, 70), min_size=1, max_size=60)


@given(mixed, st.integers(32, 400), st.integers(0, 99))
def test_steps_of_tokens_hold_every_window_once_and_are_as_many_in_each_epoch(
    lengths: list[int], tokens_per_step: int, seed: int
):
    examples = cut_examples(split_of(lengths), VOCABULARY, max_tokens=32)
    steps = steps_of(examples, tokens_per_step=tokens_per_step, seed=seed)
    total, longest = examples.measure()
    assert steps.per_epoch == -(-total // tokens_per_step)
    for epoch in range(2):
        taken = [
            steps.examples_of(step) for step in range(epoch * steps.per_epoch, (epoch + 1) * steps.per_epoch)
        ]
        assert sorted(np.concatenate(taken).tolist()) == list(range(len(examples)))
        sums = [int(examples.lengths(index).sum()) for index in taken]
        assert min(sums) > 0
        assert max(sums) < tokens_per_step + longest
        assert all(s > tokens_per_step - longest for s in sums[:-1])


def test_a_step_smaller_than_a_passage_is_refused():
    examples = cut_examples(split_of([5, 60]), VOCABULARY, max_tokens=32)
    with pytest.raises(ConfigError, match="tokens_per_step is 31"):
        steps_of(examples, tokens_per_step=31)


def masked_of(rows: list[PackedRow]) -> list[tuple[int, list[int], list[int], list[int]]]:
    """(window, what the model sees, masked places, labels), whatever rows it lies in."""
    found = []
    for row in rows:
        ends, masks = np.cumsum(row.lengths), np.cumsum(row.masked_per_window)
        for i, example in enumerate(row.examples):
            first = ends[i] - row.lengths[i]
            hidden = slice(masks[i] - row.masked_per_window[i], masks[i])
            found.append(
                (
                    int(example),
                    row.input_ids[first : ends[i]].tolist(),
                    (row.masked_positions[hidden] - first).tolist(),
                    row.labels[hidden].tolist(),
                )
            )
    return sorted(found)


@given(
    mixed,
    st.integers(1, 9),
    st.sampled_from([None, 50, 300]),
    st.sampled_from(["free", "fixed"]),
    st.integers(32, 200),
)
def test_all_ranks_together_see_what_one_would(
    lengths: list[int], ranks: int, tokens_per_step: int | None, row_shape: str, budget: int
):
    examples = cut_examples(split_of(lengths), VOCABULARY, max_tokens=32)
    alone = steps_of(examples, tokens_per_step=tokens_per_step, max_row_tokens=budget)
    for step in range(min(3, alone.per_epoch + 1)):
        together = [
            row
            for rank in range(ranks)
            for row in steps_of(
                examples, tokens_per_step=tokens_per_step, max_row_tokens=64, row_shape=row_shape
            ).rows(step, rank=rank, ranks=ranks)
        ]
        assert masked_of(together) == masked_of(alone.rows(step))
        assert [entry[0] for entry in masked_of(together)] == sorted(alone.examples_of(step).tolist())


@given(mixed, st.integers(1, 9))
def test_ranks_share_tokens_evenly(lengths: list[int], ranks: int):
    shares = divide_lengths(lengths, ranks)
    assert sorted(i for share in shares for i in share) == list(range(len(lengths)))
    loads = [sum(lengths[i] for i in share) for share in shares]
    # A rank with more than the least loaded one would have without its last and shortest gave it to no other.
    for share, load in zip(shares, loads, strict=True):
        assert not share or load - min(lengths[i] for i in share) <= min(loads)


@given(mixed, st.integers(2, 9), st.sampled_from(["free", "fixed"]))
def test_every_rank_has_as_many_rows_and_those_added_count_for_nothing(
    lengths: list[int], ranks: int, row_shape: str
):
    examples = cut_examples(split_of(lengths), VOCABULARY, max_tokens=32)
    steps = steps_of(examples, examples_per_step=20, row_shape=row_shape)
    shares = [steps.rows(0, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert len({len(rows) for rows in shares}) == 1
    added = [row for rows in shares for row in rows if not len(row.examples)]
    assert len(added) < sum(len(rows) for rows in shares)
    for row in added:
        assert row.masked == len(row.lengths) == 0
        assert (row.labels == IGNORED).all()
        assert row.segments.sum() == len(row.input_ids) > 0
        assert np.isin(row.input_ids, VOCABULARY.special_ids).all()
        if steps.shape is not None:
            assert (len(row.input_ids), len(row.segments)) == (steps.shape.tokens, steps.shape.slots)
            assert len(row.labels) == len(row.masked_positions) == steps.shape.masked


def test_a_changing_rate_follows_the_whole_run():
    examples = cut_examples(split_of([60] * 40), VOCABULARY, max_tokens=32)
    masking = MaskingConfig(mask_rate=0.6, mask_rate_end=0.1, mask_rate_change="step", decay_fraction=0.5)
    masker = Masker(VOCABULARY, masking, purpose="train mask", seed=1)
    steps = TrainingSteps(examples, masker, seed=1, examples_per_step=8, max_row_tokens=64, epochs=2)
    assert steps.total == 2 * steps.per_epoch
    shares = []
    for step in range(steps.total):
        rows = steps.rows(step)
        shares.append(sum(row.masked for row in rows) / sum(len(row.input_ids) for row in rows))
    assert min(shares[: steps.per_epoch]) > 0.4
    assert max(shares[steps.per_epoch :]) < 0.25
    fewer = TrainingSteps(
        examples, masker, seed=1, examples_per_step=8, max_row_tokens=64, epochs=2, max_steps=7
    )
    assert fewer.total == 7


def test_a_step_asked_for_out_of_turn_is_the_same_step():
    examples = cut_examples(split_of([5, 30, 12, 60, 8, 9, 33] * 5), VOCABULARY, max_tokens=32)
    in_turn = steps_of(examples)
    wanted = [in_turn.rows(step) for step in range(25)][21]
    resumed = steps_of(examples).rows(21)
    for a, b in zip(wanted, resumed, strict=True):
        assert np.array_equal(a.input_ids, b.input_ids)
        assert np.array_equal(a.labels, b.labels)


def test_the_size_of_rows_changes_no_mask():
    examples = cut_examples(split_of([5, 30, 12, 60, 8, 9, 33] * 5), VOCABULARY, max_tokens=32)

    def by_example(budget: int) -> dict[int, list[int]]:
        found = {}
        for row in steps_of(examples, max_row_tokens=budget, examples_per_step=16).rows(1):
            ends = np.cumsum(row.lengths)
            for example, first, last in zip(row.examples, ends - row.lengths, ends, strict=True):
                found[int(example)] = row.input_ids[first:last].tolist()
        return found

    assert by_example(32) == by_example(64) == by_example(1000)


@given(st.integers(32, 300), st.integers(1, 9))
def test_evaluation_masks_do_not_depend_on_rows_or_blocks(budget: int, block: int):
    examples = cut_examples(split_of([5, 30, 12, 60, 8, 9, 33]), VOCABULARY, max_tokens=32)

    def masked(**layout: int) -> list[tuple[int, int]]:
        found = []
        for row in evaluation_rows(examples, **layout):
            of_window = np.repeat(np.arange(len(row.lengths)), row.masked_per_window)
            first = (np.cumsum(row.lengths) - row.lengths)[of_window]
            places = row.masked_positions - first
            found += list(zip(row.examples[of_window].tolist(), places.tolist(), strict=True))
        return sorted(found)

    assert masked(max_row_tokens=budget, block=block) == masked(max_row_tokens=64)


def test_a_rows_parts_agree():
    examples = cut_examples(split_of([40, 3, 22, 31, 17, 60]), VOCABULARY, max_tokens=32)
    for row in steps_of(examples, examples_per_step=8).rows(0):
        assert len(row.input_ids) == row.lengths.sum()
        assert len(row.labels) == len(row.masked_positions) == row.masked_per_window.sum()
        ends = np.cumsum(row.lengths)
        assert (row.input_ids[ends - row.lengths] == VOCABULARY.prefix[0]).all()
        assert (row.input_ids[ends - 1] == VOCABULARY.suffix[0]).all()
        restored = row.input_ids.copy()
        restored[row.masked_positions] = row.labels
        for example, first, last in zip(row.examples, ends - row.lengths, ends, strict=True):
            assert np.array_equal(restored[first + 1 : last - 1], examples.content(int(example)))
