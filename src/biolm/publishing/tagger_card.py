"""The card of a tagger: every fact in it is read from its manifest, its settings or its scores."""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

import biolm
from biolm.artifacts import write_text
from biolm.model.folder import read_model_manifest
from biolm.model.token_classifier import CRF_FILE
from biolm.publishing.card import hub_name
from biolm.publishing.templates import environment
from biolm.tagging.settings import read_settings
from biolm.tagging.tasks import task_of


def write_tagger_card(model: Path, report: dict[str, Any] | None, *, dev_f1: float | None = None) -> None:
    """Write `README.md` into a tagger's folder. `report`: `biolm.tagging.report.Report.as_dict()` on test documents."""
    manifest = read_model_manifest(model)
    facts = manifest["facts"]
    task = task_of(manifest["data"]["task"])
    types = list(dict.fromkeys(label[2:] for label in manifest["data"]["labels"] if label != "O"))
    name = (
        f"{manifest['base']['name'].split('/')[-1]}-{'tagger' if task.name == 'any' else task.name.lower()}"
    )
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="token-classification",
        base_model=hub_name(manifest["base"]["name"]),
        tags=["biolm", "token-classification"],
        model_name=name,
        eval_results=_metadata(report, facts) if report else None,
    )
    body = (
        environment()
        .get_template("tagger_card.md.jinja")
        .render(
            biolm_version=biolm.__version__,
            name=name,
            task=task,
            types=", ".join(types),
            base=manifest["base"],
            config=manifest["config"],
            trained=manifest["trained"],
            fingerprint=manifest["data"]["documents"],
            data_facts={
                "train": facts.get("train_documents", 0),
                "examples": facts.get("train_examples", 0),
            },
            settings=read_settings(model),
            crf=(model / CRF_FILE).is_file(),
            report=report,
            dev_f1=dev_f1,
        )
    )
    card = ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}", ignore_metadata_errors=False)
    write_text(model / "README.md", str(card))


def _metadata(report: dict[str, Any], facts: dict[str, Any]) -> list[EvalResult]:
    name = facts.get("test") or "test documents"
    return [
        EvalResult(
            task_type="token-classification",
            task_name="Token classification",
            dataset_type=name,
            dataset_name=name,
            metric_type=key,
            metric_name=f"{title}, exact spans and types",
            metric_value=round(report["strict"]["micro"][key] or 0.0, 4),
        )
        for key, title in {"f1": "F1", "precision": "precision", "recall": "recall"}.items()
    ]
