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


def describe_run(
    run: Path, base: str, store: TokenStore, split: str | None, progress: Progress
) -> dict[str, Any] | None:
    """Measure `run/model` against its base on `split`, and write its card from the manifests.

    Returns the results (also in `run/evaluation.json`; measured once), or None where `split` is None or the
    corpus has no such split. A base without a language-model head is measured with the new one that training
    started from.
    """
    model = run / "model"
    results = None
    if split is None and (model / CARD).is_file():
        return None  # a card written with results stays
    if split is not None and split in store.splits:
        identity = sha256_json(
            {"model": read_model_manifest(model)["files"], "tokens": store.fingerprint, "split": split}
        )
        path = run / "evaluation.json"
        results = _measured_before(path, identity)
        if results is None:
            device = choose_device(read_model_manifest(model)["config"]["device"])
            start = load_model(resolve_folder(base, weights=True), unigram_counts=store.unigram_counts())
            models = {"model": load_model(model).to(device), "compare": start.to(device)}
            measured = evaluate(models, store, split, progress)
            names = {"model": "trained", "compare": "base"}
            results = {"identity": identity, **results_json(measured, split=split, names=names)}
            write_json(path, results)
    write_model_card(model, results)
    return results


def _measured_before(path: Path, identity: str) -> dict[str, Any] | None:
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return results if isinstance(results, dict) and results.get("identity") == identity else None
