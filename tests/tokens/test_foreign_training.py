"""Data of others all the way: a step of training, the card that says what is not known, an evaluation."""

import json
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict
from huggingface_hub import ModelCard

from biolm.cli import app
from biolm.errors import BiolmError
from conftest import sentences


def biolm(*arguments: str) -> None:
    app.main(list(arguments), prog_name="biolm", standalone_mode=False, obj=arguments)


def write(kind: str, folder: Path) -> Path:
    """Data of a kind with train, validation and test; of "a file" with train alone."""
    folder.mkdir()
    rows = {
        split: Dataset.from_dict(
            {"text": sentences(count, seed=seed), "pmid": [i // 2 for i in range(count)]}
        )
        for split, count, seed in (("train", 12, 1), ("eval", 6, 2), ("test", 6, 3))
    }
    if kind == "a file":
        rows["train"].to_parquet(folder / "papers.parquet")
        return folder / "papers.parquet"
    if kind == "saved":
        DatasetDict(rows).save_to_disk(folder)
    for split, texts in rows.items():
        if kind == "ids":
            ids = [[0, *range(5, 5 + len(text) % 60), 2] for text in texts["text"]]
            lines = [{"input_ids": row, "special_tokens_mask": [1, *[0] * (len(row) - 2), 1]} for row in ids]
            (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        elif kind == "csv":
            texts.to_csv(folder / f"{split}.csv", index=False)
    return folder


@pytest.mark.parametrize("kind", ["ids", "csv", "saved", "a file"])
def test_a_model_is_trained_described_and_measured(
    kind: str, tiny_roberta: Path, tmp_path: Path, monkeypatch, capsys, caplog
):
    monkeypatch.setenv("BIOLM_CACHE", str(tmp_path / "cache"))
    data, run = write(kind, tmp_path / "texts"), tmp_path / "run"
    columns = [] if kind == "ids" else ["--document-column", "pmid"]
    steps = ["--max-steps", "1", "--examples-per-step", "4"]
    biolm("pretrain", str(data), "--base", str(tiny_roberta), "--out", str(run), *steps, *columns)
    printed = capsys.readouterr().out
    card = ModelCard.load(run / "model/README.md")
    facts = json.loads((run / "config.json").read_text())["data"]
    assert (facts["kind"], facts["name"]) == ("ids" if kind == "ids" else "texts", data.name)
    assert facts["splits"]["train"] == {"passages": 12, "documents": 12 if kind == "ids" else 6}
    assert f"further trained on 12 passages of\n`{data.name}`" in card.text
    assert "Licences of the passages: not stated. Languages: not stated." in card.text
    assert "life-sciences" not in card.data.tags
    assert card.data.get("language") is None
    assert str(tmp_path) not in card.content
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert any("train/loss" in line for line in metrics)
    if kind == "a file":
        assert not any("validation/loss" in line for line in metrics)
        assert "no validation split: nothing is validated while training" in caplog.text
        assert "no test split: the model will not be measured" in caplog.text
        assert "Not measured yet" in card.text
        assert "biolm evaluate" not in printed
        with pytest.raises(BiolmError, match="has no passages in its test split"):
            biolm("evaluate", str(run / "model"), str(data), *columns)
        return
    assert any("validation/loss" in line for line in metrics)
    assert "| text | this model |" in card.text
    assert (
        f"biolm evaluate {run / 'model'} {data}{' ' * bool(columns)}{' '.join(columns)} --split test"
        in printed
    )
    biolm("evaluate", str(run / "model"), str(data), "--json", *columns)
    results = json.loads(capsys.readouterr().out)
    assert list(results["sections"]) == ["text"]
    assert results["sections"]["text"] == {
        name: value for name, value in results["overall"].items() if name != "calibration"
    }
    assert results["documents"] == (6 if kind == "ids" else 3)
    assert results["overall"] == json.loads((run / "evaluation.json").read_text())["overall"]
    biolm("evaluate", str(run / "model"), str(data), *columns)
    assert "text " in capsys.readouterr().out
    assert len(list((tmp_path / "cache/tokens").iterdir())) == 1


def test_columns_of_what_has_none_are_refused(
    tiny_corpus: Path, roberta_tokens, tiny_roberta: Path, tmp_path: Path
):
    for data, says in ((tiny_corpus, "its own columns"), (roberta_tokens.folder, "which has no columns")):
        with pytest.raises(BiolmError, match=says):
            biolm("evaluate", str(tiny_roberta), str(data), "--text-column", "abstract")


def test_data_without_a_training_split_trains_nothing(tiny_roberta: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("BIOLM_CACHE", str(tmp_path / "cache"))
    Dataset.from_dict({"text": sentences(3)}).to_parquet(tmp_path / "test.parquet")
    with pytest.raises(BiolmError, match=r"test\.parquet has no training split; give data that has it"):
        biolm(
            *("pretrain", str(tmp_path / "test.parquet"), "--base", str(tiny_roberta)),
            *("--out", str(tmp_path / "run")),
        )
    assert not (tmp_path / "run").exists()
