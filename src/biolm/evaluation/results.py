"""The JSON of an evaluation: no time in it, and no name but those given, so the same work gives the same object."""

import math
from collections.abc import Mapping
from typing import Any

from biolm.batches.bootstrap import BOOTSTRAP_SEED, REPLICATES
from biolm.batches.masking import EVALUATION_MASKING
from biolm.batches.steps import EVALUATION_SEED
from biolm.evaluation.masked import Measured
from biolm.evaluation.tally import Group, differences


def results_json(
    measured: dict[str, Measured], *, split: str, names: Mapping[str, str | None]
) -> dict[str, Any]:
    """One object for `measured["model"]`: its `overall`, `sections` and `strata`, the `unigram` baseline in the same
    form, and for the other models of `measured` a list `compare`, each with its paired `difference` (model − it).

    `names`: what the models are called. docs/formats.md lists the keys.
    """
    model, masking = measured["model"], EVALUATION_MASKING
    groups = model.as_json()
    results: dict[str, Any] = {
        "model": names["model"],
        "split": split,
        "masking": {
            "rate": masking.mask_rate,
            "mask": masking.mask_token_share,
            "random": masking.random_token_share,
            "unchanged": round(1 - masking.mask_token_share - masking.random_token_share, 9),
            "seed": EVALUATION_SEED,
        },
        "bootstrap": {
            "kind": "poisson",
            "unit": "document",
            "replicates": REPLICATES,
            "seed": BOOTSTRAP_SEED,
        },
        "masked_tokens": groups["overall"]["masked_tokens"],
        "documents": groups["overall"]["documents"],
        **groups,
        "unigram": measured["unigram"].as_json(),
    }
    others = [key for key in measured if key not in ("model", "unigram")]
    if others:
        results["compare"] = [
            {"model": names[key], **measured[key].as_json(), "difference": _difference(model, measured[key])}
            for key in others
        ]
    finished: dict[str, Any] = finite_json(results)
    return finished


def _difference(model: Measured, other: Measured) -> dict[str, Any]:
    def of(ours: Group, theirs: Group) -> dict[str, Any]:
        return differences(ours.sums, theirs.sums, ours.documents)

    return {
        "overall": of(model.overall, other.overall),
        "sections": {name: of(group, other.sections[name]) for name, group in model.sections.items()},
    }


def finite_json(value: Any) -> Any:
    """The same JSON value with NaN and infinity as None: strict JSON has neither."""
    if isinstance(value, dict):
        return {key: finite_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
