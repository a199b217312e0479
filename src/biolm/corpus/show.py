"""What a corpus holds, for a person or a machine."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from biolm.corpus.reader import Corpus

if TYPE_CHECKING:
    from rich.console import Console

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
TOP = 10
"""How many journals and languages are listed."""
EXAMPLES = 3


def corpus_facts(corpus: Corpus) -> dict[str, Any]:
    """Everything that `biolm corpus show` says, as JSON values.

    Reads the whole corpus once, in batches: counts from the manifest, and journals, years, lengths in
    characters and example passages from the Parquet files.
    """
    manifest = corpus.manifest
    journals: Counter[str] = Counter()
    years: Counter[int] = Counter()
    lengths: dict[str, np.ndarray] = {}
    wanted, seen, examples = _example_places(manifest), Counter[str](), []
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
                        examples.append({"split": split} | row)
                seen[section] += len(rows)
    return {
        "folder": str(corpus.folder),
        "fingerprint": corpus.fingerprint,
        **{name: manifest[name] for name in ("counts", "splits", "empty_splits", "licences", "languages")},
        "journals": {"different": len(journals), "top": dict(journals.most_common(TOP))},
        "years": {str(year): years[year] for year in sorted(years)},
        "characters": {section: _quantiles(lengths[section]) for section in sorted(lengths)},
        "examples": examples[:EXAMPLES],
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
    splits = table("Passages", "split", "papers", "passages", "abstracts", "legends", "characters")
    for split, of in facts["splits"].items():
        sections = (of["sections"][name]["passages"] for name in ("abstract", "figure_legend"))
        splits.add_row(split, *_numbers(of["documents"], of["passages"], *sections, of["characters"]))
    for split in facts["empty_splits"]:
        splits.add_row(f"{split} (empty)", *_numbers(0, 0, 0, 0, 0))
    show(splits)

    sums = table("From articles to passages", "step", "count")
    sums.add_row("articles read", *_numbers(counts["articles_read"]))
    sums.add_row("unreadable", *_numbers(counts["articles_failed"]))
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

    for title, found in (
        ("Licences", facts["licences"]),
        (f"Languages{_top_of(len(facts['languages']))}", dict([*facts["languages"].items()][:TOP])),
        (f"Journals{_top_of(facts['journals']['different'])}", facts["journals"]["top"]),
        ("Years", _decades(facts["years"])),
    ):
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


def _example_places(manifest: dict[str, Any]) -> dict[str, list[int]]:
    """Which passages of each section to show, spread over the corpus: one of the rarer section."""
    totals = Counter[str]()
    for split in manifest["splits"].values():
        totals.update({name: section["passages"] for name, section in split["sections"].items()})
    common, rare = (name for name, _ in totals.most_common())
    places = {rare: [totals[rare] // 2] if totals[rare] else []}
    spread = EXAMPLES - len(places[rare])
    places[common] = sorted({(2 * i + 1) * totals[common] // (2 * spread) for i in range(spread)})
    return places


def _add(total: np.ndarray | None, more: np.ndarray) -> np.ndarray:
    if total is None:
        return more
    longer, shorter = (total, more) if len(total) >= len(more) else (more, total)
    longer[: len(shorter)] += shorter
    return longer


def _quantiles(histogram: np.ndarray) -> dict[str, int]:
    below = np.cumsum(histogram)
    return {f"{q:g}": int(np.searchsorted(below, q * below[-1])) for q in QUANTILES}


def _decades(years: dict[str, int]) -> dict[str, int]:
    decades = Counter[str]()
    for year, count in years.items():
        decades[f"{year[:-1]}0s"] += count
    return dict(decades)


def _top_of(different: int) -> str:
    return f" (top {TOP} of {different:,})" if different > TOP else ""


def _numbers(*values: int) -> list[str]:
    return [f"{value:,}" for value in values]
