"""Peak memory of training and of evaluation at 1, 4 and 16 times the passages.

Token stores of 20,000, 80,000 and 320,000 passages of 20 to 400 random ids are written, a RoBERTa of 4 layers of 256 is
trained on each for 30 steps of 64 passages (with a validation and a checkpoint), and the store's test split (a tenth as
many passages) is evaluated for as many windows as it has, up to --limit. Each is a process of its own; what is given is
its anonymous memory (RssAnon) at its highest, sampled every 20 ms, which leaves out mapped files: the kernel
takes them back when it needs room. There is no peer: nothing is compared but the sizes.

Sizes: 3 x 2 processes, about 1 minute each. Cells are kept.

    python benchmarks/pretrain_memory.py [--limit 32000] [--save]
"""

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from transformers import RobertaConfig, RobertaForMaskedLM

from biolm.artifacts import cache_folder
from biolm.evaluation.masked import evaluate
from biolm.model.attention import PACKED
from biolm.model.families import shorten_last_layer
from biolm.model.fused_layer import fuse_layers
from biolm.progress import Silent
from biolm.sources.sample import sample_model
from biolm.tokens.store import open_tokens
from biolm.tokens.tokenizer import load_tokenizer
from biolm.tokens.words import word_table
from biolm.training.config import PretrainConfig
from biolm.training.loop import train
from harness import cell, finish, memory_mib, write_store

NAME = "pretrain_memory"
PASSAGES = 20_000
TIMES = (1, 4, 16)


def write_random_store(folder: Path, passages: int) -> None:
    """A token store of random ids under the sample model's vocabulary."""
    vocabulary = load_tokenizer(str(sample_model(cache_folder()))).vocabulary
    random = np.random.default_rng(0)
    splits = {}
    for split, count in (("train", passages), ("validation", 200), ("test", passages // 10)):
        lengths = random.integers(20, 400, count)
        ids = random.integers(1000, vocabulary.size, int(lengths.sum()), dtype=np.uint16)
        splits[split] = np.split(ids, np.cumsum(lengths)[:-1])
    write_store(folder, vocabulary, splits)


def measure(what: str, times: int, limit: int) -> dict[str, float]:
    """The highest anonymous memory of one piece of work, in this process."""
    highest = [0.0]

    def watch() -> None:
        while True:
            highest[0] = max(highest[0], memory_mib("RssAnon"))
            time.sleep(0.02)

    with tempfile.TemporaryDirectory() as folder:
        write_random_store(Path(folder), times * PASSAGES)
        store = open_tokens(Path(folder))
        model = RobertaForMaskedLM(
            RobertaConfig(
                vocab_size=store.vocabulary.size,
                hidden_size=256,
                num_hidden_layers=4,
                num_attention_heads=4,
                intermediate_size=1024,
                max_position_embeddings=514,
                pad_token_id=1,
            )
        )
        model.set_attn_implementation(PACKED)
        shorten_last_layer(model)
        fuse_layers(model)
        threading.Thread(target=watch, daemon=True).start()
        if what == "train":
            config = PretrainConfig(max_steps=30, hidden_dropout=0.0, validation_examples=100)
            train(model, store, Path(folder) / "run", config, Silent())
        else:
            words = word_table(load_tokenizer(str(sample_model(cache_folder()))))
            evaluate({"model": model}, store, "test", Silent(), limit=limit, words=words)
    return {"peak_mib": round(highest[0], 1)}


def in_its_own_process(what: str, times: int, limit: int) -> dict[str, float]:
    """One cell of the grid, in a fresh process of this script."""
    command = [sys.executable, __file__, "--cell", f"{what}:{times}", "--limit", str(limit)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Run what is missing of the grid and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, default=32_000, help="windows of an evaluation at most")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--save", action="store_true", help=f"write benchmarks/results/{NAME}.json")
    options = parser.parse_args()
    if options.cell:
        what, _, times = options.cell.partition(":")
        print(json.dumps(measure(what, int(times), options.limit)))
        return
    result: dict[str, float] = {}
    for what in ("train", "evaluate"):
        for times in TIMES:
            work = functools.partial(in_its_own_process, what, times, options.limit)
            found = cell(NAME, f"{what}-{times}", {"limit": options.limit}, work)
            result[f"{what}_peak_mib_{times}x"] = found["peak_mib"]
            print(f"{what}, {times * PASSAGES:,} passages: {found['peak_mib']:,.0f} MiB", flush=True)
        result[f"{what}_growth"] = round(result[f"{what}_peak_mib_16x"] / result[f"{what}_peak_mib_1x"], 3)
    finish(NAME, result, ("torch", "transformers", "numpy"), save=options.save)


if __name__ == "__main__":
    main()
