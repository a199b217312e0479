"""The report of an evaluation: `report.json` for machines, `report.md` for a repository, `report.html` for eyes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

import biolm
from biolm.artifacts import write_json, write_text
from biolm.errors import InputError
from biolm.publishing.examples import ExamplePassage
from biolm.publishing.plots import calibration_plot, loss_plot, recall_plot
from biolm.publishing.templates import environment

TITLES = {
    "loss": "loss",
    "perplexity": "perplexity",
    "recall_at_1": "recall@1",
    "recall_at_5": "recall@5",
    "recall_at_10": "recall@10",
    "mean_reciprocal_rank": "mean reciprocal rank",
    "strict_recall_at_1": "recall@1, shown as mask",
    "whole_word_recall": "whole words",
    "bits_per_character": "bits per character",
    "calibration_error": "calibration error",
}
"""Metric → its heading; docs/formats.md says what each is."""
STRATA = {
    "section": "By section",
    "word_frequency": "By how often the word occurs in the training split",
    "pieces_per_word": "By the number of tokens that the word is cut into",
    "part_of_speech": "By part of speech",
    "seen_in_training": "By whether the paper was seen in training",
}


def check_report_folder(out: Path) -> None:
    """Make the folder of a report, before hours are spent on what goes into it. Raises InputError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{out} cannot be made a folder for the report: {error.strerror}; choose another --out"
        ) from None


def write_report(
    out: Path,
    results: dict[str, Any],
    examples: Sequence[ExamplePassage] = (),
    runs: Mapping[str, list[dict[str, Any]]] | None = None,
) -> None:
    """Write the three files into the folder `out`, which is made where it is not there.

    `results`: of `biolm evaluate --json`. `runs`: model → lines of the metrics.jsonl of its run. The same
    arguments give the same bytes.
    """
    models = {results["model"]: results, **{other["model"]: other for other in results.get("compare", [])}}
    models["unigram baseline"] = results["unigram"]
    strata = {"section": results["sections"], **results["strata"]}
    context = {
        "biolm_version": biolm.__version__,
        "results": results,
        "models": models,
        "titles": TITLES,
        "strata": {name: {"title": _title(name), "labels": list(groups)} for name, groups in strata.items()},
        "group_of": _group_of,
        "examples": examples,
    }
    check_report_folder(out)
    write_json(out / "report.json", results)
    write_text(out / "report.md", environment().get_template("report.md.jinja").render(**context))
    plots = {}
    for name, groups in strata.items():
        shown = {
            model: {label: _group_of(result, name, label) for label in groups}
            for model, result in models.items()
        }
        plots[name] = Markup(recall_plot(shown))  # noqa: S704  our own drawing, whose texts matplotlib escapes
    curves = {model: result["overall"]["calibration"] for model, result in models.items()}
    del curves["unigram baseline"]
    plots["calibration"] = Markup(calibration_plot(curves))  # noqa: S704
    if runs:
        plots["loss"] = Markup(loss_plot(runs))  # noqa: S704
    page = environment().get_template("report.html.jinja").render(**context, plots=plots)
    write_text(out / "report.html", page)


def _title(stratum: str) -> str:
    return STRATA.get(stratum, f"By {stratum.replace('_', ' ')}")


def _group_of(result: dict[str, Any], stratum: str, label: str) -> dict[str, Any]:
    groups = result["sections"] if stratum == "section" else result["strata"].get(stratum, {})
    found: dict[str, Any] = groups.get(label, {})
    return found
