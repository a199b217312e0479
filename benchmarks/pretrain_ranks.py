"""Tokens per second of `biolm pretrain` on 2 gloo ranks of one thread against 1 rank of two threads, on 2 cores.

The base is the embedded MiniLM (6 layers of 384), steps are of 64 passages (biolm's default), the corpus is built from
--papers. Both arms are the command that a user runs, alternating; speed is the median of a run's steps but
the first two, read from its metrics.jsonl. The loss curves must be the same but for rounding: without dropout the
gradient does not depend on the ranks.

Sizes: ROUNDS x 2 runs of STEPS steps; on two cores a run takes about 70 seconds, so 5 rounds 12 minutes.
Cells are kept.

    python benchmarks/pretrain_ranks.py --papers FOLDER [--rounds 5] [--steps 8] [--save]
"""

import argparse
import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from biolm.artifacts import cache_folder
from biolm.corpus.build import build_corpus
from biolm.corpus.config import CorpusConfig
from biolm.corpus.split import parse_shares
from biolm.progress import Silent
from biolm.sources.sample import sample_model
from harness import cell, finish, median

NAME = "pretrain_ranks"
ARMS = {
    "1 rank, 2 threads": ["--threads", "2"],
    "2 ranks, 1 thread each": ["--devices", "2", "--threads", "1"],
}


def train(corpus: Path, arm: str, steps: int) -> dict[str, float]:
    """One run of the command: its speed, and the losses of its steps as "loss 1", "loss 2", ..."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [
            sys.executable,
            "-m",
            "biolm",
            "pretrain",
            str(corpus),
            "--base",
            str(sample_model(cache_folder())),
        ]
        command += ["--out", str(run), "--max-steps", str(steps), "--evaluate-split", "none", "--quiet"]
        command += ["--validate-every", "1000", "--checkpoint-every", "1000", "--validation-examples", "16"]
        subprocess.run([*command, *ARMS[arm]], check=True, stdout=subprocess.DEVNULL)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = [line for line in lines if "train/loss" in line]
    speed = median([line["speed/tokens_per_second"] for line in found[2:]])
    return {"tokens_per_second": speed, **{f"loss {line['step']}": line["train/loss"] for line in found}}


def main() -> None:
    """Run what is missing of the grid and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--papers", required=True, type=Path, help="file or folder of papers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--save", action="store_true", help=f"write benchmarks/results/{NAME}.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        build_corpus([options.papers], corpus, CorpusConfig(shares=parse_shares("98/1/1")), Silent())
        settings = {"papers": options.papers.name, "steps": options.steps}
        results: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
        for turn in range(options.rounds):
            for place, arm in enumerate(ARMS):
                work = functools.partial(train, corpus, arm, options.steps)
                results[arm].append(cell(NAME, f"{place}-{turn}", settings, work))
                print(
                    f"round {turn + 1}: {arm}: {results[arm][-1]['tokens_per_second']:,.0f} tokens/s",
                    flush=True,
                )
    one, two = results.values()
    ratios = [b["tokens_per_second"] / a["tokens_per_second"] for a, b in zip(one, two, strict=True)]
    apart = [
        abs(b[key] - a[key]) / abs(a[key])
        for a, b in zip(one, two, strict=True)
        for key in a
        if key.startswith("loss")
    ]
    result = {
        "ratio_2_ranks": round(median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
        "tokens_per_second_1_rank": round(median([run["tokens_per_second"] for run in one]), 1),
        "tokens_per_second_2_ranks": round(median([run["tokens_per_second"] for run in two]), 1),
        "largest_relative_difference_of_losses": max(apart),
        "rounds": options.rounds,
        "steps": options.steps,
    }
    finish(NAME, result, ("torch", "transformers", "numpy"), save=options.save)


if __name__ == "__main__":
    main()
