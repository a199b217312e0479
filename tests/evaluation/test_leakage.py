"""Leakage: what plain Python finds with sets of words, and what was planted."""

import json
import random
from pathlib import Path

import pytest

from biolm.cli import main
from biolm.errors import InputError
from biolm.evaluation.leakage import (
    NEAR,
    RUN,
    Overlap,
    Sought,
    found_in,
    hashed_split,
    hashed_texts,
    leakage_json,
)
from biolm.evaluation.strata import WordKeys
from biolm.tokens.tokenizer import load_tokenizer
from biolm.tokens.words import word_table
from conftest import WORDS, token_split

PLAIN = [word for word in WORDS if word.isalpha()]


def texts_of(generator: random.Random, count: int) -> list[str]:
    return [" ".join(generator.choices(PLAIN, k=generator.randint(3, 40))) for _ in range(count)]


def runs_of(text: str) -> list[tuple[str, ...]]:
    words = text.lower().split()
    return [tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)]


def overlap(measured, other) -> Overlap:
    return found_in({"x": Sought(measured)}, other)["x"]


def plain(measured: list[str], other: list[str]) -> Overlap:
    wholes = {tuple(text.lower().split()) for text in other}
    known = {run for text in other for run in runs_of(text)}
    exact = near = touched = 0
    for text in measured:
        same = tuple(text.lower().split()) in wholes
        shared = [run in known for run in runs_of(text)]
        exact += same
        near += same or (bool(shared) and sum(shared) / len(shared) >= NEAR)
        touched += same or any(shared)
    return Overlap(len(measured), exact, near, touched)


@pytest.mark.parametrize("family", ["roberta", "bert"])
@pytest.mark.parametrize("block", [1 << 22, 50])
def test_overlap_is_what_sets_of_words_say(
    family: str, block: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("biolm.evaluation.strata.BLOCK_TOKENS", block)
    tokenizer = load_tokenizer(str(request.getfixturevalue(f"tiny_{family}")))
    keys, generator = WordKeys(word_table(tokenizer)), random.Random(0)
    training, test = texts_of(generator, 60), texts_of(generator, 40)
    test[3] = training[5].upper()  # exact but for capitals
    test[4] = f"{training[7]} {training[8]}"  # more than a passage of training
    long = " ".join(generator.choices(PLAIN, k=40))
    training[9] = long
    test[6] = long.rsplit(" ", 1)[0] + " gene gene"  # near
    test[7] = " ".join([*long.split()[:RUN], *generator.choices(PLAIN, k=25)])  # one run
    test[8] = " ".join([*long.split()[: RUN - 1], *generator.choices(PLAIN, k=25)])  # a word less than a run
    expected = plain(test, training)
    assert 0 < expected.exact < expected.near < expected.touched < expected.passages
    splits = [hashed_split(keys, token_split(tokenizer, texts)) for texts in (test, training)]
    assert overlap(*splits) == expected
    assert overlap(hashed_texts(keys, tokenizer, test), hashed_texts(keys, tokenizer, training)) == expected


def test_the_order_of_words_counts(tiny_roberta: Path):
    tokenizer = load_tokenizer(str(tiny_roberta))
    keys = WordKeys(word_table(tokenizer))
    one, other = ["the protein binds DNA"], ["DNA binds the protein", "the protein binds", "binds DNA"]
    found = overlap(hashed_texts(keys, tokenizer, one), hashed_texts(keys, tokenizer, other))
    assert (found.exact, found.touched) == (0, 0)


def test_a_run_does_not_reach_into_the_next_passage(tiny_roberta: Path):
    tokenizer = load_tokenizer(str(tiny_roberta))
    keys, words = WordKeys(word_table(tokenizer)), random.Random(1).choices(PLAIN, k=RUN + 5)
    whole, halves = [" ".join(words)], [" ".join(words[:9]), " ".join(words[9:])]
    assert overlap(hashed_texts(keys, tokenizer, whole), hashed_texts(keys, tokenizer, halves)).touched == 0
    assert overlap(hashed_texts(keys, tokenizer, halves), hashed_texts(keys, tokenizer, whole)).touched == 0


def test_nothing_overlaps_with_nothing(tiny_roberta: Path):
    tokenizer = load_tokenizer(str(tiny_roberta))
    keys = WordKeys(word_table(tokenizer))
    some = ["the protein binds DNA"]
    assert overlap([], hashed_texts(keys, tokenizer, some)) == Overlap(0, 0, 0, 0)
    assert overlap(hashed_texts(keys, tokenizer, some), []) == Overlap(1, 0, 0, 0)
    assert Overlap(0, 0, 0, 0).as_json()["near_share"] is None


def test_a_benchmark_is_looked_for_in_both_splits(tiny_roberta: Path, roberta_tokens, tmp_path: Path):
    tokenizer = load_tokenizer(str(tiny_roberta))
    train, test = roberta_tokens.split("train"), roberta_tokens.split("test")
    texts = [
        tokenizer.stock.decode(split.ids[split.offsets[i] : split.offsets[i + 1]])
        for split, i in ((train, 0), (test, 1))
    ]
    file = tmp_path / "benchmark.txt"
    file.write_text("\n".join([*texts, "the gene"]) + "\n", encoding="utf-8")
    found = leakage_json(roberta_tokens, "test", tokenizer, [file])
    assert found["benchmarks"][str(file)]["train"]["exact"] == 1
    assert found["benchmarks"][str(file)]["test"]["exact"] == 1
    assert found["benchmarks"][str(file)]["test"]["passages"] == 3
    assert found["training"]["passages"] == len(test)
    assert leakage_json(roberta_tokens, "train", tokenizer)["training"] is None
    file.write_text("\n")
    with pytest.raises(InputError, match="has no text"):
        leakage_json(roberta_tokens, "test", tokenizer, [file])


def test_papers_of_a_benchmark_are_looked_for_by_pmid(
    tiny_roberta: Path, roberta_tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ids = {
        "train": [("pmid:1", "doi:10.1/x"), ("pmid:1",), ("pmid:2",)],
        "test": [("pmid:3",), ("pmcid:PMC4",)],
    }
    monkeypatch.setattr("biolm.evaluation.leakage.paper_ids", lambda corpus, split: iter(ids[split]))
    files = [tmp_path / "gold.txt", tmp_path / "plain.txt"]
    files[0].write_text(
        "".join(f"{n}|t|title\n{n}|a|the protein\n{n}\t0\t5\ttitle\tx\n\n" for n in ("1", "002", "3", "9"))
    )
    files[1].write_text("the protein\n")
    tokenizer, corpus = load_tokenizer(str(tiny_roberta)), object()
    found = leakage_json(roberta_tokens, "test", tokenizer, files, corpus)  # type: ignore[arg-type]
    assert found["papers"] == {str(files[0]): {"named": 4, "train": 2, "test": 1}}
    assert leakage_json(roberta_tokens, "test", tokenizer, files)["papers"] == {}


def test_evaluate_says_what_leaks(
    tiny_roberta: Path,
    tiny_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("BIOLM_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "benchmark.txt"
    file.write_text("the gene\n")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["evaluate", str(tiny_roberta), str(tiny_corpus), "--limit", "5", "--quiet", *arguments])
        return end.value.code, *capsys.readouterr()

    gold = tmp_path / "gold.txt"
    gold.write_text("7|t|the gene\n7|a|the protein\n")
    code, out, _ = run("--leakage", "--benchmark", str(gold))
    assert code == 0
    assert f"{gold}: of 1 papers 0 in the train split, 0 in the test split" in out
    code, out, _ = run("--leakage", "--benchmark", str(file))
    assert code == 0
    assert "test split: of" in out
    assert f"{file}: of 1 passages 0 occur in the train split word for word" in out
    code, out, _ = run("--leakage", "--json")
    assert code == 0
    assert json.loads(out)["leakage"]["training"]["passages"] > 5
    code, _, error = run("--benchmark", str(file))
    assert code == 2
    assert "give --leakage too" in error
