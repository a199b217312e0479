"""What gets one label, and in which window: every unit once, never half a word, whatever the text is."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm.mentions import Mention
from biolm.tagging.labels import INSIDE_WORD, OVERLAPPING, WITHOUT_TOKENS, LabelSet
from biolm.tagging.reading import hide
from biolm.tagging.units import Units, cut_units
from biolm.tagging.windows import cut_windows
from biolm.tokens.tokenizer import Tokenizer
from conftest import _tokenizer

STRANGE = st.text(
    st.sampled_from("aB1é\u0301 \t\n.-/()%αβ😀\u200d🔬שלוםعرب\u0915\u093f中\u00a0\x07\u200b_'"), max_size=60
)


@functools.cache
def tokenizer(family: str) -> Tokenizer:
    return Tokenizer(_tokenizer(family), family)


def units_of(text: str, family: str = "bert") -> Units:
    return cut_units(text, tokenizer(family).encode_aligned([text])[0])


def words(text: str, family: str = "bert") -> list[str]:
    return [text[start:end] for start, end in units_of(text, family).spans]


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_words_and_symbols_are_units(family: str):
    text = "IL-6/STAT3 and p53"
    assert words(text, family) == ["IL", "-", "6", "/", "STAT3", "and", "p53"]


def test_symbols_that_share_a_token_are_one_unit():
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizerFast

    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(["(p53). (p53). (p53)."] * 9, vocab_size=400, special_tokens=special)
    import json

    state = json.loads(trained.to_str())["model"]
    merged = RobertaTokenizerFast(vocab=state["vocab"], merges=[tuple(pair) for pair in state["merges"]])
    text = "(p53)."
    units = cut_units(text, Tokenizer(merged, "merged").encode_aligned([text])[0])
    assert [text[start:end] for start, end in units.spans] == ["(", "p53", ")."]


def test_a_combining_mark_stays_with_its_letter():
    assert words("cafe\u0301s \u0915\u093f") == ["cafe\u0301s", "\u0915\u093f"]


def test_scripts_without_spaces_are_taken_by_the_character():
    assert words("患者p53 ผู้ป่วย", "roberta")[:3] == ["患", "者", "p53"]
    assert len(words("ผู้ป่วย", "roberta")) > 1


def test_an_emoji_with_its_modifiers_is_one_unit():
    text = "a 👩\u200d🔬 b"
    assert "👩\u200d🔬" in words(text, "roberta")


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("text", ["", " ", "   \n\t", "\x07", "\u200b", "a", "😀", "שלום עולם", "x" * 400])
def test_no_text_is_too_strange(text: str, family: str):
    units = units_of(text, family)
    windows = cut_windows(units, content_tokens=16, overlap=4)
    assert sum(window.end_unit - window.first_unit for window in windows) == len(units)


@settings(max_examples=200, deadline=None)
@given(STRANGE, st.sampled_from(["bert", "roberta"]))
def test_units_are_apart_in_order_and_have_their_tokens(text: str, family: str):
    units = units_of(text, family)
    spans = units.spans
    assert (spans[:, 0] < spans[:, 1]).all()
    assert (spans[1:, 0] >= spans[:-1, 1]).all()
    assert (np.diff(units.first) > 0).all()
    for start, end in spans:
        assert not text[start].isspace()
        assert not text[end - 1].isspace()
    for number, first in enumerate(units.first):
        assert units.unit_of[first] == number
        assert (units.unit_of[:first] != number).all()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(["ab", "protein kinase", "x" * 40, "(", "IL-6/STAT3", "😀", " "]), max_size=60),
    st.integers(2, 24),
    st.integers(0, 23),
    st.sampled_from(["bert", "roberta"]),
)
def test_every_unit_is_answered_by_one_window_that_reads_it(
    pieces: list[str], content: int, overlap: int, family: str
):
    units = units_of(" ".join(pieces), family)
    overlap = min(overlap, content - 1)
    windows = cut_windows(units, content_tokens=content, overlap=overlap)
    answered = [unit for window in windows for unit in range(window.first_unit, window.end_unit)]
    assert answered == list(range(len(units)))
    for window in windows:
        assert 0 <= window.first_token < window.end_token <= len(units.ids)
        assert window.tokens <= content
        own = units.first[window.first_unit : window.end_unit]
        assert ((own >= window.first_token) & (own < window.end_token)).all()


def test_the_window_that_reads_more_around_it_answers():
    units = units_of(" ".join(["cells"] * 100))
    first, second, *_ = cut_windows(units, content_tokens=40, overlap=20)
    border = int(units.first[second.first_unit])
    assert abs((border - second.first_token) - (first.end_token - border)) <= 1


def test_windows_begin_between_words():
    text = " ".join(["phosphorylationkinase"] * 60)
    units = units_of(text, "roberta")
    per_word = int((units.unit_of == 0).sum())
    assert per_word > 1
    for window in cut_windows(units, content_tokens=10 * per_word + 1, overlap=3 * per_word):
        assert window.first_token in units.first


def test_labels_say_mentions_and_back():
    labels = LabelSet.iob2(["Gene", "Cell"])
    assert labels.names == ("O", "B-Gene", "I-Gene", "B-Cell", "I-Cell")
    text = "IL-6/STAT3 neurons"
    units = units_of(text)
    mentions = [Mention(0, 4, "Gene"), Mention(5, 10, "Gene"), Mention(11, 18, "Cell")]
    encoded, lost = labels.encode(units, mentions)
    assert not lost
    found = [
        (int(units.spans[first, 0]), int(units.spans[end - 1, 1]), kind)
        for first, end, kind in labels.spans(encoded)
    ]
    assert found == [(0, 4, "Gene"), (5, 10, "Gene"), (11, 18, "Cell")]


def test_what_labels_cannot_say_is_counted_by_reason():
    labels = LabelSet.iob2(["Gene"])
    units = units_of("anti STAT3 cells \x07")
    mentions = [
        Mention(5, 9, "Gene"),
        Mention(0, 10, "Gene"),
        Mention(17, 18, "Gene"),
        Mention(11, 16, "Other"),
    ]
    _, lost = labels.encode(units, mentions)
    assert lost == {OVERLAPPING: 1, WITHOUT_TOKENS: 1}
    _, lost = labels.encode(units, [Mention(5, 9, "Gene")])
    assert lost == {INSIDE_WORD: 1}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_flat_mentions_of_whole_units_survive(data: st.DataObject):
    text = data.draw(STRANGE)
    units = units_of(text, "roberta")
    bounds = sorted(data.draw(st.sets(st.integers(0, len(units)), max_size=8)))
    mentions = [
        Mention(
            int(units.spans[first, 0]), int(units.spans[end - 1, 1]), data.draw(st.sampled_from(["A", "B"]))
        )
        for first, end in itertools.pairwise(bounds)
        if data.draw(st.booleans())
    ]
    labels = LabelSet.iob2(["A", "B"])
    encoded, lost = labels.encode(units, mentions)
    assert not lost
    found = {
        (int(units.spans[first, 0]), int(units.spans[end - 1, 1]), kind)
        for first, end, kind in labels.spans(encoded)
    }
    assert found == {(each.start, each.end, each.type) for each in mentions}


def test_hidden_entities_leave_no_token_of_theirs():
    text = "the protein STAT3 and p53-like cells"
    units = units_of(text)
    mask = tokenizer("bert").vocabulary.mask_id
    shown = hide(units, [Mention(12, 17, "Gene"), Mention(22, 24, "Gene")], mask)
    for token, unit in enumerate(units.unit_of):
        start, end = units.spans[unit]
        touched = (start < 17 and end > 12) or (start < 24 and end > 22)
        assert (shown[token] == mask) == touched
        assert touched or shown[token] == units.ids[token]
