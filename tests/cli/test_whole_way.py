"""Papers to a described model, as a user would go, on invented papers and tiny models."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from biolm.evaluation.quantities import METRICS
from conftest import save_tiny, write_papers

CARD_SNIPPET = """
import warnings
warnings.simplefilter("ignore")
from transformers import pipeline, RobertaTokenizerFast
tokenizer = RobertaTokenizerFast.from_pretrained('{base}', max_len=512)
text = "Let us try this model to see if it <mask>."
fill_mask = pipeline(
    "fill-mask",
    model='{model}',
    tokenizer=tokenizer
)
print([fill["token"] for fill in fill_mask(text)])
"""


def biolm(*arguments: str, cache: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "biolm", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "BIOLM_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base, corpus and a finished run of a RoBERTa, made with the commands."""
    here = tmp_path_factory.mktemp("way")
    save_tiny(here / "base", "roberta")
    write_papers(here / "papers", 40)
    corpus, run = str(here / "corpus"), str(here / "run")
    biolm(
        "corpus", "build", str(here / "papers"), "--out", corpus, "--split", "70/10/20", cache=here / "cache"
    )
    biolm(
        *("pretrain", corpus, "--base", str(here / "base"), "--out", run, "--epochs", "2"),
        *("--examples-per-step", "8", "--lr-peak", "1e-3", "--validate-every", "5"),
        cache=here / "cache",
    )
    return here


def test_the_run_leaves_what_the_documentation_says(trained: Path):
    run = trained / "run"
    for name in (
        *("config.json", "metrics.jsonl", "tensorboard", "checkpoints", "evaluation.json"),
        *("model/model.safetensors", "model/config.json", "model/tokenizer.json", "model/README.md"),
    ):
        assert (run / name).exists(), name
    assert list((run / "tensorboard").iterdir())
    assert json.loads((run / "model/tokenizer_config.json").read_text())["model_max_length"] == 128
    assert "biolm_packed" not in (run / "model/config.json").read_text()


def test_the_card_is_filled_from_the_manifests(trained: Path):
    from huggingface_hub import ModelCard

    card = ModelCard.load(trained / "run/model/README.md")
    config = json.loads((trained / "run/config.json").read_text())
    results = json.loads((trained / "run/evaluation.json").read_text())
    for heading in (
        *("Model description", "Intended uses & limitations", "How to use"),
        *("Training data", "Training procedure", "Results"),
    ):
        assert f"## {heading}\n" in card.text
    assert f"| lr_peak | {config['config']['lr_peak']} |" in card.text
    for split, facts in config["data"]["splits"].items():
        assert f"| {split} | {facts['passages']} | {facts['documents']} |" in card.text
    recall = results["overall"]["recall_at_1"]
    assert f"{recall['value']:.3f} [{recall['low']:.3f}–{recall['high']:.3f}]" in card.text
    metrics = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert metrics["recall_at_1"] == round(recall["value"], 4)
    assert str(trained) not in card.content


def test_the_original_model_cards_snippet_runs_word_for_word(trained: Path):
    output = python(CARD_SNIPPET.format(base=trained / "base", model=trained / "run/model"))
    ours = json.loads(
        biolm(
            *(
                "fill-mask",
                str(trained / "run/model"),
                "Let us try this model to see if it <mask>.",
                "--json",
            ),
            cache=trained / "cache",
        )
    )
    assert json.loads(output.splitlines()[-1]) == [fill["token"] for fill in ours[0]]


def test_stock_classes_load_the_result(trained: Path):
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from transformers import AutoModelForMaskedLM, AutoModelForTokenClassification, AutoTokenizer\n"
        f"folder = {str(trained / 'run/model')!r}\n"
        "AutoModelForMaskedLM.from_pretrained(folder)\n"
        "AutoModelForTokenClassification.from_pretrained(folder, num_labels=3)\n"
        "print(AutoTokenizer.from_pretrained(folder).model_max_length)"
    )
    assert python(code).splitlines()[-1] == "128"


def test_evaluate_prints_one_json_object_with_the_promised_keys(trained: Path):
    output = biolm(
        *("evaluate", str(trained / "run/model"), str(trained / "corpus"), "--json"),
        *("--compare", str(trained / "base"), "--save-predictions", str(trained / "p.parquet")),
        cache=trained / "cache",
    )
    results = json.loads(output)
    groups = [results["overall"], *results["sections"].values()]
    (compared,) = results["compare"]
    groups += [results["unigram"]["overall"], compared["overall"]]
    for group in groups:
        assert set(group) - {"calibration"} == {*METRICS, "masked_tokens", "documents"}
        for name in METRICS:
            if name != "calibration_error":  # replicates of a distance lie above it
                assert group[name]["low"] <= group[name]["value"] <= group[name]["high"]
    assert set(results["sections"]) == {"abstract", "figure_legend"}
    recorded = json.loads((trained / "run/evaluation.json").read_text())
    assert results["overall"] == recorded["overall"]
    assert compared["difference"] == recorded["compare"][0]["difference"]
    assert set(results["strata"]) == {"word_frequency", "pieces_per_word"}
    again = biolm(
        *("evaluate", str(trained / "run/model"), str(trained / "corpus"), "--json"),
        *("--compare", str(trained / "base")),
        cache=trained / "cache",
    )
    assert json.loads(again) == results


def test_a_finished_run_asked_to_resume_says_so_and_changes_nothing(trained: Path):
    before = (trained / "run/model/README.md").read_bytes()
    biolm(
        *(
            "pretrain",
            str(trained / "corpus"),
            "--base",
            str(trained / "base"),
            "--out",
            str(trained / "run"),
        ),
        *(
            "--epochs",
            "2",
            "--examples-per-step",
            "8",
            "--lr-peak",
            "1e-3",
            "--validate-every",
            "5",
            "--resume",
        ),
        cache=trained / "cache",
    )
    assert (trained / "run/model/README.md").read_bytes() == before


def test_tables_for_people_name_models_and_sections(trained: Path):
    output = biolm(
        "evaluate", str(trained / "run/model"), str(trained / "corpus"), "--quiet", cache=trained / "cache"
    )
    for word in ("overall", "abstract", "figure legend", "recall@1", "unigram baseline"):
        assert word in output
