"""A run's loss curve as a picture."""

from pathlib import Path
from typing import Any

from biolm.artifacts import atomic_file


def loss_curve(metrics: list[dict[str, Any]], out: Path) -> None:
    """Write a PNG: training loss of each step with its running mean, validation loss and recall@1.

    `metrics`: the lines of `metrics.jsonl`.
    """
    from matplotlib.figure import Figure

    train = [(line["step"], line["train/loss"]) for line in metrics if "train/loss" in line]
    validation = [
        (line["step"], line["validation/loss"], line["validation/recall_at_1"])
        for line in metrics
        if "validation/loss" in line
    ]
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    if train:
        steps, losses = zip(*train, strict=True)
        left.plot(steps, losses, color="#b8c4d6", linewidth=0.9, label="training, each step")
        left.plot(steps, _running_mean(losses, 0.9), color="#2f5d9b", linewidth=1.8, label="running mean")
    if validation:
        steps, losses, recalls = zip(*validation, strict=True)
        left.plot(steps, losses, color="#c8553d", marker="o", markersize=4, label="validation")
        right.plot(steps, [100 * recall for recall in recalls], color="#c8553d", marker="o", markersize=4)
    left.set_title("loss, nats per masked token", loc="left", fontsize=11)
    left.legend(frameon=False, loc="upper right")
    right.set_title("validation recall@1, %", loc="left", fontsize=11)
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.set_xlabel("optimizer step")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
        axes.set_axisbelow(True)
    with atomic_file(out) as partial:
        figure.savefig(partial, dpi=150, format="png")


def _running_mean(values: tuple[float, ...], keep: float) -> list[float]:
    """Exponential mean, corrected for its start (Kingma and Ba 2015, §3)."""
    means, mean, weight = [], 0.0, 0.0
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        means.append(mean / weight)
    return means
