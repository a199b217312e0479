"""The report: the same figures as the evaluation, one self-contained page, nothing of a stranger's text run."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from biolm.cli import main
from biolm.evaluation.masked import evaluate
from biolm.evaluation.results import results_json
from biolm.model.loading import load_model
from biolm.progress import Silent
from biolm.publishing.examples import Examples
from biolm.publishing.report import TITLES, write_report
from biolm.tokens.tokenizer import load_tokenizer
from biolm.tokens.words import word_table
from conftest import save_tiny

HOSTILE = '<script>alert("x")</script>|a'


class Page(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.rows: list[list[str]] = []
        self.marks: list[str] = []
        self.stack: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "mark":
            self.marks.append("")

    def handle_endtag(self, tag):
        while self.stack and self.stack.pop() != tag:
            pass

    def handle_data(self, data):
        if self.rows and ("td" in self.stack or "th" in self.stack):
            self.rows[-1][-1] += data
        if "mark" in self.stack:
            self.marks[-1] += data


@pytest.fixture(scope="module")
def made(tiny_roberta: Path, roberta_tokens, tmp_path_factory: pytest.TempPathFactory):
    tokenizer = load_tokenizer(str(tiny_roberta))
    words = word_table(tokenizer)
    examples = Examples(roberta_tokens.split("test"), tokenizer, words)
    other = save_tiny(tmp_path_factory.mktemp("other") / "m", "roberta", seed=1)
    measured = evaluate(
        {"model": load_model(tiny_roberta), "compare": load_model(other)},
        roberta_tokens,
        "test",
        Silent(),
        predictions=[examples],
        words=words,
    )
    results = results_json(measured, split="test", names={"model": HOSTILE, "compare": "the base"})
    estimate = {"value": 1.5, "low": 1.25, "high": None}
    results["hidden_words"] = {
        **{"words": 1234, "characters": 5678, "documents": 9, "left_out": 1, "rate": 0.15, "seed": 0},
        "models": [
            {"model": HOSTILE, "bits_per_character": estimate, "whole_word_recall": estimate, "tokens": 77},
            {
                "model": "a|b",
                "bits_per_character": estimate,
                "whole_word_recall": estimate,
                "tokens": 78,
                "difference": {
                    key: {**estimate, "high": 2.0, "p": None}
                    for key in ("bits_per_character", "whole_word_recall")
                },
            },
        ],
    }
    overlap = {"passages": 40, "exact": 1, "near": 2, "touched": 3, "near_share": 0.05}
    results["leakage"] = {
        "run_words": 13,
        "near": 0.5,
        "training": overlap,
        "benchmarks": {HOSTILE: {"train": overlap, "test": overlap}},
        "papers": {HOSTILE: {"named": 12, "train": 3, "test": 4}},
    }
    out = tmp_path_factory.mktemp("report")
    lines = [{"step": n, "train/loss": 5 - n / 10, "validation/loss": 5.0} for n in range(1, 5)]
    write_report(out, results, examples.passages, {HOSTILE: lines})
    return results, examples.passages, out, lines


def test_the_page_says_what_the_evaluation_found(made):
    results, _, out, _ = made
    assert json.loads((out / "report.json").read_text()) == results
    page = Page((out / "report.html").read_text())
    for key, title in TITLES.items():
        first = next(
            row for row in page.rows if row and row[0] == title
        )  # the table of differences has another
        for place, model in enumerate((results, results["compare"][0], results["unigram"]), start=1):
            value = model["overall"][key]
            digits = 3 if value["high"] < 100 else 1
            assert first[place].startswith(f"{value['value']:.{digits}f} [")
    table = [row for row in page.rows if row and row[0] == "recall@1"]
    assert len(table) == 2
    assert table[0][1].startswith(f"{results['overall']['recall_at_1']['value']:.3f} [")
    assert table[1][1].startswith(
        f"{results['compare'][0]['difference']['overall']['recall_at_1']['value']:+.4f} ["
    )
    for stratum in results["strata"].values():
        for label, group in stratum.items():
            (found,) = [row for row in page.rows if row and row[0] == label]
            assert found[1] == f"{group['masked_tokens']:,}"
            assert found[3].startswith(f"{group['recall_at_1']['value']:.3f} [")


def test_the_page_needs_nothing_else_and_runs_nothing(made):
    text = (made[2] / "report.html").read_text()
    page = Page(text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "img")]
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith("#")
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "&lt;script&gt;" in text
    assert ("viewport", "width=device-width, initial-scale=1") in [
        (attributes.get("name"), attributes.get("content")) for tag, attributes in page.tags if tag == "meta"
    ]
    strata = 1 + len(made[0]["strata"])
    assert sum(tag == "svg" for tag, _ in page.tags) == strata + 2  # calibration, training


def test_examples_are_the_passages_with_what_the_model_said(made, tiny_roberta: Path, roberta_tokens):
    _, examples, out, _ = made
    assert {passage.section for passage in examples} == {"abstract", "figure_legend"}
    assert len(examples) == 6
    split = roberta_tokens.split("test")
    texts = load_tokenizer(str(tiny_roberta)).stock.batch_decode(
        [split.ids[first:last] for first, last in zip(split.offsets, split.offsets[1:], strict=False)]
    )
    for passage in examples:
        text = "".join(piece.text for piece in passage.pieces)
        assert any(whole.startswith(text.removesuffix(" …")) for whole in texts)
        hidden = [piece for piece in passage.pieces if piece.predicted is not None]
        assert passage.masked == len(hidden) > 0
        assert passage.hits == sum(piece.right for piece in hidden)
        for piece in hidden:
            assert (
                piece.right == (piece.predicted == piece.text.strip())
                or piece.predicted == piece.text.strip()
            )
            assert 0 < piece.probability <= 1
    page = Page((out / "report.html").read_text())
    assert len(page.marks) == 2 + sum(passage.masked for passage in examples)  # two in the explanation


def test_markdown_tables_hold_together(made):
    """Whatever a model is called."""
    text = (made[2] / "report.md").read_text()
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2 + 1 + len(made[0]["strata"]) + 2  # across tokenizers, leakage
    assert "3 have passages in the train split, 4 have passages in the test split." in text
    for lines in tables:
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert len(counts) == 1, lines
        assert re.fullmatch(r"\|(-+:?\|)+", lines[1])
        assert len(lines) > 2


def test_the_same_results_give_the_same_bytes(made, tmp_path: Path):
    results, examples, out, lines = made
    write_report(tmp_path, results, examples, {HOSTILE: lines})
    for name in ("report.json", "report.md", "report.html"):
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_a_word_piece_keeps_its_place(tiny_bert: Path):
    tokenizer = load_tokenizer(str(tiny_bert))
    from conftest import token_split

    data = token_split(tokenizer, ["the protein binds dna"])
    examples = Examples(data, tokenizer, word_table(tokenizer))
    assert examples._text(np.asarray(data.ids, np.int64)) == " the protein binds dna"


def test_evaluate_writes_a_report(
    tiny_roberta: Path,
    tiny_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("BIOLM_CACHE", str(tmp_path / "cache"))
    with pytest.raises(SystemExit) as end:
        main(
            [
                "evaluate",
                str(tiny_roberta),
                str(tiny_corpus),
                "--out",
                str(tmp_path / "r"),
                "--quiet",
                "--leakage",
            ]
        )
    assert end.value.code == 0
    assert f"report  {tmp_path / 'r' / 'report.html'}" in capsys.readouterr().out
    page = (tmp_path / "r" / "report.html").read_text()
    assert "Leakage" in page
    assert str(tiny_roberta) in page
