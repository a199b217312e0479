"""Near duplicates at scale: what is found of planted copies, and the time and memory of deciding.

Passages are made of the sample's abstracts: each is one of them with 60 % of its words replaced (so it is none of its
neighbours' near duplicate), and one in ten is planted as a copy of the one before it with 0 to 20 % of its words
replaced. At each size the extracts are written once, then a fresh process resolves them as `biolm corpus build` does.
Precision and recall are of pairs (original, copy) against the true Jaccard similarity of their word triples at the
threshold. Sizes: 100,000, 300,000 and 1,000,000 passages; about 8 minutes on 2 cores. Memory at 12 million is
extrapolated by a line through the sizes' peaks.

    python benchmarks/near_duplicates.py [--sizes 100000,300000,1000000] [--save]
"""

import argparse
import functools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from biolm.artifacts import cache_folder
from biolm.corpus.config import CorpusConfig
from biolm.corpus.extract import write_extract
from biolm.corpus.minhash import MIN_WORDS, SHINGLE, words_of
from biolm.corpus.resolve import resolve
from biolm.corpus.workspace import TABLES, Workspace
from biolm.records import Abstract, Article
from biolm.sources import read_source
from biolm.sources.sample import PAPERS_MEMBERS, sample_papers
from harness import cell, finish, memory_mib

NAME = "near_duplicates"
CONFIG = CorpusConfig(detect_language=False)
SHARD = 20_000
COPY_EVERY = 10
NOISE = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)


def texts() -> list[str]:
    """The sample's abstracts."""
    members = [name for name in PAPERS_MEMBERS if "pubmed" in name]
    papers = (one for one in read_source(sample_papers(cache_folder()), members) if isinstance(one, Article))
    return [one.abstracts[0].text for one in papers if one.abstracts and len(one.abstracts[0].text) > 200]


def passages(base: list[str], begin: int, end: int) -> Iterator[tuple[str, str | None]]:
    """Passages `begin` to `end`, the same whenever they are asked for, and the original of each planted copy."""
    for number in range(begin, end):
        copy = number % COPY_EVERY == COPY_EVERY - 1
        original = _made(base, number - 1 if copy else number)
        share = NOISE[(number // COPY_EVERY) % len(NOISE)]
        yield (_noisy(original, share, number), original) if copy else (original, None)


def _made(base: list[str], number: int) -> str:
    return _noisy(base[number * 7919 % len(base)], 0.6, number)


def _noisy(text: str, share: float, seed: int) -> str:
    chance = random.Random(seed)  # noqa: S311
    words = text.split()
    return " ".join(chance.choice(words) + str(seed) if chance.random() < share else word for word in words)


def write_shard(folder: str, base: list[str], number: int) -> tuple[str, list[tuple[int, float]]]:
    """One extract; row and true similarity of its copies."""
    begin = number * SHARD
    truth = []

    def records() -> Iterator[Article]:
        for row, (text, original) in enumerate(passages(base, begin, begin + SHARD), begin):
            if original is not None:
                truth.append((row, jaccard(text, original)))
            yield Article(source=f"made#{row}", pmid=str(row + 1), abstracts=(Abstract(text=text),))

    workspace, key = Workspace(folder), f"{number:05d}"
    with workspace.draft() as draft:
        tables = {name: Path(draft, name) for name in TABLES}
        facts = write_extract(records(), tables["articles"], tables["passages"], CONFIG.extraction())
        workspace.keep(key, facts, tables)
    return key, truth


def jaccard(left: str, right: str) -> float:
    """True similarity of the sets of word triples."""
    a, b = (
        {tuple(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1)}
        for words in (words_of(left), words_of(right))
    )
    return len(a & b) / max(len(a | b), 1)


def measure(size: int) -> dict[str, float]:
    """Write `size` passages, resolve them in a fresh process, and compare."""
    base = texts()
    with tempfile.TemporaryDirectory(prefix="biolm-benchmark-") as folder:
        started = time.perf_counter()
        with ProcessPoolExecutor() as pool:
            done = list(pool.map(functools.partial(write_shard, folder, base), range(size // SHARD)))
        writing = time.perf_counter() - started
        command = [sys.executable, __file__, "--cell", folder, "--count", str(size // SHARD)]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found: dict[str, float] = json.loads(said.splitlines()[-1])
        instead = np.load(f"{folder}/instead.npy")
    threshold = CONFIG.near_duplicates or 0.0
    truth = {row: value for _, pairs in done for row, value in pairs}
    similar = {row for row, value in truth.items() if value >= threshold}
    plain = {row for row, value in truth.items() if value >= threshold + 0.1}
    dropped = set(np.flatnonzero(instead >= 0).tolist())
    right = {row for row in dropped if instead[row] == row - 1 and row in truth}
    return found | {
        "writing_seconds": writing,
        "copies": len(truth),
        "similar": len(similar),
        "recall": len(dropped & similar) / len(similar),
        "recall_plain": len(dropped & plain) / len(plain),
        "precision": len(right & similar) / max(len(dropped), 1),
        "precision_less_0.1": sum(truth[row] >= threshold - 0.1 for row in right) / max(len(dropped), 1),
    }


def resolve_here(folder: str, count: int) -> dict[str, float]:
    """Resolve the extracts in this process; its seconds and peak memory."""
    started = time.perf_counter()
    found = resolve(Workspace(folder), [f"{number:05d}" for number in range(count)], [], CONFIG)
    seconds = time.perf_counter() - started
    np.save(f"{folder}/instead.npy", found.instead)
    return {"resolve_seconds": seconds, "peak_gib": memory_mib() / 1024}


def main() -> None:
    """Run what is missing of the grid and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="100000,300000,1000000")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--save", action="store_true", help=f"write benchmarks/results/{NAME}.json")
    options = parser.parse_args()
    if options.cell:
        print(json.dumps(resolve_here(options.cell, options.count)))
        return
    sizes = [int(size) for size in options.sizes.split(",")]
    result: dict[str, Any] = {"threshold": CONFIG.near_duplicates, "shingle": SHINGLE, "min_words": MIN_WORDS}
    print(f"{'passages':>10}{'resolve s':>11}{'peak GiB':>10}{'recall':>8}{'precision':>11}")
    for size in sizes:
        found = cell(NAME, f"{size}", {"size": size}, functools.partial(measure, size))
        result[str(size)] = {name: round(value, 4) for name, value in found.items()}
        print(
            f"{size:>10,}{found['resolve_seconds']:>11.1f}{found['peak_gib']:>10.2f}"
            f"{found['recall']:>8.3f}{found['precision']:>11.3f}",
            flush=True,
        )
    if len(sizes) > 1:
        slope, start = np.polyfit(sizes, [result[str(size)]["peak_gib"] for size in sizes], 1)
        result["bytes_per_passage"] = round(float(slope) * 2**30)
        result["peak_gib_at_12_million"] = round(float(start + slope * 12e6), 2)
        print(
            f"{result['bytes_per_passage']} bytes a passage: {result['peak_gib_at_12_million']} GiB at 12 million"
        )
    finish(NAME, result, ("numpy", "pyarrow"), save=options.save)


if __name__ == "__main__":
    main()
