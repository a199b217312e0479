"""Pseudo-log-likelihood: values of a plain implementation, whatever is packed; long, empty and odd texts."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from biolm.cli import main
from biolm.evaluation.pseudo_likelihood import METRICS, pseudo_log_likelihoods, window_parts
from biolm.model.loading import load_model
from biolm.tokens.tokenizer import Tokenizer, load_tokenizer
from conftest import sentences

TEXTS = [
    *sentences(4, longest=30),
    "IL-6/STAT3 signalling (p < 0.05) in Crohn's disease — 10 µM",
    "",
    "x",
    "   two  spaces ",
    "😀 naïve façade",
]


def plain(stock: torch.nn.Module, tokenizer: Tokenizer, text: str, metric: str) -> list[float]:
    """Token by token through the stock model, one window at a time."""
    found = []
    encoded = tokenizer.stock(text)
    words, ids = encoded.word_ids(), torch.tensor(encoded["input_ids"])
    for place in [i for i, word in enumerate(words) if word is not None]:
        hidden = [place]
        if metric == "within-word-l2r":
            hidden = [i for i in range(place, len(ids)) if words[i] == words[place]]
        window = ids.clone()
        window[hidden] = tokenizer.vocabulary.mask_id
        with torch.no_grad():
            logits = stock(input_ids=window[None]).logits[0, place]
        found.append(float(logits.double().log_softmax(-1)[ids[place]]))
    return found


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("family", ["roberta", "bert", "modernbert"])
def test_scores_are_those_of_the_stock_model_token_by_token(
    family: str, metric: str, request: pytest.FixtureRequest
):
    folder = request.getfixturevalue(f"tiny_{family}")
    tokenizer = load_tokenizer(str(folder))
    stock = AutoModelForMaskedLM.from_pretrained(folder).eval()
    found = list(pseudo_log_likelihoods(load_model(folder), tokenizer, TEXTS, metric=metric))
    assert [scored.text for scored in found] == TEXTS
    several = 0
    for scored in found:
        wanted = plain(stock, tokenizer, scored.text, metric)
        np.testing.assert_allclose(scored.log_probabilities, wanted, atol=1e-4)
        assert scored.pseudo_log_likelihood == pytest.approx(sum(wanted), abs=1e-3)
        several += sum(word.tokens > 1 for word in scored.words())
    assert several > 3  # or both metrics would be one


def test_the_metrics_differ_where_words_have_several_tokens(tiny_roberta: Path):
    tokenizer, model = load_tokenizer(str(tiny_roberta)), load_model(tiny_roberta)
    ours, original = (
        next(pseudo_log_likelihoods(model, tokenizer, TEXTS[:1], metric=metric)) for metric in METRICS
    )
    last = np.append(np.diff(ours.tokens.words) > 0, True)  # the last token of a word sees the same in both
    np.testing.assert_allclose(ours.log_probabilities[last], original.log_probabilities[last], atol=1e-5)
    assert np.abs(ours.log_probabilities - original.log_probabilities)[~last].max() > 1e-4


def test_scores_do_not_depend_on_what_is_computed_at_once(tiny_bert: Path):
    tokenizer, model = load_tokenizer(str(tiny_bert)), load_model(tiny_bert)
    whole = list(pseudo_log_likelihoods(model, tokenizer, TEXTS, max_row_tokens=100_000))
    for budget in (1, 77):
        for one, other in zip(
            whole, pseudo_log_likelihoods(model, tokenizer, TEXTS, max_row_tokens=budget), strict=True
        ):
            np.testing.assert_allclose(one.log_probabilities, other.log_probabilities, atol=1e-5)


def test_texts_are_read_as_they_are_scored(tiny_bert: Path):
    read = []

    def endless():
        for number in range(10_000):
            read.append(number)
            yield "gene expression"

    scores = pseudo_log_likelihoods(load_model(tiny_bert), load_tokenizer(str(tiny_bert)), endless())
    assert next(scores).pseudo_log_likelihood < 0
    assert len(read) < 2000


def test_words_are_the_texts_own(tiny_roberta: Path, tiny_bert: Path):
    text = "  Expression of IL-6 in naïve T cells."
    for folder in (tiny_roberta, tiny_bert):
        (scored,) = pseudo_log_likelihoods(load_model(folder), load_tokenizer(str(folder)), [text])
        words = scored.words()
        assert [text[word.start : word.end] for word in words] == [word.text for word in words]
        assert "".join(word.text for word in words) == text.replace(" ", "")
        assert sum(word.tokens for word in words) == len(scored.log_probabilities)
        assert sum(word.log_probability for word in words) == pytest.approx(scored.pseudo_log_likelihood)


def test_a_text_over_the_limit_is_scored_in_parts_that_do_not_cut_words(tiny_bert: Path):
    tokenizer, model = load_tokenizer(str(tiny_bert)), load_model(tiny_bert)
    text = " ".join(sentences(40))
    (scored,) = pseudo_log_likelihoods(model, tokenizer, [text])
    limit = model.config.max_position_embeddings - 2
    assert scored.windows >= len(scored.log_probabilities) / limit > 1
    parts = window_parts(scored.tokens.words, limit)
    assert len(parts) == scored.windows
    assert all(part.stop - part.start <= limit for part in parts)
    assert all(scored.tokens.words[p.stop - 1] != scored.tokens.words[p.stop] for p in parts[:-1])
    (alone,) = pseudo_log_likelihoods(
        model,
        tokenizer,
        [text[scored.tokens.spans[parts[1].start, 0] : scored.tokens.spans[parts[1].stop - 1, 1]]],
    )
    np.testing.assert_allclose(scored.log_probabilities[parts[1]], alone.log_probabilities, atol=1e-5)


def test_a_word_over_the_limit_is_cut():
    assert window_parts(np.zeros(10, np.int64), 4) == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert window_parts(np.array([0, 0, 1, 1, 1, 2]), 4) == [slice(0, 2), slice(2, 6)]
    assert window_parts(np.empty(0, np.int64), 4) == []


def test_score_gives_a_line_for_each_line(
    tiny_roberta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")

    def run(*arguments: str) -> list[str]:
        with pytest.raises(SystemExit) as end:
            main(["score", str(tiny_roberta), str(file), *arguments])
        assert end.value.code == 0
        return capsys.readouterr().out.splitlines()

    expected = list(
        pseudo_log_likelihoods(load_model(tiny_roberta), load_tokenizer(str(tiny_roberta)), TEXTS)
    )
    for line, scored in zip(run(), expected, strict=True):
        total, tokens, words, text = line.split("\t")
        assert float(total) == pytest.approx(scored.pseudo_log_likelihood, abs=1e-3)
        assert (int(tokens), int(words), text) == (
            len(scored.log_probabilities),
            len(scored.words()),
            scored.text,
        )
    for line, scored in zip(run("--json"), expected, strict=True):
        facts = json.loads(line)
        assert facts["text"] == scored.text
        assert len(facts["words"]) == len(scored.words())
    lines = run("--words")
    assert len(lines) == sum(len(scored.words()) for scored in expected)
    assert lines[0].split("\t")[0] == "1"
