"""Strata: the same groups, counts and figures as plain Python makes of the saved positions."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from biolm.batches.examples import cut_examples
from biolm.corpus.reader import open_corpus
from biolm.errors import ArtifactError
from biolm.evaluation.masked import evaluate
from biolm.evaluation.predictions import predictions_file
from biolm.evaluation.results import results_json
from biolm.evaluation.strata import BANDS, COMMONEST, Column, WordFrequency, WordKeys, columns_of
from biolm.model.loading import load_model
from biolm.progress import Silent
from biolm.tokens.store import TokenSplit
from biolm.tokens.tokenizer import load_tokenizer
from biolm.tokens.words import word_table
from conftest import token_split


def words_of(split: TokenSplit, passage: int, tokenizer, table) -> list[list[str]]:
    """The words of a passage, each as the list of its pieces, spaces and case aside."""
    ids = split.ids[split.offsets[passage] : split.offsets[passage + 1]].astype(np.int64)
    found: list[list[str]] = []
    for piece, starts in zip(tokenizer.pieces(ids), table.starts(ids), strict=True):
        if starts or not found:
            found.append([])
        found[-1].append(piece.replace("Ġ", "").removeprefix("##").lower())
    return found


@pytest.fixture(scope="module")
def measured(tiny_roberta: Path, roberta_tokens, tmp_path_factory: pytest.TempPathFactory):
    tokenizer, path = load_tokenizer(str(tiny_roberta)), tmp_path_factory.mktemp("strata") / "all.parquet"
    table = word_table(tokenizer)
    with predictions_file(path, roberta_tokens.split("test"), tokenizer) as file:
        found = evaluate(
            {"model": load_model(tiny_roberta)},
            roberta_tokens,
            "test",
            Silent(),
            predictions=[file],
            words=table,
        )
    results = results_json(found, split="test", names={"model": "m"})
    return tokenizer, table, results, pyarrow.parquet.read_table(path).to_pylist()


def test_strata_are_what_plain_python_finds(measured, roberta_tokens):
    tokenizer, table, results, predictions = measured
    train, test = roberta_tokens.split("train"), roberta_tokens.split("test")
    counts = Counter(
        "".join(word) for passage in range(len(train)) for word in words_of(train, passage, tokenizer, table)
    )
    labels = WordFrequency.labels
    assert labels[:3] == ("0", "1–9", "10–99")
    groups: dict[tuple[str, str], list[dict]] = {}
    for line in predictions:
        words = words_of(test, line["passage"], tokenizer, table)
        ends = np.cumsum([len(word) for word in words])
        word = words[int(np.searchsorted(ends, line["position"], side="right"))]
        band = sum(counts["".join(word)] >= least for least in BANDS) - 1
        groups.setdefault(("word_frequency", labels[band]), []).append(line)
        groups.setdefault(("pieces_per_word", str(len(word)) if len(word) < 4 else "4 or more"), []).append(
            line
        )
    strata = results["strata"]
    assert {(name, label) for name in strata for label in strata[name]} == set(groups)
    assert len(groups) > 4
    for (name, label), lines in groups.items():
        group = strata[name][label]
        assert group["masked_tokens"] == len(lines)
        assert group["documents"] == len({line["document"] for line in lines})
        assert group["recall_at_1"]["value"] == pytest.approx(np.mean([line["rank"] == 0 for line in lines]))
        loss = -np.mean([line["log_probability"] for line in lines])
        assert group["loss"]["value"] == pytest.approx(loss, rel=1e-9)
    assert set(results["unigram"]["strata"]) == set(strata)


def test_strata_add_up_to_the_whole(measured):
    _, _, results, _ = measured
    for groups in (results["sections"], *results["strata"].values()):
        assert sum(group["masked_tokens"] for group in groups.values()) == results["masked_tokens"]


@pytest.mark.parametrize("family", ["roberta", "bert"])
def test_a_word_is_itself_after_a_space_in_capitals_and_in_other_pieces(
    family: str, request: pytest.FixtureRequest
):
    tokenizer = load_tokenizer(str(request.getfixturevalue(f"tiny_{family}")))
    keys = WordKeys(word_table(tokenizer))
    training = token_split(tokenizer, ["the cell of the cell", "Protein", "CELL"])
    data = token_split(tokenizer, ["cell protein gene", "the"])
    frequency = WordFrequency(keys, data, training)
    first, found = keys.words(data.ids.astype(np.int64), data.offsets[:-1])
    assert len(first) == 4
    assert frequency.counts(found).tolist() == [3, 1, 0, 2]


def test_counting_in_blocks_changes_nothing(
    roberta_tokens, tiny_roberta: Path, monkeypatch: pytest.MonkeyPatch
):
    keys = WordKeys(word_table(load_tokenizer(str(tiny_roberta))))
    data, training = roberta_tokens.split("test"), roberta_tokens.split("train")
    whole = WordFrequency(keys, data, training)
    monkeypatch.setattr("biolm.evaluation.strata.BLOCK_TOKENS", 100)
    parts = WordFrequency(keys, data, training)
    found = keys.words(data.ids.astype(np.int64), np.asarray(data.offsets[:-1]))[1]
    assert np.array_equal(whole.counts(found), parts.counts(found))
    assert whole.counts(found).max() > 9


def test_a_word_that_a_window_cuts_is_counted_as_unseen(tiny_roberta: Path):
    """Its parts are no words; nothing fails."""
    tokenizer = load_tokenizer(str(tiny_roberta))
    table = word_table(tokenizer)
    text = " ".join(["in expression"] * 20)
    data = token_split(tokenizer, [text])
    keys = WordKeys(table)
    frequency = WordFrequency(keys, data, data)
    examples = cut_examples(data, tokenizer.vocabulary, max_tokens=7)
    contents = [examples.content(i) for i in range(len(examples))]
    begins = np.cumsum([0, *map(len, contents)])[:-1]
    found = frequency.counts(keys.words(np.concatenate(contents), begins)[1])
    assert set(found) <= {0, 20}
    assert 20 in found


def test_a_column_of_the_corpus_divides_passages(
    measured, tiny_roberta: Path, tiny_corpus: Path, roberta_tokens
):
    _, _, _, predictions = measured
    corpus = open_corpus(tiny_corpus)
    table = [row for batch in corpus.iter_batches("test") for row in batch.to_pylist()]
    strata = columns_of(corpus, "test", ["year", "label"])
    found = evaluate({"model": load_model(tiny_roberta)}, roberta_tokens, "test", Silent(), by=strata)
    results = results_json(found, split="test", names={"model": "m"})["strata"]
    for column in ("year", "label"):
        wanted = Counter(str(table[line["passage"]][column] or "unknown") for line in predictions)
        if column == "label":
            wanted = Counter(str(table[line["passage"]][column]) for line in predictions)
        assert {label: group["masked_tokens"] for label, group in results[column].items()} == wanted
    with pytest.raises(ArtifactError, match="no column colour"):
        columns_of(corpus, "test", ["colour"])


def test_rare_values_of_a_column_are_one_group():
    values = [str(number) for number in range(30) for _ in range(30 - number)] + [None] * 50
    column = Column("journal", values)
    assert len(column.labels) == COMMONEST + 1
    assert "unknown" in column.labels
    assert column.labels[-1] == "others"
    assert column.labels[:-1] == tuple(sorted(column.labels[:-1]))
    named = [column.labels[code] for code in column._codes]
    for value, label in zip(values, named, strict=True):
        assert label == ("unknown" if value is None else value) or (
            label == "others" and int(value) >= COMMONEST - 1
        )


def test_a_word_does_not_depend_on_the_next_passage(tiny_roberta: Path):
    """A point before a digit belongs to the number, a hyphen before a letter to the word: not across passages."""
    tokenizer = load_tokenizer(str(tiny_roberta))
    keys, texts = WordKeys(word_table(tokenizer)), ["n is 5.", "3 mice -", "cells"]
    data = token_split(tokenizer, texts)
    _, together = keys.words(data.ids.astype(np.int64), np.asarray(data.offsets[:-1]))
    alone = []
    for text in texts:
        (ids,) = tokenizer.encode([text])
        alone += keys.words(np.array(ids, np.int64), np.array([0]))[1].tolist()
    assert together.tolist() == alone
