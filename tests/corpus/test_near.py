"""Which passage stands for the near duplicates, over extracts: a function of contents and ranks."""

import random
from pathlib import Path

import numpy as np
import pytest
from corpus_papers import WORDS, article
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm.corpus.config import ExtractConfig
from biolm.corpus.extract import write_extract
from biolm.corpus.minhash import MIN_WORDS, SLOTS, band_keys, signatures, similarity
from biolm.corpus.near import NearDuplicates, cluster
from biolm.corpus.workspace import TABLES, Workspace
from biolm.records import Abstract

THRESHOLD, SHARDS, OF_SHARD = 0.8, 3, 24
TOPICS = 9
"""Passage i of all is about topic i % 9: passages of one topic are copies of each other with a changed word."""
PASSAGES = SHARDS * OF_SHARD


def text_of(number: int) -> str:
    chance = random.Random(number % TOPICS)
    words = [f"{chance.choice(WORDS)}{chance.randrange(500)}" for _ in range(150)]
    words[number % len(words)] = f"changed{number}"
    return " ".join(words)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("near")
    made = Workspace(str(folder / "work"))
    for shard in range(SHARDS):
        numbers = range(shard * OF_SHARD, (shard + 1) * OF_SHARD)
        records = [article(n + 1, abstracts=(Abstract(text=text_of(n)),)) for n in numbers]
        tables = {name: folder / f"{shard}-{name}.parquet" for name in TABLES}
        config = ExtractConfig(detect_language=False)
        made.keep(
            f"{shard:04d}", write_extract(records, tables["articles"], tables["passages"], config), tables
        )
    return made


def chosen(workspace: Workspace, order: list[int], rows: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """What `NearDuplicates` chooses, with the shards in some order."""
    offsets = np.arange(0, PASSAGES + 1, OF_SHARD)
    return NearDuplicates(workspace, [f"{shard:04d}" for shard in order], offsets, THRESHOLD)(rows, rank)


@given(st.sets(st.integers(0, PASSAGES - 1), min_size=1), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_lowest_rank_of_each_topic_stands_for_it(
    workspace: Workspace, some: set[int], chance: random.Random
):
    rows = np.array(sorted(some))
    rank = np.array(chance.sample(range(1000), len(rows)))
    lowest = {}
    for row in rows[np.argsort(rank)].tolist():
        lowest.setdefault(row % TOPICS, row)
    expected = [lowest[row % TOPICS] for row in rows.tolist()]
    assert chosen(workspace, [0, 1, 2], rows, rank).tolist() == expected


@given(st.permutations(range(SHARDS)), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_order_of_shards_does_not_matter(workspace: Workspace, order: list[int], seed: int):
    rank = np.random.default_rng(seed).permutation(PASSAGES)  # of each passage as the first order counts
    plain = chosen(workspace, [0, 1, 2], np.arange(PASSAGES), rank)
    first = np.concatenate([np.arange(OF_SHARD) + shard * OF_SHARD for shard in order])
    other = chosen(workspace, order, np.arange(PASSAGES), rank[first])
    assert first[other].tolist() == plain[first].tolist()


def test_nothing_to_decide_is_decided(workspace: Workspace):
    empty = np.empty(0, np.int64)
    assert chosen(workspace, [0, 1, 2], empty, empty).tolist() == []


def test_texts_too_short_for_a_signature_stand_for_themselves(tmp_path: Path):
    short = " ".join(WORDS[: MIN_WORDS - 1])
    work = Workspace(str(tmp_path / "work"))
    records = [article(n, abstracts=(Abstract(text=short),)) for n in (1, 2)]
    tables = {name: tmp_path / name for name in TABLES}
    work.keep("0", write_extract(records, tables["articles"], tables["passages"], ExtractConfig()), tables)
    near = NearDuplicates(work, ["0"], np.array([0, 2]), THRESHOLD)
    assert near(np.arange(2), np.arange(2)).tolist() == [0, 1]


def test_equal_keys_of_unlike_texts_cost_two_comparisons_each_and_join_nothing(
    monkeypatch: pytest.MonkeyPatch,
):
    compared = []

    def counted(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        compared.append(len(left))
        return similarity(left, right)

    monkeypatch.setattr("biolm.corpus.near.similarity", counted)
    rows = 30_000
    found = np.random.default_rng(0).integers(0, 1 << 16, (rows, SLOTS), dtype=np.uint16)
    bands = np.zeros((2, rows), np.uint64)
    bands[0] = 7  # one template begins them all
    bands[1] = 9
    assert np.array_equal(cluster(found, bands, THRESHOLD), np.arange(rows))
    assert sum(compared) <= 2 * 2 * rows


def test_a_band_of_the_key_zero_compares_nothing():
    found = np.repeat(signatures([text_of(0)]), 3, axis=0)
    assert cluster(found, np.zeros((1, 3), np.uint64), THRESHOLD).tolist() == [0, 1, 2]
    assert cluster(found, band_keys(found), THRESHOLD).tolist() == [0, 0, 0]
