"""Masks: rate, replacement, special tokens, and what they depend on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.batches.masking import Masker, MaskingConfig
from biolm.errors import ConfigError
from biolm.tokens.tokenizer import Vocabulary

VOCABULARY = Vocabulary(
    size=1000, prefix=(0,), suffix=(2,), mask_id=4, special_ids=(0, 1, 2, 3, 4), hash="of a test"
)
CONTENT = np.arange(20_000, dtype=np.int64) % 995 + 5


def masker(seed: int = 1, **config: float) -> Masker:
    return Masker(VOCABULARY, MaskingConfig(**config), purpose="train mask", seed=seed)


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


@pytest.mark.parametrize(
    "config",
    [{"mask_rate": 0.0}, {"mask_rate": 1.0}, {"mask_token_share": -0.1}, {"random_token_share": 0.5}],
)
def test_impossible_shares_are_refused(config: dict[str, float]):
    with pytest.raises(ConfigError):
        MaskingConfig(**config)
