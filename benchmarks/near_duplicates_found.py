"""Near duplicates by kind of change: what is found, against datasketch on the same texts, with its time and memory.

Texts are 6,000 of the sample's abstracts and a copy of each, changed in one of 22 ways: words replaced, deleted or
inserted at 1 to 20 %, citations added, units written out, the tail cut, a title put before, sentences reordered. Both
sides take the same words, triples, bands of slots and threshold (MinHashLSH of datasketch, then the estimated
similarity of what shares a band); they run alternating, each in a fresh process, from the texts on.
Recall is of the copies whose true similarity reaches the threshold; precision is of all pairs found, planted or
not. About 1 minute on 2 cores.

    python benchmarks/near_duplicates_found.py [--texts 6000] [--repeats 3] [--save]
"""

import argparse
import functools
import json
import math
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from biolm.artifacts import cache_folder
from biolm.corpus.config import CorpusConfig
from biolm.corpus.minhash import BANDS, ROWS, SHINGLE, SLOTS, band_keys, signatures, words_of
from biolm.corpus.near import cluster
from biolm.records import Article
from biolm.sources import read_source
from biolm.sources.sample import PAPERS_MEMBERS, sample_papers
from harness import cell, finish, median, memory_mib
from near_duplicates import jaccard

NAME = "near_duplicates_found"
THRESHOLD = CorpusConfig().near_duplicates or 0.0
SIDES = ("biolm", "datasketch")
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
MIN_TEXT_WORDS = 60
Change = Callable[[str, random.Random, list[str]], str]


def changes() -> dict[str, Change]:
    """Each way to change a text, by name."""
    found: dict[str, Change] = {
        "citations": lambda text, chance, vocabulary: re.sub(
            r"\. ", lambda match: f" [{chance.randrange(60)}]. ", text
        ),
        "units": lambda text, chance, vocabulary: (
            re.sub(r"(?<=\d) ?%", " per cent", text).replace("<", "less than ").replace("+/-", "±")
        ),
        "title before": lambda text, chance, vocabulary: (
            " ".join(chance.choices(vocabulary, k=15)) + ". " + text
        ),
        "reordered": lambda text, chance, vocabulary: " ".join(
            chance.sample(parts := re.split(r"(?<=\.) ", text), len(parts))
        ),
    }
    for share in SHARES:
        found[f"replaced {share:.0%}"] = functools.partial(_each_word, share, lambda word, new: [new])
        found[f"deleted {share:.0%}"] = functools.partial(_each_word, share, lambda word, new: [])
        found[f"inserted {share:.0%}"] = functools.partial(_each_word, share, lambda word, new: [word, new])
    for share in (0.1, 0.2, 0.3):
        found[f"tail cut {share:.0%}"] = functools.partial(_cut, share)
    return found


def _each_word(
    share: float,
    change: Callable[[str, str], list[str]],
    text: str,
    chance: random.Random,
    vocabulary: list[str],
) -> str:
    out: list[str] = []
    for word in text.split():
        out += change(word, chance.choice(vocabulary)) if chance.random() < share else [word]
    return " ".join(out)


def _cut(share: float, text: str, chance: random.Random, vocabulary: list[str]) -> str:
    words = text.split()
    return " ".join(words[: int(len(words) * (1 - share))])


def make_texts(count: int) -> tuple[list[str], list[str]]:
    """`count` abstracts and then a changed copy of each; and the change of each copy."""
    members = [name for name in PAPERS_MEMBERS if "pubmed" in name]
    papers = (one for one in read_source(sample_papers(cache_folder()), members) if isinstance(one, Article))
    pool = dict.fromkeys(one.abstracts[0].text for one in papers if one.abstracts)
    chance = random.Random(20261123)  # noqa: S311
    texts = chance.sample([text for text in pool if len(words_of(text)) >= MIN_TEXT_WORDS], count)
    vocabulary = [word for text in texts[:500] for word in text.split()]
    kinds = list(changes().items())
    names = [kinds[row % len(kinds)][0] for row in range(count)]
    copies = [kinds[row % len(kinds)][1](text, chance, vocabulary) for row, text in enumerate(texts)]
    return texts + copies, names


def find_by_biolm(texts: list[str]) -> list[tuple[int, int]]:
    """Each text and the first of its cluster."""
    found = signatures(texts)
    component = cluster(found, band_keys(found), THRESHOLD)
    rows = np.flatnonzero(component != np.arange(len(texts)))
    return list(zip(component[rows].tolist(), rows.tolist(), strict=True))


def find_by_datasketch(texts: list[str]) -> list[tuple[int, int]]:
    """Each text and the first earlier one that is similar, by an index that it is then added to."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=SLOTS, params=(BANDS, ROWS))
    made: list[Any] = []
    pairs = []
    for row, text in enumerate(texts):
        words = words_of(text)
        one = MinHash(num_perm=SLOTS)
        one.update_batch(
            {" ".join(words[at : at + SHINGLE]).encode() for at in range(len(words) - SHINGLE + 1)}
        )
        similar = [other for other in index.query(one) if one.jaccard(made[other]) >= THRESHOLD]
        if similar:
            pairs.append((min(similar), row))
        index.insert(row, one)
        made.append(one)
    return pairs


def run_here(side: str, path: Path) -> dict[str, Any]:
    """Find the pairs in this process: seconds, memory above that of the texts, and the pairs."""
    texts = json.loads(path.read_text())
    find = {"biolm": find_by_biolm, "datasketch": find_by_datasketch}[side]
    find(texts[:50])
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew (proc(5))
    before = memory_mib("VmRSS")
    started = time.perf_counter()
    pairs = find(texts)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "mib": memory_mib() - before, "pairs": pairs}


def measure(count: int, repeats: int) -> dict[str, Any]:
    """The table by change, precision, and medians of time and memory, for both sides."""
    texts, names = make_texts(count)
    true = np.array([jaccard(texts[row], texts[count + row]) for row in range(count)])
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory(prefix="biolm-benchmark-") as folder:
        path = Path(folder, "texts.json")
        path.write_text(json.dumps(texts))
        for _ in range(repeats):
            for side in SIDES:
                command = [sys.executable, __file__, "--side", side, "--from", str(path)]
                said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                runs[side].append(json.loads(said.splitlines()[-1]))
    result: dict[str, Any] = {}
    table: dict[str, dict[str, float]] = {}
    of_name = np.array(names)
    for name in changes():
        here = of_name == name
        table[name] = {
            "mean_similarity": true[here].mean(),
            "above_threshold": int((true[here] >= THRESHOLD).sum()),
        }
    for side in SIDES:
        pairs = [tuple(pair) for pair in runs[side][0]["pairs"]]
        found = np.zeros(count, bool)
        found[[right - count for left, right in pairs if right == left + count]] = True
        alike = np.array([jaccard(texts[left], texts[right]) for left, right in pairs])
        for name, row in table.items():
            here = of_name == name
            row[f"{side}_found"] = found[here].mean()
            if row["above_threshold"]:
                row[f"{side}_recall"] = found[here & (true >= THRESHOLD)].mean()
        result[side] = {
            "seconds": median([run["seconds"] for run in runs[side]]),
            "mib": median([run["mib"] for run in runs[side]]),
            "pairs": len(pairs),
            "recall": found[true >= THRESHOLD].mean(),
            "precision": (alike >= THRESHOLD).mean(),
            "precision_less_0.1": (alike >= THRESHOLD - 0.1).mean(),
        }
    result["changes"] = table
    result["seconds_ratio"] = result["datasketch"]["seconds"] / result["biolm"]["seconds"]
    result["memory_ratio"] = result["datasketch"]["mib"] / result["biolm"]["mib"]
    return result


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return round(float(value), 4) if isinstance(value, float) else value


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--texts", type=int, default=6000, help="abstracts, each with one copy")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--from", dest="path", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--save", action="store_true", help=f"write benchmarks/results/{NAME}.json")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(run_here(options.side, options.path)))
        return
    settings = {"texts": options.texts, "repeats": options.repeats}
    result = cell(
        NAME, str(options.texts), settings, lambda: _rounded(measure(options.texts, options.repeats))
    )
    print(f"{'change':16}{'similarity':>11}{'above':>7}{'found':>8}{'recall':>8}{'datasketch':>18}")
    for name, row in result["changes"].items():  # type: ignore[attr-defined]
        ours, theirs = (row.get(f"{side}_recall", math.nan) for side in SIDES)
        print(
            f"{name:16}{row['mean_similarity']:>11.3f}{row['above_threshold']:>7}"
            f"{row['biolm_found']:>8.3f}{ours:>8.3f}{row['datasketch_found']:>10.3f}{theirs:>8.3f}"
        )
    for side in SIDES:
        print(side, result[side])
    print(
        f"datasketch takes {result['seconds_ratio']:.1f} times as long, {result['memory_ratio']:.1f} times the memory"
    )
    facts = {"threshold": THRESHOLD, "shingle": SHINGLE, "bands": BANDS, "rows": ROWS, "settings": settings}
    finish(NAME, facts | result, ("numpy", "datasketch"), save=options.save)


if __name__ == "__main__":
    main()
