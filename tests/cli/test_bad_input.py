"""Wrong input: one line that says what, where and what to do next; exit code 2; nothing touched."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import folder_bytes, write_papers


def run(*arguments: str, code: int = 2) -> str:
    """Run biolm; the one line that it says on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "biolm", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("biolm: ")
    return lines[0]


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    return write_papers(tmp_path / "papers", 3)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["frobnicate"], "No such command"),
        (["--frobnicate"], "No such option"),
        (["pretrain", "X", "--out", "Y", "--lr-peek", "1"], "--lr-peak"),
        (["pretrain", "X", "--out", "Y", "--lr-peak", "high"], "not a valid float"),
        (["pretrain", "X"], "--out"),
        (["corpus", "build", "--out", "Y"], "SOURCE"),
        (["evaluate", "M", "C", "--split", "dev"], "dev"),
        (["corpus", "build", "", "--out", "Y"], "a source without a name"),
        (["corpus", "build", "X", "--out", ""], "a corpus without a name"),
    ],
)
def test_a_wrong_command_line(arguments: list[str], says: str):
    assert says in run(*arguments)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda p: None, id="missing"),
        pytest.param(lambda p: p.write_bytes(b""), id="empty"),
        pytest.param(lambda p: p.write_text("just words"), id="no XML"),
        pytest.param(lambda p: p.write_text("<html><body/></html>"), id="neither JATS nor PubMed"),
        pytest.param(lambda p: p.write_text("<article><front>"), id="broken XML"),
        pytest.param(lambda p: p.mkdir(), id="empty folder"),
    ],
)
def test_an_unusable_source(make, tmp_path: Path):
    path = tmp_path / "source.xml"
    make(path)
    message = run("corpus", "build", str(path), "--out", str(tmp_path / "out"), "--quiet")
    assert "source.xml" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["a.xml.gz", "a.tar.gz"])
def test_a_truncated_archive(name: str, tmp_path: Path, papers: Path):
    path = tmp_path / name
    if name.endswith(".tar.gz"):
        import tarfile

        with tarfile.open(path, "w:gz") as archive:
            archive.add(papers, "papers")
    else:
        path.write_bytes(gzip.compress((papers / "PMC00001.xml").read_bytes()))
    path.write_bytes(path.read_bytes()[:-40])
    assert name in run("corpus", "build", str(path), "--out", str(tmp_path / "out"), "--quiet")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_holds_something_else(tmp_path: Path, papers: Path, tiny_corpus: Path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    for command in (
        ["corpus", "build", str(papers), "--out", str(out)],
        ["tokenize", str(tiny_corpus), "--tokenizer", "X", "--out", str(out)],
        ["pretrain", str(tiny_corpus), "--base", "X", "--out", str(out)],
    ):
        run(*command, "--quiet")
        assert folder_bytes(out) == {"thesis.tex": b"years of work"}


def test_an_output_folder_that_cannot_be_written_is_said_before_anything_is_read(
    tmp_path: Path, papers: Path
):
    (tmp_path / "file").write_text("x")
    for out, says in (("file/corpus", "file is a file; choose another --out"), ("\udcff", "no UTF-8")):
        line = run("corpus", "build", str(papers), "--out", str(tmp_path / out), "--quiet")
        assert says in line
    assert not list(tmp_path.glob(".*"))


def test_a_corpus_that_is_none(tmp_path: Path, tiny_roberta: Path):
    for command in (
        ["corpus", "show", str(tmp_path)],
        ["evaluate", str(tiny_roberta), str(tmp_path)],
        ["pretrain", str(tmp_path), "--base", str(tiny_roberta), "--out", str(tmp_path / "run")],
        ["tokenize", str(tmp_path / "none"), "--tokenizer", str(tiny_roberta), "--out", str(tmp_path / "t")],
    ):
        assert "biolm corpus build" in run(*command)
    assert not (tmp_path / "run").exists()


def test_a_base_that_is_neither_a_folder_nor_reachable(tiny_corpus: Path, tmp_path: Path):
    message = run("pretrain", str(tiny_corpus), "--base", "no-such/model", "--out", str(tmp_path / "run"))
    assert "no-such/model" in message
    assert not (tmp_path / "run").exists()


def test_an_unreachable_hub_fails_at_once(tiny_corpus: Path, tmp_path: Path):
    """A port of this machine that nothing listens on, where the Hub would be."""
    env = {**os.environ, "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "biolm", "fill-mask", "some/model", "a <mask>"],
        capture_output=True,
        text=True,
        check=False,
        env=env,
        timeout=30,
    )
    assert done.returncode == 2
    assert "cannot be reached" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_fill_mask_without_a_mask(tiny_roberta: Path):
    assert "has no mask" in run("fill-mask", str(tiny_roberta), "no gap here")


def test_models_of_two_tokenizers_are_compared_by_texts_alone(
    tiny_roberta: Path, tiny_bert: Path, roberta_tokens
):
    message = run("evaluate", str(tiny_roberta), str(roberta_tokens.folder), "--compare", str(tiny_bert))
    assert "of another tokenizer, needs papers and their texts" in message


def test_predictions_into_an_unknown_format(tiny_roberta: Path, tiny_corpus: Path, tmp_path: Path):
    message = run(
        "evaluate", str(tiny_roberta), str(tiny_corpus), "--save-predictions", str(tmp_path / "p.xlsx")
    )
    assert ".parquet" in message


def test_impossible_settings(tiny_roberta: Path, tiny_corpus: Path, tmp_path: Path):
    for option, value in (("--mask-rate", "2"), ("--epochs", "0"), ("--clip-norm", "-1")):
        message = run("pretrain", str(tiny_corpus), "--out", str(tmp_path / "run"), option, value)
        assert option[2:].replace("-", "_") in message
    assert not (tmp_path / "run").exists()
