"""Masks: rate, replacement, special tokens, and what they depend on."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.batches.masking import Masker, MaskingConfig
from biolm.errors import ConfigError
from biolm.tokens.tokenizer import Vocabulary, load_tokenizer
from biolm.tokens.words import WordTable, word_table

VOCABULARY = Vocabulary(
    size=1000, prefix=(0,), suffix=(2,), mask_id=4, special_ids=(0, 1, 2, 3, 4), hash="of a test"
)
CONTENT = np.arange(20_000, dtype=np.int64) % 995 + 5
SPELLINGS = [b" ab" if token % 7 in (0, 1, 3) else b"cd" for token in range(1000)]
SPELLINGS[:5] = [b"\1"] * 5
WORDS = WordTable(
    np.frombuffer(b"".join(SPELLINGS), np.uint8),
    np.concatenate([[0], np.cumsum([len(spelling) for spelling in SPELLINGS])]).astype(np.int64),
)
"""Three of seven ids begin a word; the first five are special."""


def masker(seed: int = 1, **config) -> Masker:
    return Masker(VOCABULARY, MaskingConfig(**config), purpose="train mask", seed=seed, words=WORDS)


def test_rate_and_the_80_10_10_split_are_as_configured():
    shown, chosen = masker().mask(CONTENT, epoch=0, passage=0, window=0)
    # Four standard errors of a share p over n draws: 4 sqrt(p (1 - p) / n).
    assert abs(len(chosen) / len(CONTENT) - 0.15) < 4 * np.sqrt(0.15 * 0.85 / len(CONTENT))
    as_mask = np.mean(shown[chosen] == VOCABULARY.mask_id)
    unchanged = np.mean(shown[chosen] == CONTENT[chosen])
    assert abs(as_mask - 0.8) < 4 * np.sqrt(0.16 / len(chosen))
    assert abs(unchanged - 0.1) < 4 * np.sqrt(0.09 / len(chosen)) + 1 / 995
    assert abs(1 - as_mask - unchanged - 0.1) < 4 * np.sqrt(0.09 / len(chosen)) + 1 / 995


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.4])
def test_another_rate_is_honoured(rate: float):
    _, chosen = masker(mask_rate=rate).mask(CONTENT, epoch=0, passage=0, window=0)
    assert abs(len(chosen) / len(CONTENT) - rate) < 4 * np.sqrt(rate * (1 - rate) / len(CONTENT))


def test_only_chosen_tokens_change():
    shown, chosen = masker().mask(CONTENT, epoch=0, passage=0, window=0)
    untouched = np.setdiff1d(np.arange(len(CONTENT)), chosen)
    assert np.array_equal(shown[untouched], CONTENT[untouched])


@given(st.lists(st.integers(0, 999), max_size=200), st.integers(0, 2**32), st.integers(0, 50))
def test_special_tokens_are_neither_chosen_nor_put_in_at_random(ids: list[int], seed: int, passage: int):
    content = np.array(ids, np.int64)
    masks = Masker(
        VOCABULARY,
        MaskingConfig(mask_rate=0.9, mask_token_share=0.0, random_token_share=1.0),
        purpose="train mask",
        seed=seed,
    )
    shown, chosen = masks.mask(content, epoch=0, passage=passage, window=0)
    assert not np.isin(content[chosen], VOCABULARY.special_ids).any()
    assert not np.isin(shown[chosen], VOCABULARY.special_ids).any()


def test_the_same_seed_epoch_and_passage_give_the_same_masks_and_any_other_gives_others():
    first = masker().mask(CONTENT, epoch=3, passage=7, window=0)
    again = masker().mask(CONTENT, epoch=3, passage=7, window=0)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    others = [
        masker(seed=2).mask(CONTENT, epoch=3, passage=7, window=0),
        masker().mask(CONTENT, epoch=4, passage=7, window=0),
        masker().mask(CONTENT, epoch=3, passage=8, window=0),
        masker().mask(CONTENT, epoch=3, passage=7, window=1),
    ]
    for _, chosen in others:
        assert not np.array_equal(first[1], chosen)


def test_masks_do_not_depend_on_what_was_masked_before():
    used = masker()
    for passage in range(5):
        used.mask(CONTENT[:100], epoch=0, passage=passage, window=0)
    fresh = masker().mask(CONTENT[:100], epoch=0, passage=5, window=0)
    assert np.array_equal(used.mask(CONTENT[:100], epoch=0, passage=5, window=0)[1], fresh[1])


def test_masks_are_pinned_so_that_an_old_run_resumes_alike():
    _, chosen = masker().mask(CONTENT[:60], epoch=0, passage=1, window=0)
    assert chosen.tolist() == [4, 5, 15, 32, 37, 42, 57, 58]


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.sampled_from(["token", "word"]), st.integers(0, 99))
def test_a_lower_rate_hides_a_subset(one: float, other: float, unit: str, passage: int):
    lower, higher = sorted([one, other])
    masks = masker(mask_unit=unit)
    few, many = (
        masks.mask(CONTENT[:300], epoch=0, passage=passage, window=0, rate=rate) for rate in (lower, higher)
    )
    assert set(few[1].tolist()) <= set(many[1].tolist())
    assert np.array_equal(few[0][few[1]], many[0][few[1]])


def test_no_rate_given_is_the_configured_one():
    one = masker(mask_rate=0.3).mask(CONTENT, epoch=0, passage=0, window=0)
    other = masker().mask(CONTENT, epoch=0, passage=0, window=0, rate=0.3)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@given(st.integers(1, 500), st.sampled_from([0.1, 0.3, 1.0]))
def test_the_rate_goes_from_one_end_to_the_other(total: int, decay: float):
    linear = MaskingConfig(mask_rate=0.3, mask_rate_end=0.15)
    rates = [linear.rate_at(step, total) for step in range(total)]
    assert rates[0] == pytest.approx(0.3)
    assert total == 1 or rates[-1] == pytest.approx(0.15)
    assert np.diff(rates) == pytest.approx(-0.15 / max(1, total - 1))
    assert linear.rate_at(total + 5, total) == pytest.approx(0.15)
    at_once = MaskingConfig(mask_rate=0.3, mask_rate_end=0.15, mask_rate_change="step", decay_fraction=decay)
    rates = [at_once.rate_at(step, total) for step in range(total)]
    last = max(1, round(decay * total))
    assert rates == [0.3] * (total - last) + [0.15] * last
    assert MaskingConfig(mask_rate=0.2).rate_at(total, total) == 0.2


@given(st.lists(st.integers(0, 999), min_size=1, max_size=200), st.floats(0.05, 0.95), st.integers(0, 99))
def test_all_tokens_of_a_word_are_hidden_together_and_in_one_way(ids: list[int], rate: float, passage: int):
    content = np.array(ids, np.int64)
    shown, chosen = masker(mask_unit="word").mask(content, epoch=0, passage=passage, window=0, rate=rate)
    hidden = np.zeros(len(content), bool)
    hidden[chosen] = True
    assert not np.isin(content[chosen], VOCABULARY.special_ids).any()
    for word in np.split(np.arange(len(content)), np.flatnonzero(WORDS.starts(content))[1:]):
        assert hidden[word].all() or not hidden[word].any()
        if hidden[word].all():
            as_mask = shown[word] == VOCABULARY.mask_id
            assert as_mask.all() or not as_mask.any()


def test_words_are_hidden_and_shown_at_the_same_shares_as_tokens():
    shown, chosen = masker(mask_unit="word").mask(CONTENT, epoch=0, passage=0, window=0)
    spread = 4 * np.sqrt(3)  # four standard errors; Σn²/Σn is 3 over words of 1, 2 and 4 tokens
    assert abs(len(chosen) / len(CONTENT) - 0.15) < spread * np.sqrt(0.15 * 0.85 / len(CONTENT))
    assert abs(np.mean(shown[chosen] == VOCABULARY.mask_id) - 0.8) < spread * np.sqrt(0.16 / len(chosen))
    assert abs(np.mean(shown[chosen] == CONTENT[chosen]) - 0.1) < spread * np.sqrt(0.09 / len(chosen))


def test_random_tokens_of_a_word_are_drawn_one_by_one():
    masks = masker(mask_unit="word", mask_token_share=0.0, random_token_share=1.0)
    shown, chosen = masks.mask(CONTENT, epoch=0, passage=0, window=0)
    pairs = np.flatnonzero(np.diff(chosen) == 1)
    assert len(pairs) > 100
    assert np.mean(shown[chosen[pairs]] == shown[chosen[pairs] + 1]) < 0.05


def test_words_of_roberta_base_are_hidden_whole(shared: Path):
    tokenizer = load_tokenizer(str(shared / "roberta-base-tokenizer"))
    table, words = word_table(tokenizer), ["p53", "IL-6", "TNF-α", "0.05", "HEK293T", "NF-κB", "the", "."]
    (ids,) = tokenizer.encode([" " + " ".join(words * 500)])
    content = np.array(ids, np.int64)
    masks = Masker(
        tokenizer.vocabulary, MaskingConfig(mask_unit="word"), purpose="train mask", seed=1, words=table
    )
    _, chosen = masks.mask(content, epoch=0, passage=0, window=0)
    of_word = np.cumsum(table.starts(content)) - 1
    assert of_word[-1] + 1 == len(words) * 500
    hidden = np.unique(of_word[chosen])
    assert np.isin(of_word, hidden).sum() == len(chosen)
    assert abs(len(hidden) / (len(words) * 500) - 0.15) < 4 * np.sqrt(0.15 * 0.85 / (len(words) * 500))


def test_words_without_a_table_are_refused():
    with pytest.raises(ValueError, match="word table"):
        Masker(VOCABULARY, MaskingConfig(mask_unit="word"), purpose="train mask", seed=1)


@pytest.mark.parametrize(
    "config",
    [
        {"mask_rate": 0.0},
        {"mask_rate": 1.0},
        {"mask_token_share": -0.1},
        {"random_token_share": 0.5},
        {"mask_rate_end": 1.5},
        {"decay_fraction": 0.0},
        {"mask_unit": "letter"},
        {"mask_rate_change": "soon"},
    ],
)
def test_impossible_settings_are_refused(config: dict):
    with pytest.raises(ConfigError):
        MaskingConfig(**config)
