"""What `biolm papers` prints for people."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

TOP = 12
"""Values of each kind that are named."""


def print_store(facts: Mapping[str, Any], console: "Console") -> None:
    """The facts of a store as tables."""
    from rich.table import Table

    table = Table(show_header=True, header_style="bold")
    for column in ("source", "papers", "retracted", "withdrawn", "files", "as of", "last fetched"):
        table.add_column(
            column, justify="right" if column in ("papers", "retracted", "withdrawn", "files") else "left"
        )
    for name, of in facts["sources"].items():
        numbers = [f"{of[key]:,}" for key in ("papers", "retracted", "withdrawn", "files")]
        fetched = of["fetched"][1][:10] if of["fetched"] else "never"
        table.add_row(name, *numbers, of["as_of"] or "unfinished", fetched)
    console.print(table)
    console.print(
        f"{facts['papers']:,} papers, {facts['xml_bytes'] / 1e6:,.1f} MB of XML; "
        f"{facts['disk_bytes'] / 1e6:,.1f} MB on disk in {facts['shards']:,} shards"
    )
    for name, of in facts["sources"].items():
        for record in of["selections"]:
            asked = (
                ", ".join(f"{key} {_short(value)}" for key, value in record["settings"].items())
                or "everything"
            )
            state = "" if record["complete"] else " (not finished: run the fetch again)"
            console.print(f"{name}: {asked}{state}", highlight=False)
    if facts["waiting_bytes"]:
        console.print(f"{facts['waiting_bytes'] / 1e6:,.1f} MB of a stopped fetch wait for the next one")
    for name in ("licences", "years", "journals", "types", "notes"):
        if counts := facts[name]:
            console.print(_bars("withdrawn because" if name == "notes" else name, counts))
    for words in facts["attribution"]:
        console.print(words, highlight=False)


def _short(value: Any) -> str:
    return f"of {len(value):,}" if isinstance(value, list) else str(value)


def _bars(title: str, counts: Mapping[str, int]) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False, box=None)
    if title == "years":
        decades: dict[str, int] = {}
        for year, count in counts.items():
            decade = f"{year[:-1]}0s" if year.isdecimal() else year
            decades[decade] = decades.get(decade, 0) + count
        counts = decades
    most = max(counts.values())
    shown = list(counts.items())[:TOP]
    for name, count in shown:
        table.add_row(name, f"{count:,}", "█" * max(1, round(30 * count / most)))
    if len(counts) > len(shown):
        table.add_row(f"{len(counts) - len(shown):,} more", f"{sum(list(counts.values())[TOP:]):,}", "")
    return table


def print_services(console: "Console") -> None:
    """The services as a table."""
    from rich.table import Table

    from biolm.papers.services import LAYOUT_READ, OWN, SERVICES

    table = Table(show_header=True, header_style="bold", show_lines=True)
    for column in ("--source", "what it has", "licence", "terms"):
        table.add_column(column)
    for service in SERVICES.values():
        what = f"{service.title}: {service.holds}\n{service.endpoint}"
        table.add_row(service.name, what, service.licence, service.terms)
    table.add_row(OWN, "your own papers and archives, through fsspec", "as you have them", "as you have them")
    console.print(table)
    console.print(
        f"Layouts as described on {LAYOUT_READ}; biolm was tested against a local replica of them.",
        highlight=False,
    )
