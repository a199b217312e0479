"""Tables for people."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

METRICS = (
    ("loss", "loss", "{:.3f}"),
    ("perplexity", "perplexity", "{:.1f}"),
    ("recall_at_1", "recall@1", "{:.3f}"),
    ("recall_at_5", "recall@5", "{:.3f}"),
)


def results_table(results: dict[str, dict[str, Any]], *, title: str, strata: Sequence[str] = ()) -> None:
    """Print evaluations (name → object with `overall` and `sections`) side by side, with 95 % intervals.

    `strata`: names of those in `strata` to print too.
    """
    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("text", no_wrap=True)
    table.add_column("model", overflow="fold")
    for _, heading, _ in METRICS:
        table.add_column(heading, justify="right")
    table.add_column("masked tokens", justify="right")
    table.add_column("documents", justify="right")
    first = next(iter(results.values()))

    def add(label: str, groups: list[tuple[str, dict[str, Any] | None]]) -> None:
        for place, (name, values) in enumerate(groups):
            if values is None:
                continue
            cells = [_cell(values[key], form) for key, _, form in METRICS]
            table.add_row(
                Text(label.replace("_", " ")) if place == 0 else "",
                Text(name),
                *cells,
                f"{values['masked_tokens']:,}" if place == 0 else "",
                f"{values['documents']:,}" if place == 0 else "",
            )
        table.add_section()

    add("overall", [(name, result["overall"]) for name, result in results.items()])
    for section in first["sections"]:
        add(section, [(name, result["sections"].get(section)) for name, result in results.items()])
    for stratum in strata:
        for label in first["strata"][stratum]:
            groups = [(name, result["strata"][stratum].get(label)) for name, result in results.items()]
            add(f"{stratum}: {label}", groups)
    wide_console().print(table)


def hidden_words_table(hidden: dict[str, Any]) -> None:
    """Print what models of different tokenizers made of the same words."""
    title = (
        f"{hidden['words']:,} hidden words of {hidden['characters']:,} characters, {hidden['documents']:,} documents, "
        "the same for all tokenizers"
    )
    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("model", overflow="fold")
    for heading in ("bits per character", "whole words", "tokens", "first − it, bits", "p"):
        table.add_column(heading, justify="right")
    for model in hidden["models"]:
        cells = ["", ""]
        if "difference" in model:
            difference = model["difference"]["bits_per_character"]
            p = difference["p"]
            cells = [_cell(difference, "{:+.3f}"), "–" if p is None else f"{p:.3f}"]
        table.add_row(
            Text(model["model"]),
            _cell(model["bits_per_character"], "{:.3f}"),
            _cell(model["whole_word_recall"], "{:.3f}"),
            f"{model['tokens']:,}",
            *cells,
        )
    wide_console().print(table)


def leakage_lines(leakage: dict[str, Any], split: str) -> list[str]:
    """What `biolm evaluate --leakage` found, a line for each place that was looked at."""

    def line(what: str, where: str, found: dict[str, Any]) -> str:
        return (
            f"{what}: of {found['passages']:,} passages {found['exact']:,} occur in the {where} split word for word, "
            f"{found['near']:,} by half of their runs of 13 words, {found['touched']:,} by one run"
        )

    lines = []
    if leakage["training"] is not None:
        lines.append(line(f"{split} split", "train", leakage["training"]))
    for name, found in leakage["benchmarks"].items():
        lines += [line(name, where, overlap) for where, overlap in found.items()]
    for name, papers in leakage["papers"].items():
        there = ", ".join(f"{papers[where]:,} in the {where} split" for where in papers if where != "named")
        lines.append(f"{name}: of {papers['named']:,} papers {there}")
    return lines


def wide_console(columns: int = 160) -> Console:
    """A console as wide as the terminal; so many columns in a pipe, where a cut table would lose its figures."""
    console = Console()
    return console if console.is_terminal else Console(width=columns)


def _cell(value: dict[str, float | None], form: str) -> str:
    if value["value"] is None or value["low"] is None or value["high"] is None:
        return "–"
    return f"{form.format(value['value'])} [{form.format(value['low'])}–{form.format(value['high'])}]"
