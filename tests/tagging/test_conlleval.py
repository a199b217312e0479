"""conlleval: what the script printed, and a second counting in its own way, word by word."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm.errors import InputError
from biolm.tagging.conlleval import conlleval_counts, format_conlleval

GOLD = [
    "B-GENE I-GENE O B-CELL O I-GENE".split(),
    "B-GENE B-GENE O B-CELL I-GENE".split(),
    "I-CELL-LINE I-CELL-LINE O".split(),
]
PREDICTED = [
    "B-GENE I-GENE O B-GENE O B-GENE".split(),
    "I-GENE I-GENE B-DRUG B-CELL I-GENE".split(),
    "B-CELL-LINE I-CELL-LINE I-CELL-LINE".split(),
]
# As the perl script, version 2004-01-26, printed them.
PRINTED = """\
processed 14 tokens with 8 phrases; found: 8 phrases; correct: 4.
accuracy:  50.00%; precision:  50.00%; recall:  50.00%; FB1:  50.00
             CELL: precision: 100.00%; recall:  50.00%; FB1:  66.67  1
        CELL-LINE: precision:   0.00%; recall:   0.00%; FB1:   0.00  1
             DRUG: precision:   0.00%; recall:   0.00%; FB1:   0.00  1
             GENE: precision:  60.00%; recall:  60.00%; FB1:  60.00  5"""

STARTS = {"BB", "IB", "OB", "OI"}
ENDS = {"BB", "BO", "IB", "IO"}


def split(tag: str) -> tuple[str, str]:
    prefix, _, type_ = tag.partition("-")
    return prefix, type_


def as_the_script_counts(gold: list[list[str]], predicted: list[list[str]]) -> dict[str, list[int]]:
    """Type → [in gold, found, correct], in one pass over the words, with a sentence break as a word outside."""
    counts: dict[str, list[int]] = {}
    lines = [
        pair for rows in zip(gold, predicted, strict=True) for pair in [*zip(*rows, strict=True), ("O", "O")]
    ]
    in_correct, last = False, (("O", ""), ("O", ""))

    def moved(table: set[str], place: int, now: tuple[str, str], before: tuple[str, str]) -> bool:
        outside = before[0] if place else now[0]
        return before[0] + now[0] in table or (outside != "O" and before[1] != now[1])

    for line in lines:
        now = (split(line[0]), split(line[1]))
        ended = [moved(ENDS, 1, *each) for each in zip(now, last, strict=True)]
        started = [moved(STARTS, 0, *each) for each in zip(now, last, strict=True)]
        if in_correct:
            if all(ended):
                counts[last[0][1]][2] += 1
                in_correct = False
            elif any(ended) or now[0][1] != now[1][1]:
                in_correct = False
        if all(started) and now[0][1] == now[1][1]:
            in_correct = True
        for side in (0, 1):
            if started[side]:
                counts.setdefault(now[side][1], [0, 0, 0])[side] += 1
        last = now
    return counts


def as_lists(gold: list[list[str]], predicted: list[list[str]]) -> dict[str, list[int]]:
    counts = conlleval_counts(gold, predicted).types
    return {type_: [each.gold, each.predicted, each.correct] for type_, each in counts.items()}


def test_the_table_is_the_scripts():
    assert format_conlleval(conlleval_counts(GOLD, PREDICTED)) == PRINTED


def test_every_two_rows_of_three_words_count_as_the_script_counts():
    rows = [list(row) for row in product(["O", "B-X", "I-X", "I-Y"], repeat=3)]
    for gold, predicted in product(rows, repeat=2):
        assert as_lists([gold], [predicted]) == as_the_script_counts([gold], [predicted])


tags = st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"])
sentences = st.lists(st.lists(st.tuples(tags, tags), max_size=8), max_size=4)


@settings(deadline=None)
@given(sentences)
def test_sentences_count_as_the_script_counts(pairs: list[list[tuple[str, str]]]):
    gold, predicted = ([[pair[side] for pair in row] for row in pairs] for side in (0, 1))
    assert as_lists(gold, predicted) == as_the_script_counts(gold, predicted)


def test_a_chunk_does_not_go_over_the_end_of_a_sentence():
    assert conlleval_counts([["I-X"], ["I-X"]], [["I-X"], ["I-X"]]).overall.correct == 2


def test_words_are_right_by_prefix_and_type():
    counts = conlleval_counts([["B-X", "I-X", "O", "O"]], [["I-X", "I-X", "O", "B-Y"]])
    assert (counts.words, counts.words_right) == (4, 2)


def test_no_words_have_no_accuracy():
    printed = format_conlleval(conlleval_counts([], []))
    assert printed == "processed 0 tokens with 0 phrases; found: 0 phrases; correct: 0."


def test_unequal_lengths_are_named():
    with pytest.raises(InputError, match="gold has 2 sentences, the prediction 1"):
        conlleval_counts([["O"], ["O"]], [["O"]])
    with pytest.raises(InputError, match="sentence 2 has 1 gold tags and 2 predicted ones"):
        conlleval_counts([["O"], ["O"]], [["O"], ["O", "O"]])
