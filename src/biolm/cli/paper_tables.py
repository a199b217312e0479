"""What `biolm papers` prints for people."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

TOP = 12
"""Values of each kind that are named."""
_NAME_COLUMNS = 40
_BAR_COLUMNS = 30
_NAMED = 5
_COUNTS = {
    "new": "new",
    "changed": "changed",
    "facts": "with newer metadata",
    "withdrawn": "withdrawn",
    "unchanged": "unchanged",
}
"""What a fetch counts, in the order and words in which it is said."""


def printable(words: Any) -> str:
    """Words with nothing in them that moves a terminal's cursor: a store, and so its names, may be anybody's."""
    said = str(words)
    if said.isprintable():
        return said
    return "".join(
        character if character.isprintable() else " " if character.isspace() else "�" for character in said
    )


def counted(count: int, noun: str) -> str:
    """`1 paper`, `2,000 papers`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def print_store(facts: Mapping[str, Any], console: "Console") -> None:
    """The facts of a store as tables."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=True, header_style="bold")
    for column in ("source", "papers", "retracted", "withdrawn", "files", "as of", "last fetched"):
        is_number = column in ("papers", "retracted", "withdrawn", "files")
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for name, of in facts["sources"].items():
        numbers = [f"{of[key]:,}" for key in ("papers", "retracted", "withdrawn", "files")]
        fetched = of["fetched"][1][:10] if of["fetched"] else "never"
        table.add_row(Text(printable(name)), *numbers, Text(printable(of["as_of"] or "unfinished")), fetched)
    _print(console, table)
    _say(
        console,
        f"{_held(facts)}; {_megabytes(facts['disk_bytes'])} on disk, {counted(facts['shards'], 'shard')}",
    )
    if facts["withdrawn_files"]:
        _say(
            console,
            f"withdrawn files in files/: {facts['withdrawn_files']:,}, {_megabytes(facts['withdrawn_files_bytes'])}; "
            "they are not read and may be deleted",
        )
    if facts["is_being_written"]:
        _say(
            console, f"a fetch is writing to it: {_megabytes(facts['waiting_bytes'])} are not in a shard yet"
        )
    elif facts["waiting_bytes"]:
        _say(
            console,
            f"{_megabytes(facts['waiting_bytes'])} of a stopped fetch wait for the next fetch or update",
        )
    asked = [line for name, of in facts["sources"].items() for line in _asked(name, of)]
    _block(console, "what was asked for", asked)
    for name in ("licences", "years", "journals", "types", "notes"):
        if counts := facts[name]:
            title = "withdrawn because" if name == "notes" else name
            _heading(console, title)
            _print(console, _bars(_decades(counts) if name == "years" else counts))
    _block(console, "to be acknowledged", facts["attribution"])


def _held(facts: Mapping[str, Any]) -> str:
    """Papers and files: of either only what there is."""
    said = []
    if facts["papers"] or not facts["files"]:
        articles = (
            f" ({counted(facts['articles'], 'article')})" if facts["articles"] != facts["papers"] else ""
        )
        said.append(f"{counted(facts['papers'], 'paper')}{articles}, {_megabytes(facts['xml_bytes'])} of XML")
    if facts["files"]:
        said.append(f"{counted(facts['files'], 'file')}, {_megabytes(facts['files_bytes'])}")
    return "; ".join(said)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _asked(name: str, of: Mapping[str, Any]) -> Iterable[str]:
    """A line for each selection of a source."""
    address = of["address"]
    place = address.get(name) if isinstance(address, dict) else address
    where = f", at {place}" if place else ""
    if not of["selections"]:
        yield f"{name}: all of {place}"
    for record in of["selections"]:
        settings = record["settings"].items()
        said = ", ".join(f"{key.replace('_', '-')} {_short(value)}" for key, value in settings)
        state = "" if record["complete"] else " (not finished: run the fetch again)"
        yield f"{name}: {said or 'everything'}{where}{state}"


def _short(value: Any) -> str:
    return f"of {len(value):,}" if isinstance(value, list) else str(value)


def _decades(years: Mapping[str, int]) -> dict[str, int]:
    """Counts of decades, the latest first, what has none last."""
    decades: dict[str, int] = {}
    for year, count in sorted(years.items(), key=lambda pair: (pair[0].isdecimal(), pair[0]), reverse=True):
        decade = f"{year[:-1]}0s" if year.isdecimal() else year
        decades[decade] = decades.get(decade, 0) + count
    return decades


def _bars(counts: Mapping[str, int]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(max_width=_NAME_COLUMNS, overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, overflow="crop")
    most = max(counts.values())
    for name, count in list(counts.items())[:TOP]:
        table.add_row(Text(printable(name)), f"{count:,}", "█" * max(1, round(_BAR_COLUMNS * count / most)))
    if len(counts) > TOP:
        table.add_row(f"{len(counts) - TOP:,} more", f"{sum(list(counts.values())[TOP:]):,}", "")
    return table


def print_services(console: "Console") -> None:
    """The services, each with what it has and on what terms."""
    from rich.table import Table
    from rich.text import Text

    from biolm.papers.services import LAYOUT_READ, OWN, SERVICES

    for service in SERVICES.values():
        _heading(console, f"{service.name}: {service.title}")
        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        rows = {
            "holds": service.holds,
            "licence": service.licence,
            "terms": service.terms,
            "address": service.endpoint,
        }
        for name, value in rows.items():
            table.add_row(name, Text(value))
        _print(console, table)
    _heading(console, OWN)
    _say(console, "your own papers and archives, through fsspec; licence and terms are as you have them")
    _say(console, "")
    _say(
        console,
        f"Layouts as described on {LAYOUT_READ}; biolm was tested against a local replica of them. "
        "--endpoint NAME=URL asks another server in the place of a service.",
    )


def _heading(console: "Console", words: str) -> None:
    console.print(f"\n{words}", style="bold", markup=False, highlight=False)


def _block(console: "Console", title: str, lines: Iterable[str]) -> None:
    lines = list(lines)
    if lines:
        _heading(console, title)
        for line in lines:
            _say(console, line)


def outcome_lines(counts: Mapping[str, int], marks: Sequence[tuple[str, str]]) -> Iterator[str]:
    """What a fetch did in all, and which papers it marked: the first few of each kind by name."""
    known = [(words, counts.get(name, 0)) for name, words in _COUNTS.items()]
    more = sorted((name, count) for name, count in counts.items() if name not in _COUNTS)
    said = [f"{count:,} {words}" for words, count in [*known, *more] if count]
    yield f"in all: {', '.join(said) or 'nothing to do'}"
    kinds: dict[str, list[str]] = {}
    for name, mark in marks:
        kinds.setdefault("retracted since" if mark == "retracted" else mark, []).append(name)
    for kind, names in kinds.items():
        rest = ", …" if len(names) > _NAMED else ""
        yield printable(f"{kind}: {len(names):,} ({', '.join(names[:_NAMED])}{rest})")


def _say(console: "Console", words: str) -> None:
    """Words that may hold anything: what looks like rich's markup is not."""
    from rich.text import Text

    _print(console, Text(printable(words)))


def _print(console: "Console", renderable: Any) -> None:
    """A table or words; in a pipe without the spaces that fill a line."""
    if console.is_terminal:
        console.print(renderable)
        return
    with console.capture() as captured:
        console.print(renderable)
    for line in captured.get().splitlines():
        console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)
