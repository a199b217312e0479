"""What a corpus holds, for a person or a machine."""

import random
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from biolm.corpus.card import by_decade
from biolm.corpus.places import spelled
from biolm.corpus.reader import Corpus

if TYPE_CHECKING:
    from rich.console import Console

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SECTIONS = {"abstract": "abstracts", "figure_legend": "legends", "supplementary_legend": "supplements"}
"""Headings of the sections; the last is there in corpora with legends of supplements."""
TOP = 10
"""How many journals and languages are listed."""
LENGTHS = (0, 100, 200, 400, 600, 800, 1000, 1250, 1500, 2000, 3000, 5000)
"""Where the classes of the length histogram begin, in characters."""


def corpus_facts(corpus: Corpus, *, examples: int = 3, seed: int = 0) -> dict[str, Any]:
    """Everything that `biolm corpus show` says, as JSON values.

    Reads the whole corpus once, in batches: counts from the manifest, and journals, years, lengths in
    characters and `examples` random passages from the Parquet files, half of them legends where there are any.
    """
    manifest = corpus.manifest
    journals: Counter[str] = Counter()
    years: Counter[int] = Counter()
    lengths: dict[str, np.ndarray] = {}
    wanted, seen = _example_places(manifest, examples, seed), Counter[str]()
    shown: list[dict[str, Any]] = []
    for split in corpus.splits:
        columns = ("text", "section", "label", "document", "journal", "year")
        for batch in corpus.iter_batches(split, columns):
            journals.update(name for name in batch["journal"].to_pylist() if name)
            years.update(year for year in batch["year"].to_pylist() if year is not None)
            characters = pc.utf8_length(batch["text"]).to_numpy()
            sections = batch["section"].to_numpy(zero_copy_only=False)
            for section in np.unique(sections):
                rows = np.flatnonzero(sections == section)
                lengths[section] = _add(lengths.get(section), np.bincount(characters[rows]))
                for place in wanted.get(section, ()):
                    if 0 <= place - seen[section] < len(rows):
                        row = batch.slice(int(rows[place - seen[section]]), 1).to_pylist()[0]
                        shown.append({"split": split} | row)
                seen[section] += len(rows)
    return {
        "folder": spelled(corpus.folder),
        "fingerprint": corpus.fingerprint,
        **{name: manifest[name] for name in ("counts", "splits", "empty_splits", "licences", "languages")},
        "journals": {
            "different": len(journals),
            "top": dict(sorted(journals.items(), key=lambda item: (-item[1], item[0]))[:TOP]),
        },
        "years": {str(year): years[year] for year in sorted(years)},
        "characters": {section: _quantiles(lengths[section]) for section in sorted(lengths)},
        "histogram": {section: _histogram(lengths[section]) for section in sorted(lengths)},
        "examples": shown,
        "command": manifest["command"],
    }


def print_facts(facts: dict[str, Any], console: "Console") -> None:
    """Print the facts as tables: ruled on a terminal, plain columns elsewhere."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    def table(title: str, *headings: str) -> Table:
        console.print(Text(title, style="bold"))
        ruled = box.SIMPLE_HEAD if console.is_terminal else None
        made = Table(box=ruled, show_edge=False, pad_edge=False, header_style="dim")
        for index, heading in enumerate(headings):
            made.add_column(heading, justify="right" if index else "left", overflow="fold")
        return made

    def show(made: Table) -> None:
        console.print(made)
        console.print()

    counts = facts["counts"]
    present = {name for of in facts["splits"].values() for name in of["sections"]}
    headings = {name: heading for name, heading in SECTIONS.items() if name in present}
    splits = table("Passages", "split", "papers", "passages", *headings.values(), "characters")
    for split, of in facts["splits"].items():
        sections = (of["sections"].get(name, {"passages": 0})["passages"] for name in headings)
        splits.add_row(split, *_numbers(of["documents"], of["passages"], *sections, of["characters"]))
    for split in facts["empty_splits"]:
        splits.add_row(f"{split} (empty)", *_numbers(*[0] * (3 + len(headings))))
    show(splits)

    sums = table("From articles to passages", "step", "count")
    sums.add_row("articles read", *_numbers(counts["articles_read"]))
    sums.add_row("unreadable", *_numbers(counts["articles_failed"]))
    if counts.get("articles_without_text"):
        sums.add_row("without abstract and legend", *_numbers(counts["articles_without_text"]))
    sums.add_row("passages found", *_numbers(counts["passages_found"]))
    for reason, count in counts["dropped"].items():
        if count:
            sums.add_row(f"  dropped: {reason}", *_numbers(count))
    sums.add_row("passages kept", *_numbers(counts["passages_kept"]))
    show(sums)

    lengths = table("Characters of a passage", "section", *(f"{100 * q:g} %" for q in QUANTILES))
    for section, quantiles in facts["characters"].items():
        lengths.add_row(section, *_numbers(*quantiles.values()))
    show(lengths)

    most = max((count for of in facts["histogram"].values() for count in of.values()), default=0)
    histogram = table("Passages by length", "characters", *facts["histogram"], "")
    for name in next(iter(facts["histogram"].values()), {}):
        counts_of = [of[name] for of in facts["histogram"].values()]
        bar = "█" * round(30 * sum(counts_of) / max(most, 1) / 2)
        histogram.add_row(name, *_numbers(*counts_of), Text(bar, style="blue"))
    histogram.columns[-1].justify = "left"
    show(histogram)

    for title, found in (
        ("Licences", facts["licences"]),
        (f"Languages{_top_of(len(facts['languages']))}", dict([*facts["languages"].items()][:TOP])),
        (f"Journals{_top_of(facts['journals']['different'])}", facts["journals"]["top"]),
        ("Years", by_decade(facts["years"])),
    ):
        if not found:
            continue
        listed = table(title, "", "passages")
        for name, count in found.items():
            listed.add_row(Text(name), *_numbers(count))
        show(listed)

    for example in facts["examples"]:
        where = " ".join(filter(None, (example["section"], example["label"], example["document"])))
        console.print(Text(f"{where} ({example['split']})", style="bold"))
        text = example["text"] if len(example["text"]) <= 400 else example["text"][:400].rstrip() + " …"
        console.print(Text(text))
        console.print()


def print_explanation(paper: str, rows: list[dict[str, Any]], console: "Console") -> None:
    """Print what happened to each passage of one paper."""
    from rich.text import Text

    console.print(Text(f"{paper}: {rows[0]['document']}", style="bold"))
    for row in rows:
        what = " ".join(filter(None, (row["section"] or "record", row["label"])))
        instead = f"; kept instead: that of {row['instead']}" if row.get("instead") else ""
        where = f" ({row['split']})" if row["split"] else f": {row['meaning']}{instead}"
        console.print(Text(f"  {what:<28} {row['outcome']}{where}"))
        text = row.get("text", "")
        shown = f'"{text[:90]}{" …" if len(text) > 90 else ""}" ' if text else ""
        console.print(Text(f"    {shown}from {row['source']}", style="dim"))


def _example_places(manifest: dict[str, Any], examples: int, seed: int) -> dict[str, list[int]]:
    """Which passages of each section to show, by chance."""
    totals = Counter[str]()
    for split in manifest["splits"].values():
        totals.update({name: section["passages"] for name, section in split["sections"].items()})
    chance = random.Random(seed)  # noqa: S311  nothing secret
    wanted = dict.fromkeys(SECTIONS, 0)
    wanted["figure_legend"] = min(examples // 2, totals["figure_legend"])
    for name in SECTIONS:  # what one section lacks, the next gives
        wanted[name] += min(examples - sum(wanted.values()), totals[name] - wanted[name])
    return {name: sorted(chance.sample(range(totals[name]), count)) for name, count in wanted.items()}


def _histogram(lengths: np.ndarray) -> dict[str, int]:
    """Passages by length class: "0–99", ..., "5000 and more"."""
    edges = [*LENGTHS, max(len(lengths), LENGTHS[-1] + 1)]
    names = [f"{low:,}–{high - 1:,}" for low, high in pairwise(edges[:-1])] + [f"{LENGTHS[-1]:,} and more"]
    return {
        name: int(lengths[low:high].sum()) for name, (low, high) in zip(names, pairwise(edges), strict=True)
    }


def _add(total: np.ndarray | None, more: np.ndarray) -> np.ndarray:
    if total is None:
        return more
    longer, shorter = (total, more) if len(total) >= len(more) else (more, total)
    longer[: len(shorter)] += shorter
    return longer


def _quantiles(histogram: np.ndarray) -> dict[str, int]:
    below = np.cumsum(histogram)
    return {f"{q:g}": int(np.searchsorted(below, q * below[-1])) for q in QUANTILES}


def _top_of(different: int) -> str:
    return f" (top {TOP} of {different:,})" if different > TOP else ""


def _numbers(*values: int) -> list[str]:
    return [f"{value:,}" for value in values]
