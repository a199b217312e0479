"""Models of different tokenizers on the same hidden words, against stock transformers one passage at a time."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from biolm.batches.counters import raw_draws, uniforms
from biolm.cli import main
from biolm.corpus.reader import open_corpus
from biolm.errors import ArtifactError
from biolm.evaluation.hidden_words import Contender, HiddenWords, evaluate_hidden_words
from biolm.evaluation.results import finite_json
from biolm.evaluation.strata import texts_of
from biolm.model.loading import load_model
from biolm.progress import Silent
from biolm.tokens.tokenizer import load_tokenizer
from conftest import sentences

TEXTS = [(text + " " + text[:40].title()).strip() for text in sentences(60, longest=40)]
STRANGE = ["", "   ", "p53", "IL-6/STAT3 αβ\u2009γ 😀 p<0.05", "\tthe  protein \n kinase ", "x" * 900]


def contender(folder: Path) -> Contender:
    return Contender(load_model(folder), load_tokenizer(str(folder)))


def measure(folders: list[Path], texts: list[str], **options: int) -> HiddenWords:
    contenders = {str(folder): contender(folder) for folder in folders}
    return evaluate_hidden_words(
        contenders, ((n // 3, text) for n, text in enumerate(texts)), Silent(), **options
    )


def plain(
    folder: Path, text: str, passage: int, drawn: np.ndarray | None = None
) -> tuple[float, list[bool], int, int]:
    """Nats of a passage's hidden words, whether each was right, their characters and tokens."""
    stock, tokenizer = AutoModelForMaskedLM.from_pretrained(folder).eval(), load_tokenizer(str(folder)).stock
    words = [found.span() for found in re.finditer(r"\S+", text)]
    if drawn is None:
        drawn = uniforms(raw_draws(len(words), purpose="hidden words", seed=0, passage=passage)) < 0.15
    encoded = tokenizer(text, return_offsets_mapping=True)
    ids = torch.tensor([encoded["input_ids"]])
    # A space in front belongs to the word behind it, be it a token of its own.
    special = set(tokenizer.all_special_ids)
    word_of = [
        next((number for number, (_, last) in enumerate(words) if last > begin), None)
        for begin, _ in encoded["offset_mapping"]
    ]
    places = []
    for number, (first, last) in enumerate(words):
        if drawn[number]:
            own = [i for i, word in enumerate(word_of) if word == number and int(ids[0, i]) not in special]
            places.append((own, last - first))
    shown = ids.clone()
    for inside, _ in places:
        shown[0, inside] = tokenizer.mask_token_id
    with torch.no_grad():
        found = stock(input_ids=shown).logits[0].double().log_softmax(-1)
    own = found.gather(1, ids[0][:, None])[:, 0]
    best = found.argmax(1) == ids[0]
    return (
        -sum(own[inside].sum().item() for inside, _ in places),
        [bool(best[inside].all()) for inside, _ in places],
        sum(length for _, length in places),
        sum(len(inside) for inside, _ in places),
    )


def test_bits_and_words_are_those_of_stock_transformers_passage_by_passage(
    tiny_roberta: Path, tiny_bert: Path
):
    found = measure([tiny_roberta, tiny_bert], TEXTS)
    assert found.left_out == 0
    documents = set()
    for folder in (tiny_roberta, tiny_bert):
        loss, right, characters, tokens = 0.0, [], 0, 0
        for passage, text in enumerate(TEXTS):
            more = plain(folder, text, passage)
            loss, right, characters, tokens = (
                loss + more[0],
                right + more[1],
                characters + more[2],
                tokens + more[3],
            )
            documents |= {passage // 3} if more[2] else set()
        group = found.groups[str(folder)]
        metrics = group.sums.metrics()
        assert group.documents == len(documents)
        assert group.sums.of("words") == len(right) > 150
        assert group.sums.of("characters") == characters
        assert group.sums.of("tokens") == tokens > len(right)
        assert metrics["bits_per_character"] == pytest.approx(loss / math.log(2) / characters, rel=1e-5)
        assert metrics["whole_word_recall"] == pytest.approx(np.mean(right), abs=1e-12)


def test_neither_rows_nor_blocks_matter(tiny_roberta: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch):
    expected = measure([tiny_roberta, tiny_bert], TEXTS)
    monkeypatch.setattr("biolm.evaluation.hidden_words.PASSAGES_AT_ONCE", 7)
    found = measure([tiny_roberta, tiny_bert], TEXTS, max_row_tokens=200)
    for name, group in expected.groups.items():
        np.testing.assert_allclose(found.groups[name].sums.total, group.sums.total, rtol=1e-5)
        np.testing.assert_allclose(found.groups[name].sums.resampled, group.sums.resampled, rtol=1e-5)


def test_long_passages_are_cut_into_the_same_windows_for_all(tiny_roberta: Path, tiny_bert: Path):
    long = [" ".join(TEXTS)]
    found = measure([tiny_roberta, tiny_bert], long)
    counts = {(group.sums.of("words"), group.sums.of("characters")) for group in found.groups.values()}
    assert len(counts) == 1
    drawn = uniforms(raw_draws(len(long[0].split()), purpose="hidden words", seed=0)) < 0.15
    assert counts.pop()[0] == drawn.sum()  # none is lost where windows end
    assert found.left_out == 0


def test_a_window_is_read_as_a_passage_is(
    tiny_roberta: Path, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
):
    """Cut after 12 words for all, each window must cost what stock transformers says of its text alone."""
    cut = " ".join(" ".join(TEXTS[:3]).split()[:24])
    monkeypatch.setattr("biolm.evaluation.hidden_words._windows", lambda _: iter([(0, 12), (12, 24)]))
    found = measure([tiny_roberta, tiny_bert], [cut])
    words = cut.split()
    drawn = uniforms(raw_draws(24, purpose="hidden words", seed=0)) < 0.15
    assert drawn[:12].any()
    assert drawn[12:].any()
    for folder in (tiny_roberta, tiny_bert):
        loss = 0.0
        for part in (slice(0, 12), slice(12, 24)):
            # A space in front, as the second window has it.
            text = " " * (part.start > 0) + " ".join(words[part])
            loss += plain(folder, text, 0, drawn[part])[0]
        assert found.groups[str(folder)].sums.total[1] == pytest.approx(loss, rel=1e-5)


def test_words_that_a_tokenizer_cannot_spell_are_left_out_for_all(tiny_roberta: Path, tiny_bert: Path):
    """The tiny BERT's vocabulary has no Greek; the tiny RoBERTa spells all bytes."""
    texts = ["αλφα the protein βητα kinase"] * 40
    alone, both = measure([tiny_roberta], texts), measure([tiny_roberta, tiny_bert], texts)
    assert alone.left_out == 0
    counts = [group.sums.of("words") for group in both.groups.values()]
    assert counts[0] == counts[1] == alone.groups[str(tiny_roberta)].sums.of("words") - both.left_out
    assert 0 < both.left_out < counts[0]


def test_words_that_a_tokenizer_drops_characters_of_are_left_out_for_all(tiny_roberta: Path, tiny_bert: Path):
    """BERT's normalizer takes the soft hyphen away; a combining accent too, but that is part of its letter."""
    texts = ["pro\u00adtein kinase"] * 60 + ["prote\u0301in kinase"] * 60
    found = measure([tiny_roberta, tiny_bert], texts)
    drawn = [uniforms(raw_draws(2, purpose="hidden words", seed=0, passage=n)) < 0.15 for n in range(120)]
    assert found.left_out >= sum(first for first, _ in drawn[:60]) > 0
    vocabulary = load_tokenizer(str(tiny_bert)).stock
    if vocabulary.unk_token not in vocabulary.tokenize("prote\u0301in"):
        assert found.left_out == sum(first for first, _ in drawn[:60])


def test_one_document_and_none_are_strict_json(tiny_roberta: Path):
    names = {str(tiny_roberta): "m"}
    for texts in (["the protein binds"] * 3, ["", " "]):
        found = finite_json(measure([tiny_roberta], texts).as_json(names))
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert found["models"][0]["bits_per_character"]["low"] is None


def test_strange_texts_end_in_numbers(tiny_roberta: Path, tiny_bert: Path, tiny_modernbert: Path):
    folders = [tiny_roberta, tiny_bert, tiny_modernbert]
    found = measure(folders, STRANGE * 30)
    assert len({group.sums.of("characters") for group in found.groups.values()}) == 1
    assert found.left_out > 0  # the word of 900 letters, in no window
    names = {str(folder): folder.name for folder in folders}
    assert all(model["bits_per_character"]["value"] > 0 for model in found.as_json(names)["models"])


def test_evaluate_compares_across_tokenizers(
    tiny_roberta: Path,
    tiny_bert: Path,
    tiny_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("BIOLM_CACHE", str(tmp_path / "cache"))

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["evaluate", str(tiny_roberta), str(tiny_corpus), "--quiet", *arguments])
        assert end.value.code == 0
        return capsys.readouterr().out

    compare = ["--compare", str(tiny_bert), "--compare", str(tiny_roberta)]
    found = json.loads(run(*compare, "--json", "--out", str(tmp_path / "report")))
    assert [other["model"] for other in found["compare"]] == [str(tiny_roberta)]
    hidden = found["hidden_words"]
    assert [model["model"] for model in hidden["models"]] == [
        str(tiny_roberta),
        str(tiny_bert),
        str(tiny_roberta),
    ]
    texts = list(texts_of(open_corpus(tiny_corpus), "test"))
    direct = measure([tiny_roberta, tiny_bert], texts)
    assert hidden["words"] == direct.groups[str(tiny_bert)].sums.of("words")
    first, other, itself = hidden["models"]
    assert "difference" not in first
    assert itself["difference"]["bits_per_character"]["value"] == 0
    gap = first["bits_per_character"]["value"] - other["bits_per_character"]["value"]
    assert other["difference"]["bits_per_character"]["value"] == pytest.approx(gap)
    for name in ("report.md", "report.html"):
        page = (tmp_path / "report" / name).read_text(encoding="utf-8")
        assert f"{hidden['words']:,} hidden words" in page
        assert f"{other['bits_per_character']['value']:.3f}" in page
    assert f"{hidden['words']:,} hidden words" in run(*compare)


def test_other_tokenizers_need_the_texts(
    tiny_roberta: Path, tiny_bert: Path, roberta_tokens, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(tiny_roberta), str(roberta_tokens.folder), "--compare", str(tiny_bert)])
    assert end.value.code == 2
    assert (
        f"--compare {tiny_bert}, of another tokenizer, needs papers and their texts"
        in capsys.readouterr().err
    )
    with pytest.raises(ArtifactError):
        open_corpus(roberta_tokens.folder)
