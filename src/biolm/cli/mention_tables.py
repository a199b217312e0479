"""Scores of mentions for people."""

from collections.abc import Iterable
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from biolm.cli.tables import wide_console
from biolm.mentions import Document, Mention
from biolm.tagging.intervals import Difference
from biolm.tagging.matching import Match
from biolm.tagging.report import Report
from biolm.tagging.schemes import Scheme
from biolm.tagging.scores import HasQuotients, finite

_METRIC_NAMES = {"precision": "precision", "recall": "recall", "f1": "F1", "macro_f1": "macro F1"}
_SCHEMES: dict[str, Scheme] = {"half for an overlap": "partial", "overlap and type, one to one": "type"}


def report_tables(report: Report, title: str) -> None:
    """Print scores from the strictest reading to the most lenient, then by type, then what became of the mentions."""
    strict, micro = report.strict, report.strict.micro
    table = _table(title, "reading")
    intervals = [_with_interval(report.intervals[name].as_dict()) for name in ("precision", "recall", "f1")]
    table.add_row(
        "same span and type", *intervals, *map(_count, (micro.gold, micro.predicted, micro.correct))
    )
    macro = _with_interval(report.intervals["macro_f1"].as_dict())
    table.add_row(f"  mean of {len(strict.types):,} types", "", "", macro)
    span = report.span
    table.add_row("same span", *_shares(span), *map(_count, (span.gold, span.predicted, span.correct)))
    for name, scheme in _SCHEMES.items():
        counts = report.schemes[scheme]
        table.add_row(name, *_shares(counts), *map(_count, (counts.gold, counts.predicted, counts.correct)))
    relaxed = report.relaxed
    found = f"{relaxed.found:,} of gold, {relaxed.right:,} of predicted"
    table.add_row(
        "any overlap and type", *_shares(relaxed), _count(relaxed.gold), _count(relaxed.predicted), found
    )
    wide_console().print(table)

    by_type = _table("by type, same span", "type")
    for type_, each in strict.types.items():
        by_type.add_row(Text(type_), *_shares(each), *map(_count, (each.gold, each.predicted, each.correct)))
    wide_console().print(by_type)

    click.echo("mentions: " + ", ".join(f"{count:,} {kind}" for kind, count in report.kinds.items()))
    if report.seen:
        for name, found_of in (("shown in", report.seen.seen), ("new to", report.seen.unseen)):
            click.echo(f"recall on names {name} training: {_share(found_of.recall)} of {found_of.gold:,}")
    if strict.repeated_gold or strict.repeated_predicted:
        click.echo(
            f"counted once: {strict.repeated_gold:,} gold and {strict.repeated_predicted:,} predicted mentions that "
            "stood twice"
        )


def difference_line(name: str, differences: dict[str, Difference]) -> str:
    """How a prediction differs from the other one, in one line."""
    parts = [
        f"{_METRIC_NAMES[metric]} {each.value:+.4f} [{each.low:+.4f}, {each.high:+.4f}], p {each.p:.3f}"
        for metric, each in differences.items()
        if finite(each.p) is not None
    ]
    return f"difference to {name}, paired by document: " + ("; ".join(parts) or "none can be told")


def error_lines(errors: Iterable[tuple[Document, Match]]) -> list[str]:
    """A line for each mention that is not right."""
    lines = []
    for document, match in errors:
        sides = [
            f"{side} {_quoted(document, mention)}"
            for side, mention in (("gold", match.gold), ("predicted", match.predicted))
            if mention
        ]
        lines.append(f"{document.id}  {match.kind}: " + ", ".join(sides))
    return lines


def error_json(document: Document, match: Match) -> dict[str, Any]:
    """The same for machines: `document`, `kind`, `gold` and `predicted`, of which one may be null."""

    def facts(mention: Mention | None) -> dict[str, Any] | None:
        if mention is None:
            return None
        surface = document.surface(mention)
        return {"start": mention.start, "end": mention.end, "type": mention.type, "text": surface}

    return {
        "document": document.id,
        "kind": match.kind,
        "gold": facts(match.gold),
        "predicted": facts(match.predicted),
    }


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column(first, overflow="fold")
    for heading in ("precision", "recall", "F1", "gold", "predicted", "correct"):
        table.add_column(heading, justify="right")
    return table


def _share(value: float) -> str:
    return "–" if finite(value) is None else f"{value:.3f}"


def _shares(counts: HasQuotients) -> list[str]:
    return [_share(counts.precision), _share(counts.recall), _share(counts.f1)]


def _with_interval(value: dict[str, float | None]) -> str:
    if value["value"] is None:
        return "–"
    interval = "" if value["low"] is None else f" [{value['low']:.3f}–{value['high']:.3f}]"
    return f"{value['value']:.3f}{interval}"


def _count(count: int) -> str:
    return f"{count:,}"


def _quoted(document: Document, mention: Mention) -> str:
    surface = "".join(letter if letter.isprintable() else " " for letter in document.surface(mention))
    return f"{mention.type} “{surface}” {mention.start}–{mention.end}"
