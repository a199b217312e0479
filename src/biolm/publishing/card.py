"""The model card: every fact in it is read from a manifest or a result, none is typed."""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

import biolm
from biolm.artifacts import write_text
from biolm.corpus.card import hub_languages
from biolm.model.folder import read_model_manifest
from biolm.publishing.templates import environment

METRICS = {"loss": "loss", "perplexity": "perplexity", "recall_at_1": "recall@1", "recall_at_5": "recall@5"}


def write_model_card(model: Path, results: dict[str, Any] | None) -> None:
    """Write `README.md` into a model folder of ours. `results`: an evaluation (docs/formats.md), or None."""
    manifest = read_model_manifest(model)
    # Data that biolm did not build say nothing of licences and languages, and neither does the card.
    foreign = "kind" in manifest["data"]
    data = ModelCardData(
        language=None if foreign else hub_languages(manifest["data"]["languages"]),
        library_name="transformers",
        pipeline_tag="fill-mask",
        base_model=hub_name(manifest["base"]["name"]),
        tags=["biolm", "masked-language-modelling", *([] if foreign else ["life-sciences"])],
        model_name=_name(manifest),
        eval_results=_metadata(results, manifest["data"]) if results else None,
    )
    body = (
        environment()
        .get_template("model_card.md.jinja")
        .render(
            biolm_version=biolm.__version__,
            name=_name(manifest),
            metrics=METRICS,
            results=results,
            model=manifest,
            base=manifest["base"],
            config=manifest["config"],
            recipe=manifest.get("recipe"),
            trained=manifest["trained"],
            data=manifest["data"],
            foreign=foreign,
            documents="documents" if foreign else "papers",
            dropped=", ".join(
                f"{why} {n:,}" for why, n in manifest["data"]["counts"]["dropped"].items() if n
            ),
            licences=", ".join(f"{name} {n:,}" for name, n in manifest["data"].get("licences", {}).items()),
            mask="[MASK]" if _is_bert(model) else "<mask>",
        )
    )
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}", ignore_metadata_errors=False)
    write_text(model / "README.md", str(card))


def _metadata(results: dict[str, Any], data: dict[str, Any]) -> list[EvalResult]:
    name = data.get("name", "biolm corpus")
    return [
        EvalResult(
            task_type="fill-mask",
            task_name="Masked language modelling",
            dataset_type=name.removeprefix("hf://datasets/") if "kind" in data else "biolm-corpus",
            dataset_name=f"{name}, {results['split']} split",
            dataset_split=results["split"],
            metric_type=key,
            metric_name=title,
            metric_value=round(results["overall"][key]["value"], 4),
        )
        for key, title in METRICS.items()
    ]


def _name(manifest: dict[str, Any]) -> str:
    return f"{manifest['base']['name'].split('/')[-1]}-biolm"


def hub_name(base: str) -> str | None:
    """A base model's name for the metadata, where it can be one on the Hub (a folder's name cannot)."""
    return base if "/" in base or base == "roberta-base" else None


def _is_bert(model: Path) -> bool:
    from biolm.hub import read_config

    return bool(read_config(model)["model_type"] == "bert")
