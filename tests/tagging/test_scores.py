"""Scores by hand, their identities, and what cannot be scored."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm.errors import InputError
from biolm.mentions import Document, Mention
from biolm.tagging.pairs import paired
from biolm.tagging.report import score
from biolm.tagging.scores import Counts, relaxed_scores, span_scores, strict_scores
from biolm.tagging.seen import names_in, seen_recall

Key = tuple[int, int, str]


def document(id_: str, mentions: list[Key], text: str = "x" * 20) -> Document:
    return Document(id_, text, tuple(Mention(*mention) for mention in mentions))


GOLD = [
    document("1", [(0, 4, "Gene"), (5, 8, "Gene"), (10, 14, "Drug")]),
    document("2", [(0, 4, "Gene"), (2, 4, "Gene"), (6, 9, "Cell")]),
]
PREDICTED = [
    document("2", [(0, 4, "Gene"), (6, 9, "Drug"), (12, 14, "Virus")]),
    document("1", [(0, 4, "Gene"), (5, 9, "Gene"), (5, 9, "Gene"), (10, 14, "Drug")]),
]
PAIRS = paired(GOLD, PREDICTED)

mentions = st.lists(
    st.tuples(st.integers(0, 15), st.integers(1, 5), st.sampled_from("AB")).map(
        lambda each: (each[0], each[0] + each[1], each[2])
    ),
    max_size=6,
)


def test_strict_scores_by_hand():
    scores = strict_scores(PAIRS)
    assert scores.types == {
        "Cell": Counts(1, 0, 0),
        "Drug": Counts(1, 2, 1),
        "Gene": Counts(4, 3, 2),
        "Virus": Counts(0, 1, 0),
    }
    assert scores.micro == Counts(6, 6, 3)
    assert (scores.micro.precision, scores.micro.recall, scores.micro.f1) == (0.5, 0.5, 0.5)
    assert math.isclose(scores.macro_f1, (0 + 2 / 3 + 4 / 7 + 0) / 4)
    assert (scores.repeated_gold, scores.repeated_predicted) == (0, 1)


def test_spans_without_types_by_hand():
    assert span_scores(PAIRS) == Counts(6, 6, 4)
    two_types = [document("1", [(0, 4, "A"), (0, 4, "B")])]
    assert span_scores(paired(two_types, [document("1", [(0, 4, "C")])])) == Counts(1, 1, 1)


def test_relaxed_scores_by_hand():
    """One prediction may find two gold mentions, and two may find one."""
    gold = [document("1", [(0, 4, "A"), (5, 8, "A"), (10, 18, "A"), (10, 12, "B")])]
    predicted = [document("1", [(0, 8, "A"), (10, 12, "A"), (13, 15, "A"), (18, 20, "A")])]
    micro, types = relaxed_scores(paired(gold, predicted))
    assert (micro.gold, micro.predicted, micro.found, micro.right) == (4, 4, 3, 3)
    assert (types["A"].found, types["A"].right, types["B"].found) == (3, 3, 0)
    assert (types["A"].recall, types["A"].precision) == (1, 0.75)
    assert math.isclose(types["A"].f1, 2 * 0.75 / 1.75)
    assert math.isnan(types["B"].precision)
    assert types["B"].f1 == 0


@settings(deadline=None)
@given(mentions, mentions)
def test_relaxed_counts_are_those_of_comparing_all_with_all(gold: list[Key], predicted: list[Key]):
    pairs = paired([document("1", gold)], [document("1", predicted)])
    found, _ = relaxed_scores(pairs)

    def touched(ours: set[Key], theirs: set[Key]) -> int:
        return sum(any(a < d and c < b and kind == other for c, d, other in theirs) for a, b, kind in ours)

    ours, theirs = set(gold), set(predicted)
    assert (found.gold, found.predicted) == (len(ours), len(theirs))
    assert (found.found, found.right) == (touched(ours, theirs), touched(theirs, ours))


@settings(deadline=None)
@given(mentions, mentions)
def test_scores_are_those_of_sets_and_change_sides_with_them(gold: list[Key], predicted: list[Key]):
    there = strict_scores(paired([document("1", gold)], [document("1", predicted)]))
    back = strict_scores(paired([document("1", predicted)], [document("1", gold)]))
    assert there.micro == Counts(len(set(gold)), len(set(predicted)), len(set(gold) & set(predicted)))
    assert there.micro.f1 == back.micro.f1 or not (gold or predicted)
    assert (there.micro.gold, there.repeated_gold) == (back.micro.predicted, back.repeated_predicted)


def test_gold_against_itself_is_right_in_every_reading():
    report = score(paired(GOLD, GOLD), known=names_in(GOLD), replicates=20)
    assert report.strict.micro.f1 == report.strict.macro_f1 == report.span.f1 == report.relaxed.f1 == 1
    assert all(scheme.f1 == 1 for scheme in report.schemes.values())
    assert report.seen is not None
    assert report.seen.seen.recall == 1
    assert report.seen.unseen.gold == 0


def test_nothing_predicted_has_a_recall_and_an_f1_of_0_and_no_precision():
    report = score(paired(GOLD, [document("1", []), document("2", [])]), replicates=20).as_dict()
    assert report["strict"]["micro"] == {
        "gold": 6,
        "predicted": 0,
        "correct": 0,
        "precision": None,
        "recall": 0.0,
        "f1": 0.0,
    }
    assert report["strict"]["macro_f1"] == 0
    assert report["relaxed"]["micro"]["f1"] == 0
    assert report["intervals"]["precision"] == {"value": None, "low": None, "high": None}


def test_nothing_at_all_gives_null_and_no_warning():
    report = score(paired([document("1", [])], [document("1", [])]), replicates=20)
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False))["strict"]["micro"]["f1"] is None
    assert score([], replicates=20).as_dict()["documents"] == 0


def test_a_discontinuous_mention_is_missed_unless_its_covering_span_is_predicted():
    torn = Document("1", "x" * 20, (Mention(0, 9, "A", attributes={"discontinuous": "0-3 6-9"}),))
    assert strict_scores(paired([torn], [document("1", [(0, 3, "A")])])).micro == Counts(1, 1, 0)
    assert strict_scores(paired([torn], [document("1", [(0, 9, "A")])])).micro == Counts(1, 1, 1)


def test_recall_on_names_that_training_did_not_show():
    training = [
        Document("t", "Creb  binding\nprotein and TP53", (Mention(0, 21, "Gene"), Mention(26, 30, "Cell")))
    ]
    text = "CREB binding protein, TP53, tp53 and p63"
    gold = [
        Document(
            "1",
            text,
            (
                Mention(0, 20, "Gene"),
                Mention(22, 26, "Gene"),
                Mention(28, 32, "Cell"),
                Mention(37, 40, "Gene"),
            ),
        )
    ]
    predicted = [
        Document("1", text, (Mention(0, 20, "Gene"), Mention(28, 32, "Gene"), Mention(37, 40, "Gene")))
    ]
    found = seen_recall(paired(gold, predicted), names_in(training))
    assert (found.seen.gold, found.seen.correct) == (2, 1)  # TP53 was a cell in training, not a gene
    assert (found.unseen.gold, found.unseen.correct) == (2, 1)
    assert found.as_dict()["types"]["Gene"] == {
        "seen": {"gold": 1, "correct": 1, "recall": 1.0},
        "unseen": {"gold": 2, "correct": 1, "recall": 0.5},
    }
    assert found.as_dict()["types"]["Cell"]["unseen"]["recall"] is None


@pytest.mark.parametrize(
    ("gold", "predicted", "message"),
    [
        (["1", "1"], ["1"], "two gold documents have the id 1"),
        (["1"], ["1", "1"], "two predicted documents have the id 1"),
        (["1", "2"], ["1"], "1 gold documents have no prediction: 2;"),
        (["1"], ["1", "3", "4"], "2 predicted documents are not in gold: 3, 4;"),
    ],
)
def test_ids_that_do_not_pair_are_named(gold: list[str], predicted: list[str], message: str):
    with pytest.raises(InputError) as error:
        paired([document(id_, []) for id_ in gold], [document(id_, []) for id_ in predicted])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("gold", "predicted", "message"),
    [
        ("a cell line", "a cell  line", "from character 7 on, gold has 'line', the prediction ' line';"),
        ("a cell", "a cell.", "from character 6 on, gold has its end, the prediction '.';"),
        ("a cell", "", "from character 0 on, gold has 'a cell', the prediction its end;"),
    ],
)
def test_texts_that_differ_are_named_with_the_place(gold: str, predicted: str, message: str):
    with pytest.raises(InputError) as error:
        paired([document("d7", [], gold)], [document("d7", [], predicted)])
    assert "document d7: the texts differ" in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize("mention", [(3, 3, "A"), (5, 4, "A"), (-1, 2, "A"), (18, 21, "A")])
def test_a_mention_that_is_not_in_its_text_is_refused(mention: Key):
    with pytest.raises(InputError, match="document 1: the predicted mention"):
        paired([document("1", [])], [document("1", [mention])])
