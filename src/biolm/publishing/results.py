"""A finished run measured and described: `evaluation.json`, and the card of its model."""

import json
from pathlib import Path
from typing import Any

from biolm.artifacts import CARD, sha256_json, write_json
from biolm.evaluation.masked import evaluate
from biolm.evaluation.results import results_json
from biolm.hub import resolve_folder
from biolm.model.device import choose_device
from biolm.model.folder import read_model_manifest
from biolm.model.loading import load_model
from biolm.progress import Progress
from biolm.publishing.card import write_model_card
from biolm.tokens.store import TokenStore
from biolm.tokens.tokenizer import load_tokenizer
from biolm.tokens.words import word_table_or_none

VERSION = 3
"""Of `evaluation.json`; measured anew where it was written by another."""


def describe_run(
    run: Path, base: str, store: TokenStore, split: str | None, progress: Progress
) -> dict[str, Any] | None:
    """Measure `run/model` against its base on `split`, and write its card from the manifests.

    Returns the results (also in `run/evaluation.json`; measured once), or None where `split` is None or the
    corpus has no such split. A base without a language-model head is measured with the new one that training
    started from. With them come the four `figures` with which EMBO/bio-lm's card describes its training, for
    which the model alone is measured on the validation split.
    """
    model = run / "model"
    results = None
    if split is None and (model / CARD).is_file():
        return None  # a card written with results stays
    if split is not None and split in store.splits:
        identity = sha256_json(
            {
                "version": VERSION,
                "model": read_model_manifest(model)["files"],
                "tokens": store.fingerprint,
                "split": split,
            }
        )
        path = run / "evaluation.json"
        results = _measured_before(path, identity)
        if results is None:
            device = choose_device(read_model_manifest(model)["config"]["device"])
            start = load_model(resolve_folder(base, weights=True), unigram_counts=store.unigram_counts())
            models = {"model": load_model(model).to(device), "compare": start.to(device)}
            words = word_table_or_none(load_tokenizer(str(model)))
            measured = evaluate(models, store, split, progress, words=words)
            names = {"model": "trained", "compare": "base"}
            results = {"identity": identity, **results_json(measured, split=split, names=names)}
            validation = results if split == "validation" else None
            if split != "validation" and "validation" in store.splits:
                alone = evaluate({"model": models["model"]}, store, "validation", progress, words=words)
                validation = results_json(alone, split="validation", names=names)
            results["figures"] = _figures(read_model_manifest(model), results, validation)
            write_json(path, results)
    write_model_card(model, results)
    return results


def _figures(
    manifest: dict[str, Any], results: dict[str, Any], validation: dict[str, Any] | None
) -> dict[str, float | None]:
    """The model card's four; None for what was not measured."""

    def value(measured: dict[str, Any] | None, metric: str) -> float | None:
        found: float | None = measured["overall"][metric]["value"] if measured else None
        return found

    return {
        "train_loss": manifest["trained"].get("loss"),
        "eval_loss": value(validation, "loss"),
        "eval_recall": value(validation, "recall_at_1"),
        "test_recall": value(results if results["split"] == "test" else None, "recall_at_1"),
    }


def _measured_before(path: Path, identity: str) -> dict[str, Any] | None:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return results if isinstance(results, dict) and results.get("identity") == identity else None
