import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.corpus.split import Shares, parse_shares, split_of
from biolm.errors import ConfigError

share = st.floats(0, 1e6)


def test_a_paper_keeps_its_split_forever():
    """These values are part of the corpus format: changing them moves test papers into training."""
    splits = [split_of(f"pmid:{n}", Shares(train=2, validation=1, test=1)) for n in range(1, 9)]
    assert splits == "train validation validation train validation train train test".split()


def test_shares_come_out_as_asked():
    found = [split_of(f"doi:10.1/{n}", Shares(train=90, validation=6, test=4)) for n in range(20_000)]
    assert found.count("train") == pytest.approx(18_000, rel=0.02)
    assert found.count("validation") == pytest.approx(1_200, rel=0.1)
    assert found.count("test") == pytest.approx(800, rel=0.1)


@given(st.text(), st.integers())
def test_a_share_of_nothing_gets_nothing(document: str, seed: int):
    assert split_of(document, Shares(train=0, validation=0, test=3), seed) == "test"
    assert split_of(document, Shares(train=0, validation=0.1, test=0), seed) == "validation"
    assert split_of(document, Shares(train=7, validation=0, test=0), seed) == "train"


@given(st.text(), st.integers(0, 5), share, share)
def test_a_larger_test_share_keeps_every_test_paper(document: str, seed: int, test: float, more: float):
    smaller, larger = sorted((test / 1e6, more / 1e6))
    if split_of(document, Shares(train=1 - smaller, validation=0, test=smaller), seed) == "test":
        assert split_of(document, Shares(train=1 - larger, validation=0, test=larger), seed) == "test"


def test_the_seed_chooses_other_papers():
    shares = Shares(train=1, validation=0, test=1)
    first, second = ([split_of(f"pmid:{n}", shares, seed) for n in range(100)] for seed in (0, 1))
    assert first != second


def test_shares_are_read_from_the_command_line_and_back():
    assert parse_shares("98/1/1") == Shares()
    assert parse_shares("99.5/0.5/0") == Shares(train=99.5, validation=0.5, test=0)
    assert str(parse_shares("99.50/0.5/0")) == "99.5/0.5/0"


@pytest.mark.parametrize("text", ["98", "98/1", "98/1/1/0", "a/b/c", "98/-1/3", "98/1/1\n", "nan/1/1", ""])
def test_a_malformed_split_is_named(text: str):
    with pytest.raises(ConfigError, match="give three numbers such as 98/1/1"):
        parse_shares(text)


@pytest.mark.parametrize("shares", [(0, 0, 0), (-1, 1, 1), (float("nan"), 1, 1), (float("inf"), 1, 1)])
def test_impossible_shares_are_refused(shares: tuple[float, float, float]):
    train, validation, test = shares
    with pytest.raises(ConfigError, match="give"):
        Shares(train=train, validation=validation, test=test)
