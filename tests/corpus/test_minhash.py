import random

import numpy as np
from corpus_papers import WORDS, prose
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm.corpus.components import connected_components
from biolm.corpus.minhash import (
    BANDS,
    MIN_WORDS,
    SHINGLE,
    SLOTS,
    band_keys,
    signatures,
    similarity,
    text_key,
    words_of,
)
from biolm.corpus.near import cluster

GOLDEN, GOLDEN_KEY = [63942, 61583, 63235, 60443, 50834, 50691], 15142957169525828681
"""Of the first version: corpora must come out the same on every machine."""


def jaccard(left: str, right: str) -> float:
    a, b = (
        {tuple(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}
        for words in (words_of(left), words_of(right))
    )
    return len(a & b) / len(a | b)


def noisy(text: str, share: float, seed: int) -> str:
    chance = random.Random(seed)
    return " ".join(f"w{chance.random()}" if chance.random() < share else word for word in text.split())


def vocabulary_text(seed: int, words: int = 150) -> str:
    chance = random.Random(seed)
    return " ".join(f"{chance.choice(WORDS)}{chance.randrange(50)}" for _ in range(words))


def test_a_signature_is_the_same_forever():
    (signature,) = signatures([prose(1, words=40)])
    assert signature[:6].tolist() == GOLDEN
    assert text_key("Protein kinase A.") == text_key("protein-kinase a") == GOLDEN_KEY


@given(st.integers(0, 10_000), st.floats(0, 0.3))
@settings(max_examples=40, deadline=None)
def test_the_estimate_is_near_the_similarity(seed: int, share: float):
    text = vocabulary_text(seed)
    other = noisy(text, share, seed)
    left, right = signatures([text, other])
    true = jaccard(text, other)
    error = (true * (1 - true) / SLOTS) ** 0.5
    assert abs(float(similarity(left[None], right[None])[0]) - true) <= 5 * error + 1e-9


@given(st.lists(st.text("ab ,.é", max_size=80), max_size=20))
@settings(deadline=None)
def test_a_signature_does_not_depend_on_the_batch(texts: list[str]):
    together = signatures(texts)
    assert together.shape == (len(texts), SLOTS)
    for text, signature in zip(texts, together, strict=True):
        assert np.array_equal(signatures([text])[0], signature)
        assert signature.any() == (len(words_of(text)) >= MIN_WORDS)


def test_case_and_punctuation_do_not_matter():
    text = prose(3, words=50)
    one, other = signatures([text, text.upper().replace(" ", ", ")])
    assert np.array_equal(one, other)


def test_keys_are_equal_where_bands_are():
    one, other = signatures([vocabulary_text(1), noisy(vocabulary_text(1), 0.02, 1)])
    keys = band_keys(np.stack([one, other]))
    equal = (one.reshape(BANDS, -1) == other.reshape(BANDS, -1)).all(axis=1)
    assert 0 < equal.sum() < BANDS
    assert np.array_equal(keys[:, 0] == keys[:, 1], equal)


def test_copies_with_noise_are_found_and_others_are_not():
    texts = [vocabulary_text(seed) for seed in range(40)]
    texts += [noisy(text, 0.03, seed) for seed, text in enumerate(texts)]
    found = signatures(texts)
    component = cluster(found, band_keys(found), 0.7)
    truth = [jaccard(texts[i], texts[i + 40]) for i in range(40)]
    for i in range(40):
        assert component[i] == i
        if truth[i] >= 0.8:
            assert component[i + 40] == i


def test_a_million_equal_keys_are_compared_once_each(monkeypatch):
    compared = []

    def counted(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        compared.append(len(left))
        return similarity(left, right)

    monkeypatch.setattr("biolm.corpus.near.similarity", counted)
    rows = 20_000
    found = np.repeat(signatures([vocabulary_text(1)]), rows, axis=0)
    component = cluster(found, band_keys(found), 0.8)
    assert not component.any()
    assert sum(compared) <= 2 * rows


@given(st.integers(1, 60), st.data())
@settings(max_examples=60, deadline=None)
def test_components_are_those_of_a_search(count: int, data: st.DataObject):
    nodes = st.integers(0, count - 1)
    edges = data.draw(st.lists(st.tuples(nodes, nodes), max_size=80))
    left, right = (np.array([edge[side] for edge in edges], np.int64) for side in (0, 1))
    found = connected_components(count, left, right)
    neighbours = {node: {node} for node in range(count)}
    for a, b in edges:
        neighbours[a].add(b)
        neighbours[b].add(a)
    for node in range(count):
        seen, todo = {node}, [node]
        while todo:
            for other in neighbours[todo.pop()] - seen:
                seen.add(other)
                todo.append(other)
        assert found[node] == min(seen)
