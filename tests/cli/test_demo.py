"""The demo, on invented papers and a tiny base: what it leaves, that it resumes, and what it refuses."""

import json
from pathlib import Path

import pytest

from biolm import demo
from biolm.corpus.build import CorpusConfig
from biolm.corpus.split import parse_shares
from biolm.errors import ArtifactError
from biolm.progress import Silent
from conftest import folder_bytes, write_papers


class Stop(Exception):  # noqa: N818  a signal of the test, no error
    """Raised in the middle of the demo."""


class StopAt(Silent):
    def __init__(self, stage: str, done: float) -> None:
        self._wanted, self._done, self._stage = stage, done, ""

    def start(self, stage: str, total: float | None, unit: str) -> None:
        self._stage = stage

    def update(self, done: float, note: str = "", *, before: bool = False) -> None:
        if self._stage == self._wanted and done >= self._done:
            raise Stop


@pytest.fixture(autouse=True)
def invented_papers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SAMPLE", str(write_papers(tmp_path / "papers", 200)))
    monkeypatch.setattr(demo, "CORPUS", CorpusConfig(shares=parse_shares("70/10/20")))


def test_it_leaves_what_it_promises_and_a_second_run_changes_nothing(tiny_bert: Path, tmp_path: Path):
    out = tmp_path / "demo"
    result = demo.run_demo(out, str(tiny_bert), 3, Silent())
    results = json.loads((out / "results.json").read_text())
    assert set(results) == {"unigram", "base", "trained"}
    for measured in results.values():
        assert set(measured) == {"overall", "sections", "masked_tokens", "documents"}
        assert set(measured["sections"]) == {"abstract", "figure_legend"}
        assert measured["overall"]["recall_at_1"]["low"] <= measured["overall"]["recall_at_1"]["value"]
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "model" / "model.safetensors").is_file()
    assert len(result.fills) == 5
    before = folder_bytes(out)
    demo.run_demo(out, str(tiny_bert), 3, Silent())
    after = folder_bytes(out)
    assert {k: v for k, v in after.items() if k != "loss.png"} == {
        k: v for k, v in before.items() if k != "loss.png"
    }


def test_interrupted_anywhere_it_ends_with_the_same_results(tiny_bert: Path, tmp_path: Path):
    whole = demo.run_demo(tmp_path / "whole", str(tiny_bert), 30, Silent())
    out = tmp_path / "interrupted"
    for stage, done in (("tokenize", 1), ("pretrain", 22), ("evaluate", 1)):
        with pytest.raises(Stop):
            demo.run_demo(out, str(tiny_bert), 30, StopAt(stage, done))
    assert demo.run_demo(out, str(tiny_bert), 30, Silent()).results == whole.results


def test_a_folder_of_other_files_is_left_alone(tiny_bert: Path, tmp_path: Path):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "results.json").write_text("years of work")
    with pytest.raises(ArtifactError, match="holds other files"):
        demo.run_demo(out, str(tiny_bert), 3, Silent())
    assert folder_bytes(out) == {"results.json": b"years of work"}
