"""Settings by recipe, `--set` and option; recipes shown; what a run will take, said before it is run."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from biolm.cli import main
from biolm.recipes import RECIPES, recipe_named
from biolm.training.config import PretrainConfig
from conftest import folder_bytes


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """What `biolm ARGUMENTS` prints; on standard error where it fails."""
    with pytest.raises(SystemExit) as left:
        main(list(arguments))
    said = capsys.readouterr()
    assert left.value.code == code, said.err
    if code:
        assert not said.out
        lines = [line for line in said.err.splitlines() if line.startswith("biolm: ")]
        assert len(lines) == 1
        return lines[0]
    return said.out


@pytest.fixture
def dry(tiny_corpus: Path, tiny_roberta: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """`biolm pretrain --dry-run --json` with more arguments, as an object; nothing but a token store is made."""
    monkeypatch.setenv("BIOLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("biolm.cli.dry_run.PROBE_SECONDS", 2.0)
    monkeypatch.chdir(tmp_path)

    def dry(*arguments: str) -> dict[str, Any]:
        base = () if "--base" in arguments else ("--base", str(tiny_roberta))
        said = run(capsys, "pretrain", str(tiny_corpus), *base, "--dry-run", "--json", "--quiet", *arguments)
        assert {path.split("/")[:2][-1] for path in folder_bytes(tmp_path)} == {"tokens"}
        facts: dict[str, Any] = json.loads(said)
        return facts

    return dry


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--recipe", "biolm"], "no recipe is called 'biolm'; did you mean bio-lm?"),
        (["--set", "lr_peek=1"], "--set lr_peek=1: there is no setting 'lr_peek'; did you mean lr_peak"),
        (["--set", "zzz=1"], "there is no setting 'zzz'; `biolm recipes bio-lm` lists them"),
        (["--set", "lr_peak"], "--set lr_peak: give KEY=VALUE"),
        (["--set", "lr_peak=high"], "--set lr_peak=high: 'high' is not a valid float"),
        (["--set", "lr_peak=none"], "'none' is not a valid float"),
        (["--set", "epochs=1.5"], "'1.5' is not a valid integer"),
        (["--set", "mask_unit=sentence"], "'sentence' is not one of 'token', 'word'"),
        (["--set", "activation_checkpointing=maybe"], "'maybe' is not a valid boolean"),
        (["--set", "lr_peak=-1"], "lr_peak is -1.0; give a number above 0"),
        (["--recipe", "fast", "--set", "decay_fraction=0.99"], "add up to more than 1"),
        (["--json"], "--json goes with --dry-run"),
        (["--price-per-hour", "1"], "--price-per-hour goes with --dry-run"),
        (["--dry-run", "--price-per-hour", "cheap"], "'cheap' is no number"),
        (["--dry-run", "--price-per-hour", "-1"], "give 0 or more"),
        (["--dry-run", "--price-per-hour", "H100=1"], "no machine is called 'H100'; there are 1xA100"),
    ],
)
def test_a_wrong_setting_is_one_line_at_once(capsys, tmp_path: Path, arguments: list[str], says: str):
    assert says in run(capsys, "pretrain", "X", "--out", str(tmp_path / "run"), *arguments, code=2)
    assert not (tmp_path / "run").exists()


def test_out_may_lack_in_a_dry_run_only(capsys):
    assert "Missing option" in run(capsys, "pretrain", "X", code=2)


def test_recipes_are_listed_and_shown(capsys):
    listed = run(capsys, "recipes")
    assert [r["name"] for r in json.loads(run(capsys, "recipes", "--json"))] == list(RECIPES)
    for name in RECIPES:
        recipe = recipe_named(name)
        assert recipe.summary in listed
        facts = json.loads(run(capsys, "recipes", name, "--json"))
        shown = run(capsys, "recipes", name)
        assert facts["settings"].keys() == {*PretrainConfig.__dataclass_fields__}
        for key, setting in facts["settings"].items():
            assert key in shown
            assert setting["reason"]
            assert setting["decided"] is (key in recipe.reasons)
    assert "did you mean fast" in run(capsys, "recipes", "fas", code=2)


def test_options_count_more_than_set_and_set_more_than_the_recipe(dry):
    facts = dry(
        *("--recipe", "bio-lm", "--set", "lr_peak=1e-4", "--set", "seed=3", "--set", "max-tokens=64"),
        *("--set", "lr_peak=2e-4", "--set", "clip_norm=none", "--set", "track=wandb, mlflow", "--seed", "4"),
    )
    config, recipe = facts["config"], facts["recipe"]
    assert (config["lr_peak"], config["seed"], config["max_tokens"]) == (2e-4, 4, 64)
    assert config["clip_norm"] is None
    assert config["track"] == ["wandb", "mlflow"]
    assert config["long_passages"] == "truncate"
    assert recipe["name"] == "bio-lm"
    assert set(recipe["changed"]) == {"lr_peak", "seed", "max_tokens", "clip_norm", "track"}
    assert recipe["reasons"]["weight_decay"] == "model card"
    assert "lr_peak" not in recipe["reasons"]


def test_a_dry_run_adds_up(dry):
    facts = dry(
        *("--epochs", "2", "--examples-per-step", "8", "--validate-every", "10"),
        *("--price-per-hour", "0.5", "--price-per-hour", "8xH100=12"),
    )
    data, run_, flops = facts["data"], facts["run"], facts["flops"]
    assert facts["recipe"] is None
    assert data["windows"] >= data["passages"]
    assert run_["steps_per_epoch"] == math.ceil(data["windows"] / 8)
    assert run_["steps"] == 2 * run_["steps_per_epoch"]
    assert run_["windows"] == run_["epochs"] * data["windows"] == 2 * data["windows"]
    assert run_["windows_per_step"] * run_["steps"] == pytest.approx(run_["windows"])
    assert run_["tokens"] == 2 * data["tokens"]
    assert run_["tokens_per_step"] * run_["steps"] == pytest.approx(run_["tokens"])
    assert run_["masked_tokens"] == pytest.approx(0.15 * run_["tokens"], rel=0.05)
    assert run_["validations"] == 1 + math.ceil(run_["steps"] / 10)
    assert flops["total"] == flops["training"] + flops["validation"]
    memory, disk = facts["memory"], facts["disk"]
    assert memory["peak"] == sum(v for k, v in memory.items() if k not in ("peak", "parameters"))
    assert disk["total"] == disk["checkpoints"] + disk["model"]
    here, v100, a100, h100 = facts["machines"]
    measured = here["measured"]
    seconds = flops["total"] / measured["flops_per_second"] + run_["steps"] * measured["fixed_seconds"]
    assert here["seconds"]["value"] == pytest.approx(seconds)
    assert here["seconds"]["low"] <= here["seconds"]["value"] <= here["seconds"]["high"]
    assert measured["samples"] >= 1
    assert 0 < measured["core_share"] <= 1
    assert (here["gpus"], here["gpu_hours"]) == (0, None)
    assert here["cost"] == pytest.approx(0.5 * here["machine_hours"])
    for machine in (v100, a100, h100):
        per_second = machine["published"]["flops_per_second"]
        assert machine["seconds"]["value"] == pytest.approx(flops["total"] / per_second)
        assert machine["gpu_hours"] == pytest.approx(machine["gpus"] * machine["machine_hours"])
        assert machine["published"]["address"].startswith("https://")
    assert (v100["cost"], a100["cost"]) == (None, None)
    assert h100["cost"] == pytest.approx(12 * h100["machine_hours"])


def test_nothing_is_invented_where_nothing_was_published(dry):
    facts = dry("--recipe", "bio-lm", "--device", "cpu")
    _, v100, a100, h100 = facts["machines"]
    assert "fp32" in v100["published"]["figure"]
    for machine in (a100, h100):
        assert machine["published"] is machine["seconds"] is machine["gpu_hours"] is None
        assert "no published figure found" in machine["missing"]


def test_words_tokens_a_step_and_a_fixed_shape_can_be_foreseen(dry):
    facts = dry(
        *("--set", "mask_unit=word", "--set", "mask_rate=0.3", "--set", "mask_rate_end=0.15"),
        *("--set", "tokens_per_step=600", "--set", "row_shape=fixed", "--set", "max_row_tokens=512"),
    )
    run_ = facts["run"]
    assert run_["tokens_per_step"] == pytest.approx(600, rel=0.1)
    assert run_["masked_tokens"] == pytest.approx(0.225 * run_["tokens"], rel=0.05)


def test_a_person_is_told_the_same(
    tiny_corpus: Path, tiny_roberta: Path, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.setenv("BIOLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("biolm.cli.dry_run.PROBE_SECONDS", 2.0)
    said = run(capsys, "pretrain", str(tiny_corpus), "--base", str(tiny_roberta), "--dry-run", "--quiet")
    for words in (
        *("passages", "tokens an epoch", "special tokens included", "cut off", "steps", "to predict"),
        *("floating-point operations", "memory", "disk", "this machine", "4 x V100", "8 x H100", "measured"),
        *("published [3]", "We have run none", "read 2026-11-26", "Nothing was written but the token store"),
    ):
        assert words in said


def test_a_run_and_its_card_tell_the_recipe(
    tiny_corpus: Path, tiny_roberta: Path, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.setenv("BIOLM_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "run"
    run(
        *(capsys, "pretrain", str(tiny_corpus), "--base", str(tiny_roberta), "--out", str(out), "--quiet"),
        *("--recipe", "demo", "--set", "max_steps=2", "--lr-peak", "1e-3", "--evaluate-split", "none"),
    )
    recipe = json.loads((out / "config.json").read_text())["recipe"]
    assert recipe["name"] == "demo"
    assert set(recipe["changed"]) == {"max_steps", "lr_peak"}
    card = (out / "model/README.md").read_text()
    assert "biolm's recipe `demo`, but for max_steps, lr_peak:\n" in card
    assert "| setting | value | source or reason |\n|---|---|---|\n" in card
    assert "| lr_peak | 0.001 | chosen for this run |\n" in card
    reason = recipe_named("demo").reasons["examples_per_step"]
    assert f"| examples_per_step | 16 | {reason} |\n" in card
    assert "| weight_decay | 0.01 | biolm's default |\n" in card
