"""Words: what is one in the life sciences, in each kind of tokenizer, against a regular expression over the text."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biolm.errors import ModelError
from biolm.tokens.tokenizer import Tokenizer, load_tokenizer
from biolm.tokens.words import WordTable, word_table

TABLE = functools.cache(word_table)
WORD = re.compile(r"[^\W_]+(?:(?:[-_\u2010\u2013'’]|(?<=\d)[.,](?=\d))[^\W_]+)*|\S")


def words_of(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words of a text, as its ids tell them."""
    (ids,) = tokenizer.encode([text])
    starts = np.flatnonzero(TABLE(tokenizer).starts(np.array(ids, np.int64)))
    return [tokenizer.stock.decode(part).strip() for part in np.split(np.array(ids), starts)[1:]]


@pytest.fixture(scope="session")
def roberta_base(shared: Path) -> Tokenizer:
    return load_tokenizer(str(shared / "roberta-base-tokenizer"))


@pytest.fixture(scope="session")
def tiny(tiny_roberta: Path) -> Tokenizer:
    return load_tokenizer(str(tiny_roberta))


def metaspace(*, byte_fallback: bool = False) -> Tokenizer:
    """A Metaspace tokenizer of single letters, as sentencepiece makes them."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    bos, eos, unknown, mask = "<s>", "</s>", "<unk>", "<mask>"
    letters = [bos, eos, unknown, mask, *"▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    letters += [*"0123456789-.,'()/α", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend = Backend(
        models.BPE(
            vocab={letter: i for i, letter in enumerate(letters)},
            merges=[],
            unk_token=unknown,
            byte_fallback=byte_fallback,
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    stock = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=bos,
        eos_token=eos,
        unk_token=unknown,
        mask_token=mask,
    )
    return Tokenizer(stock, "metaspace")


ONE_WORD = "p53 IL-6 TNF-α 0.05 HEK293T NF-κB 1,000 Crohn's NM_000546 5–10 a‐b µm 中文 naïve O’Brien HLA-DRB1".split()


@pytest.mark.parametrize("word", ONE_WORD)
def test_names_and_numbers_are_one_word_of_roberta_base(roberta_base: Tokenizer, word: str):
    assert words_of(roberta_base, f"in {word} of") == ["in", word, "of"]
    assert words_of(roberta_base, word) == [word]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cancer.", ["cancer", "."]),
        ("(p53)", ["(", "p53", ")"]),
        ("IL-6/STAT3", ["IL-6", "/", "STAT3"]),
        ("p < 0.05), n=3.", ["p", "<", "0.05", "),", "n", "=", "3", "."]),
        ("of mice - and men", ["of", "mice", "-", "and", "men"]),
        ("in 2015. 30 mice, 40", ["in", "2015", ".", "30", "mice", ",", "40"]),
        ("≥5 → 10−3", ["≥", "5", "→", "10", "−", "3"]),
        ("p53-/- mice", ["p53", "-", "/-", "mice"]),
    ],
)
def test_punctuation_is_words_of_its_own_in_roberta_base(
    roberta_base: Tokenizer, text: str, words: list[str]
):
    assert words_of(roberta_base, text) == words


@pytest.mark.parametrize("word", ["p53", "IL-6", "TNF-α", "0.05", "1,000", "Crohn's"])
@pytest.mark.parametrize("byte_fallback", [False, True])
def test_names_and_numbers_are_one_word_of_a_metaspace_tokenizer(word: str, byte_fallback: bool):
    found = words_of(metaspace(byte_fallback=byte_fallback), f"({word}) x")
    assert [part.replace(" ", "") for part in found] == ["(", word, ")", "x"]


def test_bytes_that_a_metaspace_tokenizer_falls_back_to_are_one_character():
    tokenizer = metaspace(byte_fallback=True)
    (ids,) = tokenizer.encode(["aκb ≥5"])
    assert len(ids) == len("▁aκκb▁≥≥≥5")
    assert np.flatnonzero(TABLE(tokenizer).starts(np.array(ids))).tolist() == [0, 5, 9]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("p53 binds IL-6 in cells", ["p53", "binds", "il - 6", "in", "cells"]),
        ("(p53)", ["(", "p53", ")"]),
        ("IL-6/STAT3.", ["il - 6", "/", "stat3", "."]),
        ("0.05", ["0", ".", "05"]),
        ("mutation-", ["mutation", "-"]),
    ],
)
def test_wordpieces_join_at_hyphens_alone(text: str, words: list[str]):
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    trained = BertWordPieceTokenizer(lowercase=True)
    trained.train_from_iterator(["p53 binds il-6/stat3 (mutation) in cells. 0"], vocab_size=80)
    tokenizer = Tokenizer(BertTokenizerFast(vocab=trained.get_vocab()), "tiny")
    assert words_of(tokenizer, text) == words


@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_special_tokens_end_words(family: str, request: pytest.FixtureRequest):
    tokenizer = load_tokenizer(str(request.getfixturevalue(f"tiny_{family}")))
    (ids,) = tokenizer.encode(["protein"])
    mask = tokenizer.vocabulary.mask_id
    starts = TABLE(tokenizer).starts(np.array([*ids, mask, ids[-1], mask], np.int64))
    assert starts[-3:].all()


def test_a_tokenizer_that_hides_its_words_is_refused():
    from tokenizers import decoders, pre_tokenizers

    tokenizer = metaspace()
    tokenizer.stock.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.stock.backend_tokenizer.decoder = decoders.Fuse()
    with pytest.raises(ModelError, match="--mask-unit token"):
        word_table(tokenizer)


texts = st.text(st.sampled_from("abcXYZ019ακβéß中文 -_–‐.,'’()/≥→ "), max_size=60)


@given(text=texts)
@pytest.mark.parametrize("name", ["tiny", "roberta_base"])
def test_a_byte_level_token_starts_a_word_where_the_text_does(
    name: str, text: str, request: pytest.FixtureRequest
):
    """Each token against the words that a regular expression finds in the text."""
    tokenizer = request.getfixturevalue(name)
    (ids,) = tokenizer.encode([text])
    table = TABLE(tokenizer)
    starts = table.starts(np.array(ids, np.int64))
    # Places in the text's bytes that go on with a space, a word or a character.
    inside = {len(text[: i + 1].encode()) for i, letter in enumerate(text) if letter == " "}
    for match in WORD.finditer(text):
        first, last = (len(text[:at].encode()) for at in match.span())
        inside |= set(range(first + 1, last))
    at = 0
    for token, start in zip(ids, starts, strict=True):
        assert start == (at not in inside)
        at += int(table.offsets[token + 1] - table.offsets[token])
    assert at == len(text.encode())


@given(st.binary(max_size=40))
def test_any_bytes_are_read(text: bytes):
    """A window may begin and end anywhere, also inside a character."""
    table = WordTable(np.arange(256).astype(np.uint8), np.arange(257, dtype=np.int64))
    starts = table.starts(np.frombuffer(text, np.uint8).astype(np.int64))
    assert len(starts) == len(text)
    assert not len(text) or starts[0]
