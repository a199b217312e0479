"""`biolm score-mentions` on files of JSON lines: figures for people, the same for machines, and one line when wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from biolm.cli.score_mentions import score_mentions
from biolm.errors import InputError

TEXTS = {"1": "CREB binds TP53 in HeLa cells", "2": "TP53 and p63 in mice"}
GOLD = {"1": [(0, 4, "Gene"), (11, 15, "Gene"), (19, 23, "Cell")], "2": [(0, 4, "Gene"), (9, 12, "Gene")]}
PREDICTED = {
    "1": [(0, 4, "Gene"), (11, 15, "Cell"), (19, 29, "Cell")],
    "2": [(0, 4, "Gene"), (16, 20, "Cell")],
}
BETTER = {**GOLD, "2": [(0, 4, "Gene")]}
TRAINING = {"1": [(11, 15, "Gene"), (19, 23, "Cell")]}


def written(path: Path, mentions: dict[str, list[tuple[int, int, str]]], **texts: str) -> str:
    documents = [
        {
            "id": id_,
            "text": texts.get("t" + id_, TEXTS[id_]),
            "mentions": [{"start": start, "end": end, "type": type_} for start, end, type_ in each],
        }
        for id_, each in mentions.items()
    ]
    path.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
    return str(path)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    return [written(tmp_path / "gold.jsonl", GOLD), written(tmp_path / "predicted.jsonl", PREDICTED)]


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(score_mentions, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def as_json(*arguments: str) -> dict[str, Any]:
    return json.loads(run(*arguments, "--json").stdout)


def test_json_has_every_reading(files: list[str], tmp_path: Path):
    other, training = written(tmp_path / "better.jsonl", BETTER), written(tmp_path / "train.jsonl", TRAINING)
    found = as_json(*files, "--compare", other, "--train", training, "--errors", "3")
    assert found["documents"] == 2
    micro = found["strict"]["micro"]
    assert (micro["gold"], micro["predicted"], micro["correct"], micro["f1"]) == (5, 5, 2, 0.4)
    assert found["span"]["correct"] == 3
    assert found["relaxed"]["micro"]["found"] == 3
    assert found["kinds"] == {
        "correct": 2,
        "wrong type": 1,
        "wrong boundaries": 1,
        "wrong type and boundaries": 0,
        "missed": 1,
        "spurious": 1,
    }
    assert found["schemes"]["partial"]["partial"] == 1
    assert found["seen"]["seen"] == {"gold": 3, "correct": 1, "recall": 1 / 3}
    assert found["seen"]["unseen"] == {"gold": 2, "correct": 1, "recall": 0.5}
    assert found["intervals"]["f1"]["low"] <= 0.4 <= found["intervals"]["f1"]["high"]
    assert found["compare"]["strict"]["micro"]["correct"] == 4
    assert found["compare"]["difference"]["f1"]["value"] == pytest.approx(0.4 - 8 / 9)
    assert [each["kind"] for each in found["errors"]] == ["wrong type", "wrong boundaries", "missed"]
    assert found["errors"][1]["gold"] == {"start": 19, "end": 23, "type": "Cell", "text": "HeLa"}
    assert found["errors"][2]["predicted"] is None


def test_people_get_tables_and_errors_in_words(files: list[str], tmp_path: Path):
    other = written(tmp_path / "better.jsonl", BETTER)
    training = written(tmp_path / "train.jsonl", TRAINING)
    output = run(*files, "--compare", other, "--train", training, "--errors", "2").stdout
    assert "predicted.jsonl against gold.jsonl, 2 documents" in output
    assert "better.jsonl against gold.jsonl" in output
    assert "recall on names new to training: 0.500 of 2" in output
    assert "difference to better.jsonl, paired by document: precision " in output
    assert "1  wrong type: gold Gene “TP53” 11–15, predicted Cell “TP53” 11–15" in output
    assert "and 2 more" in output


def test_errors_are_listed_only_when_asked_for(files: list[str]):
    assert "errors" not in as_json(*files)
    assert "more" not in run(*files).stdout


def test_what_reading_left_out_is_said(files: list[str], tmp_path: Path):
    torn = tmp_path / "torn.txt"
    torn.write_text("7|t|p63 in mice\n7|a|\n7\t0\t3\tp63\tGene\n7\tCID\tD1\tD2\n", encoding="utf-8")
    result = run(str(torn), str(torn))
    assert f"reading {torn}: 1 " in result.stderr
    assert list(as_json(str(torn), str(torn))["reading"]) == [str(torn)]
    assert as_json(*files)["reading"] == {}


def test_the_same_twice(files: list[str]):
    assert as_json(*files) == as_json(*files)


@pytest.mark.parametrize(
    ("mentions", "texts", "message"),
    [
        ({"1": []}, {}, "1 gold documents have no prediction: 2;"),
        (
            {"1": [], "2": []},
            {"t2": "TP53 and p63 in rats"},
            "document 2: the texts differ from character 16 on",
        ),
    ],
)
def test_predictions_of_other_documents_are_refused(
    files: list[str], tmp_path: Path, mentions: dict[str, list], texts: dict[str, str], message: str
):
    wrong = written(tmp_path / "wrong.jsonl", mentions, **texts)
    result = CliRunner().invoke(score_mentions, [files[0], wrong])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)


def test_a_file_that_is_not_there_is_named(files: list[str], tmp_path: Path):
    result = CliRunner().invoke(score_mentions, [files[0], str(tmp_path / "none.jsonl")])
    assert result.exit_code
    assert "none.jsonl" in str(result.exception) + result.output


def test_files_without_ids_of_their_own_are_compared_in_their_order(tmp_path: Path):
    (tmp_path / "gold.tsv").write_text("p53\tB-GENE\nbinds\tO\n\ncells\tO\nSTAT3\tB-GENE\n")
    (tmp_path / "found.tsv").write_text("p53\tB-GENE\nbinds\tO\n\ncells\tO\nSTAT3\tO\n")
    (tmp_path / "other.tsv").write_text("p53\tB-GENE\nbinds\tO\n\ncell\tO\nSTAT3\tO\n")
    arguments = [str(tmp_path / "gold.tsv"), str(tmp_path / "found.tsv"), "--json"]
    scores = json.loads(CliRunner().invoke(score_mentions, arguments).stdout)
    assert scores["strict"]["micro"]["gold"] == 2
    assert scores["strict"]["micro"]["correct"] == 1
    refused = CliRunner().invoke(score_mentions, [arguments[0], str(tmp_path / "other.tsv")])
    assert isinstance(refused.exception, InputError)
