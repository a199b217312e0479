"""Rows of one shape: the same windows and masks as free rows, and padding that counts for nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.batches.examples import Examples, cut_examples
from biolm.batches.masking import Masker, MaskingConfig
from biolm.batches.packing import IGNORED, PackedRow, RowShape, fixed_shape, pack_lengths, pack_rows
from biolm.errors import ConfigError
from biolm.tokens.store import TokenSplit
from biolm.tokens.tokenizer import Vocabulary

VOCABULARY = Vocabulary(
    size=1000, prefix=(0,), suffix=(2,), mask_id=4, special_ids=(0, 1, 2, 3, 4), hash="of a test"
)


def examples_of(lengths: list[int], max_tokens: int = 32) -> Examples:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = (np.arange(offsets[-1]) % 990 + 5).astype(np.uint16)
    count = len(lengths)
    split = TokenSplit(
        "train", ids, offsets, np.arange(count, dtype=np.int32), np.zeros(count, np.uint8), count
    )
    return cut_examples(split, VOCABULARY, max_tokens=max_tokens)


def rows_of(examples: Examples, shape: RowShape | None, tokens: int, rate: float = 0.15) -> list[PackedRow]:
    masker = Masker(VOCABULARY, MaskingConfig(mask_rate=rate), purpose="train mask", seed=3)
    index = np.arange(len(examples), dtype=np.int64)
    return pack_rows(examples, index, masker, epoch=0, max_row_tokens=tokens, shape=shape)


lengths_of_passages = st.lists(st.integers(1, 80), min_size=1, max_size=80)


@given(lengths_of_passages, st.integers(32, 300), st.floats(0.05, 0.6))
def test_every_row_has_the_shape_and_loses_nothing(lengths: list[int], tokens: int, rate: float):
    examples = examples_of(lengths)
    shape = fixed_shape(examples, MaskingConfig(mask_rate=rate), max_row_tokens=tokens)
    rows = rows_of(examples, shape, tokens, rate)
    for row in rows:
        real = int(row.lengths.sum())
        assert row.input_ids.shape == (tokens,)
        assert (row.input_ids[real:] == VOCABULARY.suffix[-1]).all()
        assert row.segments.shape == (shape.slots,)
        assert row.segments.sum() == tokens
        assert row.segments.max() <= shape.segment
        assert row.segments[: len(row.lengths)].tolist() == row.lengths.tolist()
        assert len(row.lengths) <= shape.windows
        assert (np.diff(row.segments == 0) >= 0).all()  # zeros at the end alone
        assert len(row.labels) == len(row.masked_positions) > 0
        assert len(row.labels) % shape.masked == 0
        assert (row.labels != IGNORED).sum() == row.masked == row.masked_per_window.sum()
        assert (row.labels[row.masked :] == IGNORED).all()
        assert (row.masked_positions[row.masked :] == 0).all()
        restored = row.input_ids.copy()
        restored[row.masked_positions[: row.masked]] = row.labels[: row.masked]
        ends = np.cumsum(row.lengths)
        for example, first, last in zip(row.examples, ends - row.lengths, ends, strict=True):
            assert np.array_equal(restored[first + 1 : last - 1], examples.content(int(example)))
    assert sorted(np.concatenate([row.examples for row in rows]).tolist()) == list(range(len(examples)))
    assert sum(row.masked for row in rows) == sum(row.masked for row in rows_of(examples, None, tokens, rate))


@given(lengths_of_passages, st.integers(32, 300))
def test_free_rows_have_no_padding(lengths: list[int], tokens: int):
    for row in rows_of(examples_of(lengths), None, tokens):
        assert row.segments is row.lengths
        assert row.masked == len(row.labels) == len(row.masked_positions)


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 80), st.integers(1, 5))
def test_a_full_row_takes_no_more_windows(lengths: list[int], budget: int, most: int):
    rows = pack_lengths(lengths, budget, max_windows=most)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(len(row) <= most for row in rows)


def test_more_masked_positions_than_expected_are_another_shape_and_not_lost():
    examples = examples_of([30] * 8)
    shape = RowShape(tokens=256, slots=16, masked=8, segment=32)
    (row,) = rows_of(examples, shape, 256, rate=0.3)
    assert row.masked > 16
    assert len(row.labels) == -(-row.masked // 8) * 8


@pytest.mark.parametrize("unit", ["token", "word"])
def test_the_shape_has_room_for_all_but_the_rarest_rows(unit: str):
    """Binomial counts of words of three tokens, of one where tokens are masked: none of 20,000 rows is over."""
    examples = examples_of([250] * 40, max_tokens=512)
    masking = MaskingConfig(mask_rate=0.15, mask_rate_end=0.3, mask_unit=unit)
    shape = fixed_shape(examples, masking, max_row_tokens=4096)
    size = 3 if unit == "word" else 1
    counts = size * np.random.default_rng(0).binomial(4096 // size, 0.3, 20_000)
    assert counts.max() <= shape.masked < 1.4 * counts.mean()


def test_the_highest_rate_decides_and_passages_of_the_usual_spread_fit():
    lengths = np.random.default_rng(0).integers(20, 500, 400)
    examples = examples_of(lengths.tolist(), max_tokens=512)
    falling = fixed_shape(examples, MaskingConfig(mask_rate=0.3, mask_rate_end=0.1), max_row_tokens=4096)
    rising = fixed_shape(examples, MaskingConfig(mask_rate=0.1, mask_rate_end=0.3), max_row_tokens=4096)
    assert falling == rising
    assert falling.segment == examples.measure()[1]
    free = pack_lengths(examples.lengths(np.arange(len(examples))), 4096)
    assert max(len(row) for row in free) <= falling.windows


def test_a_row_shorter_than_a_passage_is_refused():
    with pytest.raises(ConfigError, match="max_row_tokens is 31"):
        fixed_shape(examples_of([5, 60]), MaskingConfig(), max_row_tokens=31)
