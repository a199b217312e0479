"""Words back into text: the same words always, and the spaces that the raw text has."""

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.annotations.conll import read_conll
from biolm.annotations.files import read_text
from biolm.annotations.pubtator import read_pubtator
from biolm.annotations.spacing import join_words, spaced_words


@given(st.lists(st.text(min_size=1, max_size=4) | st.sampled_from(list(".,-/()[]\"'+=<>%0a_\x1f "))))
def test_every_word_is_where_it_is_said_to_be(words: list[str]):
    for join in (join_words, spaced_words):
        text, spans = join(words)
        assert [text[start:end] for start, end in spans] == words
        gaps = [text[before:after] for (_, before), (after, _) in pairwise(spans)]
        assert set(gaps) <= {"", " "}
        assert len(text) == sum(map(len, words)) + gaps.count(" ")


def test_an_empty_word_has_no_place():
    for join in (join_words, spaced_words):
        with pytest.raises(ValueError, match="empty word"):
            join(["a", ""])
        assert join([]) == ("", [])


@pytest.mark.parametrize(
    "text",
    [
        "T-cell help for ataxia-telangiectasia (A-T), a disease of 0.5% (95% CI 0.4-1.2).",
        "The levels of 1,25(OH)2D3 were higher (p < 0.05; P = .01) in 10,000 patients.",
        "The Wilms' tumour gene at the 5' end and Knudson's \"two-hit\" hypothesis don't differ.",
        "Six5+/- mice weighed 20 +/- 2 g; Bax-/- mice and Na+/glucose transport did not.",
        "Intra- or extracellular state-of-the-art 2- to 5-fold changes of [14C]glucose and gene(s).",
        "A 193A-->T change from -56 to -2 (r = -0.7), e.g. in phosphatidylinositol-4,5-bisphosphate.",
        "Ratios of 1:1, see refs. [1, 2]; CD4+ cells, Ca2+ channels and NF-kappaB/p65.",
        "They call it the 'second hit' of this model.",
    ],
)
def test_the_typography_of_an_abstract_comes_back(text: str):
    words = re.findall(r"[^\W_]+|\S", text)
    assert join_words(words)[0] == text


def test_words_that_were_split_otherwise():
    assert (
        join_words(["Knudson", "'s", "isn't", "do", "n't", "``", "x", "''", "."])[0]
        == "Knudson's isn't don't ``x''."
    )
    assert join_words(["IL-2", "(", "10", "ng/ml", ")"])[0] == "IL-2 (10 ng/ml)"


def gaps_of_ncbi(shared: Path, words: str, raw: str) -> tuple[int, int, int]:
    """Of one part of NCBI-disease: gaps between words, those that are spaces, and those that come back."""
    folder = shared / "ner"
    content = read_text(folder / "NCBI-disease-original" / f"NCBI{raw}set_corpus.txt")
    letters = [(char, place) for place, char in enumerate(
        "\n".join(paper.text for paper in read_pubtator(content, where=raw))
    ) if char == "\n" or not char.isspace()]  # fmt: skip
    squeezed = "".join(char for char, _ in letters)
    total = spaces = right = at = 0
    path = folder / "NCBI-disease-IOB" / f"{words}.tsv"
    for sentence in read_conll(read_text(path), words, where=words):
        row = [sentence.text[start:end] for start, end in sentence.words or ()]
        joined = "".join(row)
        found = squeezed.find(joined, at)
        at = found if 0 <= found < at + 3000 else squeezed.find(joined)
        assert at >= 0, joined
        for word, (_, end), (start, _) in zip(row, sentence.words, sentence.words[1:], strict=False):
            at += len(word)
            is_space = letters[at][1] - letters[at - 1][1] > 1
            total, spaces, right = total + 1, spaces + is_space, right + (is_space == (start > end))
        at += len(row[-1])
    return total, spaces, right


def test_gaps_of_ncbi_disease_are_right_where_no_rule_was_chosen(shared: Path):
    parts = [gaps_of_ncbi(shared, "devel", "develop"), gaps_of_ncbi(shared, "test", "test")]
    total, spaces, right = (sum(column) for column in zip(*parts, strict=True))
    assert total == 46603
    assert spaces / total == pytest.approx(0.8293, abs=1e-4)
    assert right / total > 0.994
