"""Strata by spans, parts of speech and seen papers: the same groups as plain Python makes of the texts."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from biolm.cli import main
from biolm.corpus.reader import open_corpus
from biolm.errors import ArtifactError, ConfigError, InputError, ModelError
from biolm.evaluation.spans import MOST_LABELS, OUTSIDE, PartsOfSpeech, SpanFile, span_strata
from biolm.evaluation.strata import SeenDocument, paper_ids, seen_of, texts_of
from biolm.tokens.tokenizer import load_tokenizer
from conftest import token_split

NOUNS = ("protein", "kinase", "cells", "cancer", "DNA", "mouse", "figure", "receptor", "antibody", "gene")


class Given:
    """The same spans for every passage."""

    def __init__(self, *spans: tuple[int, int, str]) -> None:
        self.spans = list(spans)

    def of(self, first: int, texts: list[str]) -> list[list[tuple[int, int, str]]]:
        return [self.spans for _ in texts]


def labels_of(text: str, spans: list, folder: Path) -> list[tuple[str, str]]:
    """(piece, label) of each token of a text."""
    tokenizer = load_tokenizer(str(folder))
    data = token_split(tokenizer, [text])
    (stratum,) = span_strata(data, tokenizer, [text], {"entities": Given(*spans)})

    class Every:
        token = np.arange(len(data.ids))

    found = stratum.codes(Every())  # type: ignore[arg-type]
    pieces = [piece.replace("Ġ", "").removeprefix("##") for piece in tokenizer.pieces(data.ids)]
    return [(piece, stratum.labels[code]) for piece, code in zip(pieces, found, strict=True)]


@pytest.mark.parametrize("family", ["roberta", "bert", "modernbert"])
def test_a_token_has_the_label_of_its_first_letter(family: str, request: pytest.FixtureRequest):
    folder = request.getfixturevalue(f"tiny_{family}")
    text = "the IL-6/STAT3 pathway  was\nmeasured"
    spans = [(4, 8, "GENE"), (9, 14, "PROTEIN"), (15, 22, "PATH")]
    found = labels_of(text, spans, folder)
    by_label: dict[str, str] = {}
    for piece, label in found:
        by_label[label] = by_label.get(label, "") + piece.lower()
    assert by_label["GENE"] == "il-6"
    assert by_label["PROTEIN"] == "stat3"
    assert by_label["PATH"] == "pathway"
    assert by_label[OUTSIDE].startswith("the")


def test_no_spans_no_letters_and_spans_that_overlap(tiny_roberta: Path):
    assert {label for _, label in labels_of("the protein", [], tiny_roberta)} == {OUTSIDE}
    assert {label for _, label in labels_of("   ", [(0, 3, "X")], tiny_roberta)} == {"X", OUTSIDE}
    found = labels_of("the protein", [(0, 11, "whole"), (4, 11, "later")], tiny_roberta)
    assert {label for _, label in found} == {"whole", "later"}


def test_texts_of_other_tokens_and_too_many_labels_are_refused(tiny_roberta: Path):
    tokenizer = load_tokenizer(str(tiny_roberta))
    data = token_split(tokenizer, ["the protein", "the gene"])
    with pytest.raises(ArtifactError, match="passage 1 of the train split has other tokens"):
        span_strata(data, tokenizer, ["the protein", "the cells"], {"x": Given()})
    many = [(0, 3, str(number)) for number in range(MOST_LABELS)]
    with pytest.raises(ConfigError, match="more than 63 labels"):
        span_strata(data, tokenizer, ["the protein", "the gene"], {"x": Given(*many)})


GOOD = '{"passage": 1, "spans": [[0, 3, "GENE"], [4, 5, "x"]]}'


def test_spans_are_read_by_passage(tmp_path: Path):
    path = tmp_path / "gold.jsonl"
    path.write_text(f'\ufeff{GOOD}\n\n{{"passage": 0, "spans": []}}\n', encoding="utf-8")
    spans = SpanFile(path, 3)
    assert spans.of(0, ["a", "p53 is", "b"]) == [[], [(0, 3, "GENE"), (4, 5, "x")], []]
    assert spans.of(1, ["p53 is"]) == [[(0, 3, "GENE"), (4, 5, "x")]]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("p53", "line 2: no passage with spans"),
        ('{"passage": 0}', "line 2: no passage with spans"),
        ('{"passage": 0, "spans": [[1, 2]]}', "line 2: no passage with spans"),
        ('{"passage": 0, "spans": [[2, 2, "x"]]}', "line 2: passage or spans"),
        ('{"passage": 0, "spans": [[0, 1, 7]]}', "line 2: no passage with spans"),
        ('{"passage": 0, "spans": [[0, 1, "\\ud800"]]}', "line 2: no passage with spans"),
        ('{"passage": true, "spans": []}', "line 2: passage or spans"),
        ('{"passage": -1, "spans": []}', "line 2: passage or spans"),
        ('{"passage": 0, "spans": [[0, 2, "x"]]}', "line 2: 0 to 2 is not in passage 0"),
        ('{"passage": 9, "spans": []}', "line 2: there is no passage 9 in the split, which has 2"),
        (GOOD, "line 2: passage 1 was on line 1 already"),
    ],
)
def test_a_line_that_says_nothing_is_named(tmp_path: Path, line: str, said: str):
    path = tmp_path / "gold.jsonl"
    path.write_text(f"{GOOD}\n{line}\n")
    with pytest.raises(InputError, match=said):
        SpanFile(path, 2).of(0, ["a", "p53 is"])


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spaCy pipeline of rules: some words are nouns, everything else is not said."""
    spacy = pytest.importorskip("spacy")
    nlp = spacy.blank("en")
    ruler = nlp.add_pipe("attribute_ruler")
    ruler.add([[{"ORTH": word}] for word in NOUNS], {"POS": "NOUN"})
    folder = tmp_path_factory.mktemp("spacy") / "rules"
    nlp.to_disk(folder)
    return folder


def test_parts_of_speech_are_those_of_the_pipeline(pipeline: Path):
    assert PartsOfSpeech(str(pipeline)).of(0, ["the protein binds \n DNA", "of"]) == [
        [(4, 11, "NOUN"), (20, 23, "NOUN")],
        [],
    ]
    with pytest.raises(ModelError, match="gives no part of speech"):
        PartsOfSpeech(str(pipeline)).of(0, ["of", "and"])
    with pytest.raises(ModelError, match="cannot be loaded"):
        PartsOfSpeech(str(pipeline / "nowhere"))
    assert PartsOfSpeech(str(pipeline)).of(0, ["DNA " * 400_000])[0][-1] == (1_599_996, 1_599_999, "NOUN")


@pytest.fixture
def run(
    tiny_roberta: Path,
    tiny_corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("BIOLM_CACHE", str(tmp_path / "cache"))

    def evaluate(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["evaluate", str(tiny_roberta), str(tiny_corpus), "--quiet", *arguments])
        return end.value.code, *capsys.readouterr()

    return evaluate


def test_evaluate_gives_figures_by_part_of_speech_spans_and_seen_papers(
    run, tiny_roberta: Path, tiny_corpus: Path, pipeline: Path, tmp_path: Path
):
    corpus, tokenizer = open_corpus(tiny_corpus), load_tokenizer(str(tiny_roberta))
    texts, ids = list(texts_of(corpus, "test")), list(paper_ids(corpus, "test"))
    seen = sorted({own[0] for own in ids})[::2]
    (tmp_path / "seen.txt").write_text("\n".join(name.removeprefix("pmcid:") for name in seen))
    lines = [
        json.dumps({"passage": n, "spans": [[at, at + 3, "entity"]]})
        for n, text in enumerate(texts)
        if (at := text.find("p53")) >= 0
    ]
    (tmp_path / "gold.jsonl").write_text("\n".join(lines))
    code, out, _ = run(
        *(
            "--pos",
            str(pipeline),
            "--spans",
            str(tmp_path / "gold.jsonl"),
            "--seen",
            str(tmp_path / "seen.txt"),
        ),
        *("--json", "--save-predictions", str(tmp_path / "all.parquet")),
    )
    assert code == 0
    strata = json.loads(out)["strata"]
    expected: dict[str, Counter] = {
        name: Counter() for name in ("part_of_speech", "gold", "seen_in_training")
    }
    for line in pyarrow.parquet.read_table(tmp_path / "all.parquet").to_pylist():
        text, own = texts[line["passage"]], ids[line["passage"]]
        span = tokenizer.encode_aligned([text])[0].spans[line["position"]]
        word_begin = text.rfind(" ", 0, span[0] + 1) + 1
        word = text[word_begin:].split(" ")[0].rstrip(".,")
        inside = span[0] < word_begin + len(word)
        expected["part_of_speech"]["NOUN" if word in NOUNS and inside else OUTSIDE] += 1
        at = text.find("p53")
        expected["gold"]["entity" if at >= 0 and at <= span[0] < at + 3 else OUTSIDE] += 1
        expected["seen_in_training"]["seen" if own[0] in seen else "unseen"] += 1
    for name, counts in expected.items():
        assert {label: group["masked_tokens"] for label, group in strata[name].items()} == counts
        assert len(counts) == 2


def test_the_table_shows_what_was_asked_for(run, tmp_path: Path, tiny_corpus: Path):
    (tmp_path / "gold.jsonl").write_text('{"passage": 0, "spans": [[0, 60, "entity"]]}\n')
    code, out, _ = run("--spans", str(tmp_path / "gold.jsonl"), "--seen", str(tiny_corpus), "--by", "year")
    assert code == 0
    for line in ("gold: entity", "gold: outside", "seen in training: unseen", "year: 2020"):
        assert line in out
    assert "seen in training: seen" not in out  # test papers are none of the training split


def test_a_limit_bounds_what_is_looked_at(run, tmp_path: Path):
    """Passage 1 would be refused for its span, if it were looked at."""
    (tmp_path / "gold.jsonl").write_text('{"passage": 1, "spans": [[0, 99999, "entity"]]}\n')
    assert run("--spans", str(tmp_path / "gold.jsonl"), "--limit", "1")[0] == 0
    code, _, err = run("--spans", str(tmp_path / "gold.jsonl"), "--limit", "2")
    assert (code, "is not in passage 1" in err) == (2, True)


def test_a_corpus_says_what_was_seen(tiny_corpus: Path, tmp_path: Path):
    corpus = open_corpus(tiny_corpus)
    train, test = ({own for ids in paper_ids(corpus, split) for own in ids} for split in ("train", "test"))
    assert seen_of(train | {"pmid:1"}, str(tiny_corpus)) == train
    assert seen_of(test, str(tiny_corpus)) == set()
    (tmp_path / "ids").write_text("no id\n")
    with pytest.raises(InputError, match="is no PMID"):
        seen_of(test, str(tmp_path / "ids"))
    assert seen_of({"pmid:9949209", "pmid:1"}, "@ner") == {"pmid:9949209"}


def test_a_paper_without_ids_may_be_seen_or_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(
        "biolm.evaluation.strata.paper_ids", lambda *_: iter([("pmid:1",), (), ("pmid:2", "doi:10.5555/x")])
    )
    (tmp_path / "ids").write_text("10.5555/x\n")
    stratum = SeenDocument(None, "test", str(tmp_path / "ids"))  # type: ignore[arg-type]

    class Every:
        passage = np.arange(3)

    found = stratum.codes(Every())  # type: ignore[arg-type]
    assert [stratum.labels[code] for code in found] == ["unseen", "unknown", "seen"]


def test_names_that_meet_and_places_that_are_not_there_are_refused_at_once(run, tmp_path: Path):
    for name in ("section", "word_frequency"):
        path = tmp_path / f"{name}.jsonl"
        path.write_text('{"passage": 0, "spans": []}')
        code, _, err = run("--spans", str(path))
        assert (code, f"figures by {name} are given already" in err) == (2, True)
    for option, place, said in (
        ("--seen", "nowhere", "--seen nowhere does not exist; give a text file of ids"),
        ("--spans", "nowhere.jsonl", "--spans nowhere.jsonl cannot be read"),
        ("--pos", "nowhere", "the spaCy pipeline nowhere cannot be loaded"),
    ):
        code, _, err = run(option, place)
        assert (code, said in err) == (2, True)


def test_what_needs_texts_says_so(
    tiny_roberta: Path, roberta_tokens, pipeline: Path, capsys: pytest.CaptureFixture[str]
):
    for option, value in (("--by", "year"), ("--seen", "@ner"), ("--pos", str(pipeline))):
        with pytest.raises(SystemExit) as end:
            main(["evaluate", str(tiny_roberta), str(roberta_tokens.folder), option, value])
        assert end.value.code == 2
        assert f"{option}{' year' if option == '--by' else ''} needs papers" in capsys.readouterr().err
