"""The best path under the rules, against all paths; a CRF's probabilities and loss against sums over all paths."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm.errors import ModelError
from biolm.model.crf import LinearChain
from biolm.tagging.labels import LabelSet
from biolm.tagging.paths import Paths

SCHEMES = {
    "IOB2": ["O", "B-A", "I-A", "B-B", "I-B"],
    "IOBES": ["O", "B-A", "I-A", "E-A", "S-A"],
    "IOB1": ["O", "I-A", "I-B"],
    "plain": ["O", "A", "B"],
    "starts": ["O", "B-PANEL_START"],
}


def follows(names: list[str], path: tuple[int, ...]) -> bool:
    """Whether a path obeys its scheme, told from the names."""
    before = "O"
    begins = any(name[:2] in ("B-", "S-") for name in names)
    for place in path:
        name = names[place]
        prefix, _, kind = name.partition("-")
        if begins and prefix in ("I", "E"):
            same = before != "O" and before.partition("-")[2] == kind
            if not same or before[:1] in ("E", "S"):
                return False
        before = name
    return True


def all_paths(names: list[str], length: int) -> list[tuple[int, ...]]:
    return [path for path in itertools.product(range(len(names)), repeat=length) if follows(names, path)]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(SCHEMES)), st.integers(1, 5), st.integers(0, 10_000), st.booleans())
def test_the_best_path_is_the_best_of_all_that_obey(scheme: str, length: int, seed: int, crf: bool):
    names = SCHEMES[scheme]
    count = len(names)
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=(length, count))
    transitions = draw.normal(size=(count, count)) if crf else None

    def worth(path: tuple[int, ...]) -> float:
        total = sum(scores[place, label] for place, label in enumerate(path))
        if transitions is not None:
            total += sum(transitions[a, b] for a, b in itertools.pairwise(path))
        return float(total)

    paths = Paths(LabelSet(names), transitions=transitions)
    found = tuple(int(label) for label in paths.best(scores))
    assert worth(found) == pytest.approx(max(worth(path) for path in all_paths(names, length)))
    assert follows(names, found)
    if crf:
        weights = {path: np.exp(worth(path)) for path in all_paths(names, length)}
        total = sum(weights.values())
        likely = paths.probabilities(scores)
        for place in range(length):
            for label in range(count):
                own = sum(weight for path, weight in weights.items() if path[place] == label)
                assert likely[place, label] == pytest.approx(own / total, abs=1e-9)


def test_iob1_has_the_names_of_iob2_and_begins_with_i():
    names = ["O", "B-PER", "I-PER"]
    scores = np.array([[9.0, 0, 0], [1.0, -2.0, 8.0], [9.0, 0, 0]])
    lenient, strict = LabelSet(names, strict=False), LabelSet(names)
    assert lenient.spans(Paths(lenient).best(scores)) == [(1, 2, "PER")]
    assert strict.spans(Paths(strict).best(scores)) == []
    neighbours = np.array([[0, 0, 8.0], [0, 8.0, 0]])  # "I-PER B-PER": two
    assert lenient.spans(Paths(lenient).best(neighbours)) == [(0, 1, "PER"), (1, 2, "PER")]


def test_a_text_without_units_has_no_path():
    labels = LabelSet(SCHEMES["IOB2"])
    for transitions in (None, np.zeros((5, 5))):
        paths = Paths(labels, transitions=transitions)
        assert paths.best(np.empty((0, 5))).shape == (0,)
        assert paths.probabilities(np.empty((0, 5))).shape == (0, 5)


def test_without_a_beginning_there_is_no_mention():
    labels = LabelSet(SCHEMES["IOB2"])
    scores = np.array([[0.0, 1.0, 5.0, -9.0, 0], [2.0, 0, 0, 0, 5.0]])  # "I-A I-B", one by one
    path = Paths(labels).best(scores)
    assert [labels.names[label] for label in path] == ["B-A", "O"]
    assert labels.spans(path) == [(0, 1, "A")]


@pytest.mark.parametrize("scheme", ["IOB2", "IOBES"])
def test_iobes_and_iob2_give_the_same_mentions(scheme: str):
    labels = LabelSet(SCHEMES[scheme])
    names = {"IOB2": ["B-A", "I-A", "O", "B-A", "B-A"], "IOBES": ["B-A", "E-A", "O", "S-A", "S-A"]}[scheme]
    path = np.array([labels.names.index(name) for name in names])
    assert labels.spans(path) == [(0, 2, "A"), (3, 4, "A"), (4, 5, "A")]


def test_labels_without_an_outside_are_refused():
    with pytest.raises(ModelError, match="O among them"):
        LabelSet(["LABEL_0", "LABEL_1"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 10_000))
def test_the_crf_loss_is_the_negative_log_likelihood(lengths: list[int], seed: int):
    torch.manual_seed(seed)
    chain = LinearChain(3).double()
    for weight in chain.parameters():
        torch.nn.init.normal_(weight)
    total = sum(lengths)
    scores = torch.randn(total, 3, dtype=torch.float64)
    labels = torch.randint(0, 3, (total,))
    passage = torch.repeat_interleave(torch.arange(len(lengths)) * 2, torch.tensor(lengths))
    expected, at = 0.0, 0
    for length in lengths:
        own, right = scores[at : at + length], labels[at : at + length]

        def worth(path, own=own):
            value = sum(own[place, label] for place, label in enumerate(path))
            return value + sum(chain.transitions[a, b] for a, b in itertools.pairwise(path))

        every = torch.stack([worth(path) for path in itertools.product(range(3), repeat=length)])
        expected += float((torch.logsumexp(every, 0) - worth([int(label) for label in right])).detach())
        at += length
    loss = chain.loss(scores, labels, passage)
    assert float(loss.detach()) == pytest.approx(expected)
    loss.backward()
    assert all(weight.grad is not None for weight in chain.parameters())
