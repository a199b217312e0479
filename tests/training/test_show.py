"""The masked passage that a run shows at its start."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from biolm.batches.packing import PackedRow
from biolm.tokens.tokenizer import Tokenizer, load_tokenizer
from biolm.training.show import SHOWN_CHARACTERS, masked_passage
from conftest import WORDS

MARK = re.compile(r"\[([^\[\]→]*)→[^\[\]]*\]")
LETTERS = "aZ9 .,-(β)µα–é細胞🧬"
TEXTS = st.lists(st.sampled_from(WORDS) | st.text(LETTERS, max_size=6), min_size=1, max_size=30).map(" ".join)


@pytest.fixture(scope="module", params=["roberta", "bert"])
def tokenizer(request: pytest.FixtureRequest, tiny_roberta: Path, tiny_bert: Path) -> Tokenizer:
    return load_tokenizer(str(tiny_roberta if request.param == "roberta" else tiny_bert))


def row_of(tokenizer: Tokenizer, text: str, replaced: dict[int, int], *others: str) -> PackedRow:
    """A row of `text` with ids `replaced` at those places of its content, and of other texts after it."""
    vocabulary = tokenizer.vocabulary
    content, *rest = tokenizer.encode([text, *others])
    shown = [replaced.get(place, token) for place, token in enumerate(content)]
    windows = [[*vocabulary.prefix, *ids, *vocabulary.suffix] for ids in (shown, *rest)]
    places = sorted(replaced)
    lengths = np.array([len(window) for window in windows])
    return PackedRow(
        input_ids=np.concatenate([np.array(window, np.int64) for window in windows]),
        lengths=lengths,
        masked_positions=np.array([len(vocabulary.prefix) + place for place in places], np.int64),
        labels=np.array([content[place] for place in places], np.int64),
        masked_per_window=np.array([len(places)] + [0] * len(rest)),
        examples=np.arange(len(windows)),
    )


def spelled(tokenizer: Tokenizer, text: str) -> str:
    """What the tokenizer makes of a text."""
    return tokenizer.stock.decode(tokenizer.encode([text])[0], clean_up_tokenization_spaces=False)


@settings(max_examples=60, deadline=None)
@given(text=TEXTS, data=st.data())
def test_without_the_marks_it_is_the_passage(tokenizer: Tokenizer, text: str, data: st.DataObject):
    count = len(tokenizer.encode([text])[0])
    places = data.draw(st.sets(st.integers(0, count - 1), max_size=count)) if count else set()
    ordinary = [i for i in range(tokenizer.vocabulary.size) if i not in tokenizer.vocabulary.special_ids]
    brackets = [i for i in ordinary if set("[]→") & set(tokenizer.stock.decode([i]))]
    instead = st.sampled_from([tokenizer.vocabulary.mask_id, *(i for i in ordinary if i not in brackets)])
    row = row_of(tokenizer, text, {place: data.draw(instead) for place in places})
    seen = masked_passage(row, tokenizer).replace(tokenizer.stock.mask_token, "MASK")
    seen = seen.replace("[UNK]", "UNK")
    whole = spelled(tokenizer, text).replace("[UNK]", "UNK")
    without = MARK.sub(r"\1", seen)
    if without.endswith("…"):
        assert whole.startswith(without[:-1])
    else:
        assert without == whole
    assert len(MARK.findall(seen)) <= len(places)
    assert bool(MARK.findall(seen)) == bool(places) or without.endswith("…")


def single_words(tokenizer: Tokenizer) -> list[str]:
    """Words that are one token each."""
    return [word for word in WORDS if len(tokenizer.encode([f"a {word}"])[0]) == 2]


def test_hidden_replaced_and_kept_are_told_apart(tokenizer: Tokenizer):
    hidden, replaced, kept, plain = single_words(tokenizer)[:4]
    text = f"a {hidden} {replaced} {kept} {plain}"
    content = tokenizer.encode([text])[0]
    row = row_of(
        tokenizer, text, {1: tokenizer.vocabulary.mask_id, 2: content[4], 3: content[3]}, "another passage"
    )
    seen = f"a [{hidden}→{tokenizer.stock.mask_token}] [{replaced}→{plain}] [{kept}→{kept}] {plain}"
    assert masked_passage(row, tokenizer) == seen


def test_a_part_of_a_word_is_marked_inside_it(tokenizer: Tokenizer):
    word = next(word for word in single_words(tokenizer) if len(tokenizer.encode([f"a {word}b"])[0]) == 3)
    row = row_of(tokenizer, f"a {word}b in", {2: tokenizer.vocabulary.mask_id})
    assert masked_passage(row, tokenizer) == f"a {word}[b→{tokenizer.stock.mask_token}] in"


def test_half_a_character_is_marked_as_the_whole_of_it(tiny_roberta: Path):
    tokenizer = load_tokenizer(str(tiny_roberta))
    assert len(tokenizer.encode(["β"])[0]) == 2
    row = row_of(tokenizer, "β", {0: tokenizer.vocabulary.mask_id})
    assert masked_passage(row, tokenizer) == "[β→<mask>\ufffd]"


def test_control_characters_cannot_reach_a_terminal(tiny_roberta: Path):
    tokenizer = load_tokenizer(str(tiny_roberta))
    text = "a\x1b[31mb\nc\u202ed\x9be"
    seen = masked_passage(row_of(tokenizer, text, {1: tokenizer.vocabulary.mask_id}), tokenizer)
    assert seen.isprintable()
    assert MARK.sub(r"\1", seen).endswith(r"[31mb\nc\u202ed\x9be")


def test_a_long_passage_is_cut_between_tokens(tokenizer: Tokenizer):
    words = ["protein"] * 700
    row = row_of(tokenizer, " ".join(words), {1: tokenizer.vocabulary.mask_id})
    seen = masked_passage(row, tokenizer)
    assert seen.endswith("protein…")
    assert SHOWN_CHARACTERS - 10 < len(seen) <= SHOWN_CHARACTERS + 1


def test_an_empty_row_or_passage_is_nothing(tiny_roberta: Path):
    tokenizer = load_tokenizer(str(tiny_roberta))
    row = row_of(tokenizer, "", {})
    assert masked_passage(row, tokenizer) == ""
    none = np.empty(0, np.int64)
    assert masked_passage(PackedRow(np.ones(8, np.int64), none, none, none, none, none), tokenizer) == ""


def test_a_real_tokenizer_spells_a_real_sentence(shared: Path):
    tokenizer = load_tokenizer(str(shared / "roberta-base-tokenizer"))
    text = "Mutations in the tumor suppressor p53 cause cancer."
    content = tokenizer.encode([text])[0]
    pieces = tokenizer.pieces(content)
    hidden = {pieces.index("Ġtumor"): tokenizer.vocabulary.mask_id, pieces.index("Ġp"): content[2]}
    hidden[pieces.index("Ġcancer")] = content[pieces.index("Ġcancer")]
    seen = masked_passage(row_of(tokenizer, text, hidden), tokenizer)
    other = tokenizer.stock.decode([content[2]]).strip()
    assert seen == f"Mutations in the [tumor→<mask>] suppressor [p→{other}]53 cause [cancer→cancer]."
