"""Runs and models of every format that was ever written: read, gone on with, or refused in one line.

`frozen-v1` and `frozen-v2` were written by the code of their day; never rebuild them to make these tests pass.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch
from recorded import read_log, recorded
from safetensors.torch import load_file

from biolm.artifacts import verify_files
from biolm.cli import main
from biolm.errors import ArtifactError
from biolm.model.folder import read_model_manifest
from biolm.model.loading import load_model
from biolm.progress import Silent
from biolm.publishing.card import write_model_card
from biolm.publishing.results import describe_run
from biolm.tokens.store import open_tokens
from biolm.tokens.tokenizer import check_belongs, load_tokenizer
from biolm.training import speed
from biolm.training.checkpoint import Counters, open_checkpoint
from biolm.training.config import PretrainConfig
from biolm.training.metrics import read_metrics
from biolm.training.run import pretrain, read_run
from conftest import folder_bytes

V1 = Path(__file__).parent / "frozen-v1"
V2 = Path(__file__).parent / "frozen-v2"
"""`base`, `tokens`, a `run` stopped after step 6 of 8, the same run `finished`, and the windows of all its steps."""


def config_of(run: Path) -> PretrainConfig:
    """The settings that a run was started with; those added since at their defaults."""
    saved = read_run(run)["config"]
    return PretrainConfig(**{**saved, "track": tuple(saved["track"])})


def resume(run: Path) -> Path:
    tokenizer, base = load_tokenizer(str(V2 / "base")), str(V2 / "base")
    return pretrain(open_tokens(V2 / "tokens"), tokenizer, base, run, config_of(run), Silent(), resume=True)


@pytest.fixture(autouse=True)
def no_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """No half second for the device's matrix product: nothing here is about speed."""
    monkeypatch.setattr(speed, "matmul_peak", lambda *_, seconds: 1e11)


def test_a_checkpoint_of_format_2_is_read():
    found = open_checkpoint(V2 / "run/checkpoints/step-00000004")
    assert found.counters == Counters(step=4, tokens=796, masked_tokens=185, passages=16, skipped={})
    assert found.validation_loss == 5.786231994628906
    assert found.guard["norms"][:2] == [1.1268832683563232, 1.2014191150665283]


def test_a_run_of_format_2_goes_on_as_its_own_biolm_would_have(tmp_path: Path):
    """Step for step with the same windows and masks; weights but for the rounding of other versions of torch."""
    run = Path(shutil.copytree(V2 / "run", tmp_path / "run"))
    begun = read_metrics(V2 / "run")[:6]
    assert begun[-1]["step"] == 4
    with recorded(tmp_path / "log"):
        model = resume(run)
    windows = {
        int(step): [(example, digest) for example, digest in found]
        for step, found in json.loads((V2 / "windows.json").read_text()).items()
    }
    assert list(windows) == list(range(8))
    assert read_log(tmp_path / "log") == {step: windows[step] for step in range(4, 8)}
    assert read_metrics(run)[:6] == begun
    for line, expected in zip(read_metrics(run), read_metrics(V2 / "finished"), strict=True):
        assert line.keys() >= expected.keys()
        for name, value in expected.items():
            if not name.startswith("speed/"):
                assert line[name] == pytest.approx(value, rel=1e-3, abs=1e-6), name
    before = load_file(V2 / "run/checkpoints/step-00000004/average.safetensors")
    weights, expected = (
        load_file(model / "model.safetensors"),
        load_file(V2 / "finished/model/model.safetensors"),
    )
    assert weights.keys() == expected.keys()
    for name, tensor in weights.items():
        whose = name.replace(".key.bias", ".query.bias")  # a key's bias changes by rounding alone
        assert (tensor - expected[name]).norm() <= 1e-2 * (expected[whose] - before[whose]).norm(), name
    trained, wanted = (read_model_manifest(folder)["trained"] for folder in (model, V2 / "finished/model"))
    assert trained.pop("loss") == pytest.approx(wanted.pop("loss"), rel=1e-3)
    assert wanted.items() <= trained.items()


def test_a_finished_run_of_format_2_is_finished(tmp_path: Path):
    run = Path(shutil.copytree(V2 / "finished", tmp_path / "finished"))
    assert resume(run) == run / "model"
    results = describe_run(run, str(V2 / "base"), open_tokens(V2 / "tokens"), "test", Silent())
    assert results is not None
    measured = json.loads((V2 / "finished/evaluation.json").read_text())
    assert results["overall"]["loss"]["value"] == pytest.approx(
        measured["overall"]["loss"]["value"], rel=1e-4
    )
    before, after = folder_bytes(V2 / "finished"), folder_bytes(run)
    for files in (
        before,
        after,
    ):  # a card is written anew, in today's words; so is an evaluation of another format
        del files["model/README.md"], files["evaluation.json"]
    assert after == before


@pytest.mark.parametrize(
    ("folder", "likeliest"),
    [
        (V1 / "model", {262: 0.011131, 158: 0.010982, 78: 0.009391}),
        (V2 / "finished/model", {176: 0.013311, 262: 0.009629, 61: 0.009456}),
    ],
    ids=["v1", "v2"],
)
def test_a_model_of_format_1_is_read_and_described(folder: Path, likeliest: dict[int, float], tmp_path: Path):
    """By biolm and by stock transformers, alike."""
    from transformers import AutoModelForMaskedLM, AutoModelForTokenClassification, AutoTokenizer, pipeline

    manifest = read_model_manifest(folder)
    assert (manifest["version"], manifest["max_tokens"]) == (1, 64)
    assert manifest["trained"]["steps"] == 8
    assert verify_files(folder, manifest) == []
    tokenizer = load_tokenizer(str(folder))
    check_belongs(tokenizer, folder)
    assert tokenizer.vocabulary.hash == manifest["tokenizer_hash"]
    stock = AutoModelForMaskedLM.from_pretrained(folder).eval()
    for name, weight in load_model(folder).named_parameters():
        assert torch.equal(weight, stock.get_parameter(name)), name
    text = "protein kinase <mask> cells of mouse neurons"
    filled = pipeline("fill-mask", model=stock, tokenizer=AutoTokenizer.from_pretrained(folder))(text)
    assert {found["token"]: found["score"] for found in filled[:3]} == pytest.approx(likeliest, rel=1e-3)
    AutoModelForTokenClassification.from_pretrained(folder)
    again = Path(shutil.copytree(folder, tmp_path / "model"))
    (again / "README.md").unlink()
    write_model_card(again, None)
    assert (again / "README.md").read_text().startswith("---\n")


def test_a_run_of_format_1_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = Path(shutil.copytree(V1 / "run", tmp_path / "run"))
    saved = read_run(run)["config"]
    config = PretrainConfig(**saved)
    tokenizer, base = load_tokenizer(str(V2 / "base")), str(V2 / "base")
    with pytest.raises(ArtifactError, match="run format 1, this one writes 2"):
        pretrain(open_tokens(V2 / "tokens"), tokenizer, base, run, config, Silent(), resume=True)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in saved.items() if value is not None]
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", str(V2 / "tokens"), "--base", base, "--out", str(run), "--resume", *options])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"biolm: {run} was started by another version of biolm (run format 1, this one writes 2), whose steps "
        "cannot be repeated; choose another --out"
    )
    assert folder_bytes(run) == folder_bytes(V1 / "run")
