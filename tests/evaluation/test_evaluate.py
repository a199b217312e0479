"""Evaluation against a plain reading of stock transformers, and what it must not depend on."""

import json
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from transformers import AutoModelForMaskedLM

from biolm.batches.masking import EVALUATION_MASKING, Masker
from biolm.batches.steps import EVALUATION_SEED
from biolm.errors import ArtifactError, InputError
from biolm.evaluation.masked import evaluate
from biolm.evaluation.predictions import predictions_file
from biolm.evaluation.results import results_json
from biolm.model.loading import load_model
from biolm.progress import Silent
from biolm.tokens.store import SECTIONS
from biolm.tokens.tokenizer import load_tokenizer
from biolm.tokens.words import word_table
from conftest import sentences, token_split


def measure(folder: Path, store, **options):
    words = word_table(load_tokenizer(str(folder)))
    measured = evaluate({"model": load_model(folder)}, store, "test", Silent(), words=words, **options)
    return results_json(measured, split="test", names={"model": "m"})


@pytest.fixture(scope="module")
def predictions(tiny_roberta: Path, roberta_tokens, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    path = tmp_path_factory.mktemp("predictions") / "all.parquet"
    with predictions_file(path, roberta_tokens.split("test"), load_tokenizer(str(tiny_roberta))) as file:
        measure(tiny_roberta, roberta_tokens, predictions=[file])
    return pyarrow.parquet.read_table(path).to_pylist()


def test_predictions_are_what_stock_transformers_computes_passage_by_passage(
    tiny_roberta: Path, roberta_tokens, predictions: list[dict]
):
    stock = AutoModelForMaskedLM.from_pretrained(tiny_roberta).eval()
    split, vocabulary = roberta_tokens.split("test"), roberta_tokens.vocabulary
    by_passage: dict[int, list[dict]] = {}
    for line in predictions:
        by_passage.setdefault(line["passage"], []).append(line)
    assert len(by_passage) > 30
    for passage, lines in by_passage.items():
        ids = split.ids[split.offsets[passage] : split.offsets[passage + 1]].astype(np.int64)
        assert len(ids) + 2 <= 128
        shown = ids.copy()
        for line in lines:
            assert ids[line["position"]] == line["original_id"]
            shown[line["position"]] = line["input_id"]
        row = torch.tensor([[*vocabulary.prefix, *shown, *vocabulary.suffix]])
        with torch.no_grad():
            probabilities = stock(input_ids=row).logits[0].double().log_softmax(-1)
        for line in lines:
            own = probabilities[line["position"] + 1]
            assert own[line["original_id"]].item() == pytest.approx(line["log_probability"], abs=1e-5)
            assert own.argmax().item() == line["predicted_id"]
            assert own.max().exp().item() == pytest.approx(line["probability"], abs=1e-5)
            assert (own > own[line["original_id"]]).sum().item() == line["rank"]
            assert SECTIONS[split.sections[passage]] == line["section"]


def test_the_figures_can_be_recomputed_from_the_predictions(
    tiny_roberta: Path, roberta_tokens, predictions: list[dict]
):
    results = measure(tiny_roberta, roberta_tokens)
    for name in ("overall", *results["sections"]):
        group = results["overall"] if name == "overall" else results["sections"][name]
        lines = [line for line in predictions if name in ("overall", line["section"])]
        loss = -np.mean([line["log_probability"] for line in lines])
        assert group["loss"]["value"] == pytest.approx(loss, rel=1e-9)
        assert group["perplexity"]["value"] == pytest.approx(np.exp(loss), rel=1e-9)
        assert group["recall_at_1"]["value"] == np.mean([line["rank"] == 0 for line in lines])
        assert group["recall_at_5"]["value"] == np.mean([line["rank"] < 5 for line in lines])
        assert group["masked_tokens"] == len(lines)
        assert group["documents"] == len({line["document"] for line in lines})
        likeliest = int(np.argmax(roberta_tokens.unigram_counts()))
        unigram = results["unigram"]["overall" if name == "overall" else "sections"]
        unigram = unigram if name == "overall" else unigram[name]
        assert unigram["recall_at_1"]["value"] == np.mean([x["original_id"] == likeliest for x in lines])


def test_metrics_beyond_the_first_can_be_recomputed_too(
    tiny_roberta: Path, roberta_tokens, predictions: list[dict]
):
    """From the saved positions, in plain Python."""
    overall = measure(tiny_roberta, roberta_tokens)["overall"]
    rank = np.array([line["rank"] for line in predictions])
    masked = np.array([line["input_id"] == roberta_tokens.vocabulary.mask_id for line in predictions])
    assert 0 < masked.sum() < len(masked)
    assert overall["recall_at_10"]["value"] == (rank < 10).mean()
    assert overall["mean_reciprocal_rank"]["value"] == pytest.approx((1 / (rank + 1)).mean(), rel=1e-12)
    assert overall["strict_recall_at_1"]["value"] == (rank[masked] < 1).mean()
    spelled = sum(len(line["original"].replace("Ġ", "")) for line in predictions)  # ASCII, one byte a letter
    bits = -sum(line["log_probability"] for line in predictions) / np.log(2) / spelled
    assert overall["bits_per_character"]["value"] == pytest.approx(bits, rel=1e-9)

    split, words = roberta_tokens.split("test"), word_table(load_tokenizer(str(tiny_roberta)))
    right: dict[tuple[int, int], list[bool]] = {}
    for line in predictions:
        ids = split.ids[split.offsets[line["passage"]] : split.offsets[line["passage"] + 1]]
        word = int(np.cumsum(words.starts(ids.astype(np.int64)))[line["position"]])
        right.setdefault((line["passage"], word), []).append(line["rank"] == 0)
    assert len(right) < len(predictions)  # or words would be tokens
    assert overall["whole_word_recall"]["value"] == np.mean([all(hits) for hits in right.values()])

    confidence = np.array([line["probability"] for line in predictions])
    place, error = np.minimum((confidence * 10).astype(int), 9), 0.0
    for one in overall["calibration"]:
        inside = place == round(10 * one["from"])
        assert one["tokens"] == inside.sum()
        assert one["recall"] == pytest.approx((rank[inside] == 0).mean(), rel=1e-9)
        assert one["probability"] == pytest.approx(confidence[inside].mean(), rel=1e-9)
        error += inside.mean() * abs(one["recall"] - one["probability"])
    assert overall["calibration_error"]["value"] == pytest.approx(error, rel=1e-9)


def test_without_words_their_metrics_are_absent_and_the_others_the_same(tiny_roberta: Path, roberta_tokens):
    alone = evaluate({"model": load_model(tiny_roberta)}, roberta_tokens, "test", Silent())
    found = results_json(alone, split="test", names={"model": "m"})["overall"]
    expected = measure(tiny_roberta, roberta_tokens)["overall"]
    for name in ("whole_word_recall", "bits_per_character"):
        assert expected.pop(name)["value"] is not None
        assert found.pop(name) == {"value": None, "low": None, "high": None}
    assert found == expected


def test_masks_are_15_percent_80_10_10(predictions: list[dict], roberta_tokens):
    tokens = len(roberta_tokens.split("test").ids)
    mask = roberta_tokens.vocabulary.mask_id
    assert len(predictions) / tokens == pytest.approx(0.15, abs=4 * np.sqrt(0.15 * 0.85 / tokens))
    shown_as_mask = np.mean([line["input_id"] == mask for line in predictions])
    assert shown_as_mask == pytest.approx(0.8, abs=4 * np.sqrt(0.16 / len(predictions)))


@pytest.mark.parametrize("budget", [130, 400, 100_000])
def test_figures_do_not_depend_on_the_row_size(tiny_roberta: Path, roberta_tokens, budget: int):
    expected, found = (
        measure(tiny_roberta, roberta_tokens),
        measure(tiny_roberta, roberta_tokens, max_row_tokens=budget),
    )
    assert_close(found, expected)


def assert_close(found: object, expected: object) -> None:
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        assert found.keys() == expected.keys()
        for key in expected:
            assert_close(found[key], expected[key])
    elif isinstance(expected, list):
        for one, other in zip(found, expected, strict=True):
            assert_close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5)
    else:
        assert found == expected


def test_a_model_compared_with_itself_differs_by_nothing(tiny_roberta: Path, roberta_tokens):
    model = load_model(tiny_roberta)
    words = word_table(load_tokenizer(str(tiny_roberta)))
    measured = evaluate({"model": model, "compare": model}, roberta_tokens, "test", Silent(), words=words)
    results = results_json(measured, split="test", names={"model": "a", "compare": "b"})
    for value in results["compare"][0]["difference"]["overall"].values():
        assert value == {"value": 0, "low": 0, "high": 0, "p": 1}
    assert results["compare"][0]["overall"] == results["overall"]


def test_results_are_strict_json_without_times_or_paths(tiny_roberta: Path, roberta_tokens):
    text = json.dumps(measure(tiny_roberta, roberta_tokens), allow_nan=False)
    assert "second" not in text
    assert str(tiny_roberta) not in text


def test_tsv_and_parquet_hold_the_same(tiny_roberta: Path, roberta_tokens, predictions, tmp_path: Path):
    path = tmp_path / "all.tsv"
    with predictions_file(path, roberta_tokens.split("test"), load_tokenizer(str(tiny_roberta))) as file:
        measure(tiny_roberta, roberta_tokens, predictions=[file])
    options = pyarrow.csv.ParseOptions(delimiter="\t")
    read = pyarrow.csv.read_csv(path, parse_options=options).to_pylist()
    assert [line["predicted_id"] for line in read] == [line["predicted_id"] for line in predictions]
    assert [line["input"] for line in read] == [line["input"] for line in predictions]


def test_a_predictions_file_that_fails_leaves_the_old_one(tiny_roberta: Path, roberta_tokens, tmp_path: Path):
    path = tmp_path / "all.tsv"
    path.write_text("old")
    with (
        pytest.raises(KeyboardInterrupt),
        predictions_file(path, roberta_tokens.split("test"), load_tokenizer(str(tiny_roberta))),
    ):
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unknown_ending_is_refused(tiny_roberta: Path, roberta_tokens, tmp_path: Path):
    with (
        pytest.raises(InputError, match="ending in"),
        predictions_file(
            tmp_path / "x.xlsx", roberta_tokens.split("test"), load_tokenizer(str(tiny_roberta))
        ),
    ):
        pass


def test_an_absent_split_is_named(tiny_roberta: Path, roberta_tokens):
    with pytest.raises(ArtifactError, match="no passages in its dev split"):
        evaluate({"model": load_model(tiny_roberta)}, roberta_tokens, "dev", Silent())


def test_all_figures_of_200_passages_are_those_of_a_plain_implementation(tiny_roberta: Path, tmp_path: Path):
    """Stock transformers, one passage at a time, and numpy: no code of the evaluation but its masks."""
    tokenizer = load_tokenizer(str(tiny_roberta))
    texts = [text[:300].strip() for text in sentences(200, seed=7, longest=45)]
    data = token_split(tokenizer, texts, "test")
    store = InMemory(data, tokenizer.vocabulary)
    words = word_table(tokenizer)
    found = {
        (budget, threads): _figures(tiny_roberta, store, words, budget, threads)
        for budget, threads in ((130, 1), (4096, 1), (4096, 2))
    }
    stock = AutoModelForMaskedLM.from_pretrained(tiny_roberta).eval()
    masker = Masker(tokenizer.vocabulary, EVALUATION_MASKING, purpose="evaluation mask", seed=EVALUATION_SEED)
    loss, rank, best, masked, spelled, right = [], [], [], [], [], []
    for passage, text in enumerate(texts):
        ids = np.array(tokenizer.encode([text])[0], np.int64)
        assert len(ids) <= 126
        shown, hidden = masker.mask(ids, epoch=0, passage=passage, window=0)
        row = [*tokenizer.vocabulary.prefix, *shown, *tokenizer.vocabulary.suffix]
        with torch.no_grad():
            logits = stock(input_ids=torch.tensor([row])).logits[0].double().numpy()[1:-1]
        share = np.exp(logits - logits.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        starts, of_word = words.starts(ids), {}
        for place in hidden:
            own = share[place, ids[place]]
            loss.append(-np.log(own))
            rank.append(int((share[place] > own).sum()))
            best.append(share[place].max())
            masked.append(shown[place] == tokenizer.vocabulary.mask_id)
            spelled.append(len(tokenizer.stock.decode([ids[place]]).strip()))
            of_word.setdefault(int(starts[: place + 1].sum()), []).append(rank[-1] == 0)
        right += [all(hits) for hits in of_word.values()]
    loss, rank, best, masked = (np.array(values) for values in (loss, rank, best, masked))
    bins = np.minimum((best * 10).astype(int), 9)
    wanted = {
        "loss": loss.mean(),
        "perplexity": np.exp(loss.mean()),
        "recall_at_1": (rank < 1).mean(),
        "recall_at_5": (rank < 5).mean(),
        "recall_at_10": (rank < 10).mean(),
        "mean_reciprocal_rank": (1 / (1 + rank)).mean(),
        "strict_recall_at_1": (rank[masked] < 1).mean(),
        "whole_word_recall": np.mean(right),
        "bits_per_character": loss.sum() / np.log(2) / np.sum(spelled),
        "calibration_error": sum(
            abs(best[bins == one].sum() - (rank[bins == one] < 1).sum()) for one in range(10)
        )
        / len(loss),
    }
    assert len(loss) > 1000
    for figures in found.values():
        assert figures == pytest.approx(wanted, rel=1e-5)


class InMemory:
    """As much of a token store as an evaluation asks for."""

    splits = ("test",)
    folder = Path("memory")

    def __init__(self, data, vocabulary) -> None:
        self.data, self.vocabulary = data, vocabulary

    def split(self, _: str):
        return self.data

    def unigram_counts(self):
        return np.ones(self.vocabulary.size, np.int64)


def _figures(folder: Path, store, words, budget: int, threads: int) -> dict[str, float]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        measured = evaluate(
            {"model": load_model(folder)}, store, "test", Silent(), words=words, max_row_tokens=budget
        )
    finally:
        torch.set_num_threads(before)
    return measured["model"].overall.sums.metrics()
