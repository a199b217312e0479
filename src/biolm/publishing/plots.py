"""The figures of a report, by matplotlib, as SVG that stands inside a page."""

import io
import math
from collections.abc import Mapping
from textwrap import shorten
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0b6e99", "#d9730d", "#6940a5", "#0f7b6c", "#9b9a97")
"""The model, those that it is compared with, the unigram baseline last."""

POINTS = 2000
"""Of a loss curve, at most twice as many: each is a part of the page."""


def recall_plot(groups: Mapping[str, Mapping[str, Any]]) -> str:
    """Recall@1 with its interval. `groups`: model → label → group of an evaluation."""
    labels = list(next(iter(groups.values())))
    figure, axes = _figure(height=0.9 + 0.32 * len(labels) * len(groups))
    for place, (name, found) in enumerate(groups.items()):
        at = [i + (place - (len(groups) - 1) / 2) * 0.8 / len(groups) for i in range(len(labels))]
        values = [found.get(label, {}).get("recall_at_1") or _NOTHING for label in labels]
        shown = [value["value"] if value["value"] is not None else math.nan for value in values]
        spread = [
            [abs(s - (v["low"] if v["low"] is not None else s)) for s, v in zip(shown, values, strict=True)],
            [
                abs((v["high"] if v["high"] is not None else s) - s)
                for s, v in zip(shown, values, strict=True)
            ],
        ]
        axes.errorbar(
            shown,
            at,
            xerr=spread,
            fmt="o",
            markersize=4,
            capsize=2,
            linewidth=1,
            color=_colour(place, len(groups)),
            label=_plain(name),
        )
    axes.set_yticks(range(len(labels)), [_plain(label.replace("_", " ")) for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel("recall@1, 95 % interval over documents")
    axes.legend(fontsize=8, frameon=False, loc="best")
    return _svg(figure)


def calibration_plot(curves: Mapping[str, list[dict[str, float]]]) -> str:
    """How often the likeliest token is right, by its probability. `curves`: model → `calibration` of an evaluation."""
    figure, axes = _figure(height=3.4, width=3.8)
    axes.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle="--")
    for place, (name, curve) in enumerate(curves.items()):
        axes.plot(
            [point["probability"] for point in curve],
            [point["recall"] for point in curve],
            marker="o",
            markersize=3,
            linewidth=1.2,
            color=_colour(place, len(curves) + 1),
            label=_plain(name),
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("probability of the likeliest token")
    axes.set_ylabel("share that is right")
    axes.legend(fontsize=8, frameon=False, loc="upper left")
    return _svg(figure)


def loss_plot(runs: Mapping[str, list[dict[str, Any]]]) -> str:
    """Training and validation loss of runs. `runs`: model → lines of its metrics.jsonl."""
    figure, axes = _figure(height=3.0)
    for place, (name, lines) in enumerate(runs.items()):
        for key, style, width in (("train/loss", "-", 0.6), ("validation/loss", "o-", 1.4)):
            points = [(line["step"], line[key]) for line in lines if key in line]
            points = points[:: max(1, len(points) // POINTS)]
            if points:
                steps, losses = zip(*points, strict=True)
                label = _plain(f"{name}, {key.partition('/')[0]}")
                axes.plot(
                    steps,
                    losses,
                    style,
                    markersize=3,
                    linewidth=width,
                    label=label,
                    color=_colour(place, len(runs) + 1),
                    alpha=0.5 if width < 1 else 1,
                )
    axes.set_xlabel("optimizer steps")
    axes.set_ylabel("loss (nats per masked token)")
    if axes.get_lines():
        axes.legend(fontsize=8, frameon=False, loc="upper right")
    return _svg(figure)


_NOTHING = {"value": None, "low": None, "high": None}


def _figure(*, height: float, width: float = 6.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_size(8)
    axes.yaxis.label.set_size(8)
    return figure, axes


def _plain(name: str) -> str:
    """A name short enough for a figure, in which matplotlib finds no formula, and which a legend does not leave out."""
    return shorten(name, 40, placeholder=" …").replace("$", r"\$").lstrip("_") or "–"


def _colour(place: int, count: int) -> str:
    return COLOURS[-1] if place == count - 1 and count > 1 else COLOURS[place % (len(COLOURS) - 1)]


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    # Text stays text, and ids are made from contents: the same figure is the same bytes.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "biolm", "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return out.getvalue()[out.getvalue().index("<svg") :]
