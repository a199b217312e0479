"""Tagging abstracts: `biolm tag` against the stock transformers pipeline, which is what a user would take instead.

Arms, alternating, each in a process of its own and timed after the model is loaded, from texts to mentions in a file:

  biolm          what `biolm tag MODEL --lines` does: windows, packed rows, the best path of labels, JSON lines; its
                 automatic precision, which is bf16 on a CPU with matrix units (AMX)
  pipeline       pipeline("token-classification", aggregation_strategy="first", batch_size=16), its entities as JSON
                 lines, fp32 (its default); it cuts texts at the model's limit
  biolm_fp32     on a CPU with matrix units: biolm in fp32
  pipeline_bf16  on a CPU with matrix units: the pipeline told to compute in bf16

All get the same ABSTRACTS abstracts of --papers (a folder or archive of JATS or PubMed XML), in the order of the
papers, and the same tagger, on a CPU, all cores. Entities that two arms find at the same characters are counted: they
differ where the pipeline cuts texts and words, takes labels that follow no rule, or rounds.

Sizes: ROUNDS x 4 arms of half a minute to three minutes on two cores with a tagger of MiniLM's size. Cells are kept.

    python benchmarks/tag_throughput.py --model FOLDER --papers FOLDER [--rounds 3] [--save]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from biolm.annotations.write import write_documents
from biolm.mentions import Document
from biolm.model.device import resolve_inference_precision
from biolm.records import Article
from biolm.sources.shards import read_source
from biolm.tagging.chain import Chain
from biolm.tagging.tagger import Tagger
from harness import cell, finish, median, memory_mib

NAME = "tag_throughput"
ABSTRACTS = 1000
BATCH = 16


def arms() -> dict[str, Callable[[str, list[str], Path], float]]:
    """What is timed on this machine."""
    both = {"biolm": partial(time_biolm, "auto"), "pipeline": partial(time_pipeline, torch.float32)}
    if resolve_inference_precision("auto", torch.device("cpu")) == "fp32":
        return both
    return {
        **both,
        "biolm_fp32": partial(time_biolm, "fp32"),
        "pipeline_bf16": partial(time_pipeline, torch.bfloat16),
    }


def abstracts(papers: Path) -> list[str]:
    """The main abstracts of the first papers that have one."""
    found: list[str] = []
    for record in read_source(papers):
        if isinstance(record, Article):
            found += [each.text for each in record.abstracts if each.kind is None][:1]
        if len(found) == ABSTRACTS:
            return found
    raise SystemExit(
        f"--papers {papers} holds {len(found)} abstracts, and {ABSTRACTS} are tagged; give more papers"
    )


def time_biolm(precision: str, model: str, texts: list[str], out: Path) -> float:
    """Seconds from texts to a file of mentions."""
    tagger = Tagger.load(model, device="cpu", precision=precision)
    list(tagger.tag(texts[:2]))
    started = time.perf_counter()
    documents = (Document(str(number), text) for number, text in enumerate(texts))
    write_documents(Chain([tagger]).tag(documents), out, "jsonl")
    return time.perf_counter() - started


def time_pipeline(dtype: torch.dtype, model: str, texts: list[str], out: Path) -> float:
    """The same with the stock pipeline."""
    from transformers import pipeline

    tagger = pipeline(
        "token-classification", model=model, aggregation_strategy="first", device=-1, dtype=dtype
    )
    tagger(texts[:2])
    started = time.perf_counter()
    with out.open("w", encoding="utf-8") as file:
        for text, found in zip(texts, tagger(texts, batch_size=BATCH), strict=True):
            mentions = [
                {
                    "start": int(each["start"]),
                    "end": int(each["end"]),
                    "type": each["entity_group"],
                    "score": float(each["score"]),
                }
                for each in found
            ]
            file.write(json.dumps({"text": text, "mentions": mentions}) + "\n")
    return time.perf_counter() - started


def run_arm(arm: str, model: str, papers: Path) -> dict[str, Any]:
    """One measurement, in this process."""
    texts = abstracts(papers)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.jsonl"
        seconds = arms()[arm](model, texts, out)
        found = [json.loads(line)["mentions"] for line in out.read_text(encoding="utf-8").splitlines()]
    spans = [[number, each["start"], each["end"]] for number, own in enumerate(found) for each in own]
    return {"seconds": seconds, "abstracts": len(texts), "memory_mib": memory_mib(), "spans": spans}


def main() -> None:
    """Measure, print the table, and with --save keep the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--papers", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arm", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args()
    if given.arm:
        print(json.dumps(run_arm(given.arm, given.model, given.papers)))
        return
    found: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms()}
    for round_ in range(given.rounds):
        for arm in found if round_ % 2 == 0 else reversed(found):

            def work(arm: str = arm) -> dict[str, Any]:
                command = [sys.executable, __file__, "--model", given.model, "--papers", str(given.papers)]
                done = subprocess.run([*command, "--arm", arm], capture_output=True, text=True, check=True)
                return dict(json.loads(done.stdout.splitlines()[-1]))

            one = cell(NAME, f"{arm}-{round_}", {"arm": arm, "round": round_, "abstracts": ABSTRACTS}, work)
            found[arm].append(one)
            print(f"{arm:13} round {round_}: {one['seconds']:.1f} s, {one['memory_mib']:.0f} MiB", flush=True)
    seconds = {arm: [each["seconds"] for each in own] for arm, own in found.items()}
    took = {arm: median(own) for arm, own in seconds.items()}
    spans = {arm: {tuple(span) for span in own[0]["spans"]} for arm, own in found.items()}
    result = {
        "ratio_pipeline": took["pipeline"] / took["biolm"],
        **(
            {
                "ratio_pipeline_both_fp32": took["pipeline"] / took["biolm_fp32"],
                "ratio_pipeline_both_bf16": took["pipeline_bf16"] / took["biolm"],
            }
            if "biolm_fp32" in took
            else {}
        ),
        "abstracts": ABSTRACTS,
        "seconds": seconds,
        "memory_mib": {arm: max(each["memory_mib"] for each in own) for arm, own in found.items()},
        "mentions": {arm: len(own) for arm, own in spans.items()},
        "same_as_biolm": {arm: len(own & spans["biolm"]) for arm, own in spans.items()},
    }
    finish(NAME, result, ("torch", "transformers"), save=given.save)


if __name__ == "__main__":
    main()
