"""biolm's evaluation and pseudo-log-likelihoods against what a user would take instead, at roberta-base's size.

Arms, alternating:

  evaluate          `biolm.evaluation.masked.evaluate`: every metric, strata and 1,000 bootstrap replicates
  trainer           the Hugging Face Trainer's `evaluate` at its defaults (8 a batch, padded): the loss alone
  trainer_accuracy  the same with the accuracy that transformers' run_mlm example computes (argmax of all logits)
  score             `biolm score`'s pseudo-log-likelihoods, left to right within a word
  minicons          minicons' `sequence_score` with PLL_metric="within_word_l2r", 4 sentences a call

The first two get the same abstracts and legends, PASSAGES a round, drawn anew from --papers; the others SENTENCES
sentences of them, and their scores must be equal: the largest difference is given. Random weights, fp32 on a CPU, all
cores; each measurement is a process of its own, timed after the model is loaded. Ratios are medians of rounds.

The anonymous memory (RssAnon) that a process of `evaluate` holds at its end is also measured at 1 and 4 times the
passages, in two further processes.

Sizes: ROUNDS x 5 arms; on two cores an arm takes 20 to 100 seconds, so 5 rounds about 20 minutes. Cells are kept.

    python benchmarks/evaluate_throughput.py --papers FOLDER --tokenizer FOLDER [--rounds 5] [--save]
"""

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import DataCollatorForLanguageModeling, EvalPrediction, Trainer, TrainingArguments
from transformers.utils import logging as transformers_logging

from biolm.evaluation.masked import evaluate
from biolm.evaluation.pseudo_likelihood import pseudo_log_likelihoods
from biolm.model.attention import PACKED
from biolm.model.families import shorten_last_layer
from biolm.model.fused_layer import fuse_layers
from biolm.progress import Silent
from biolm.tokens.store import open_tokens
from biolm.tokens.tokenizer import Tokenizer, load_tokenizer
from biolm.tokens.words import word_table
from harness import cell, finish, median, memory_mib, write_store
from pretrain_throughput import new_model, passages

NAME = "evaluate_throughput"
PASSAGES = 64
SENTENCES = 12
ARMS = ("evaluate", "trainer", "trainer_accuracy", "score", "minicons")


def packed_model() -> object:
    """A random roberta-base as `load_model` would give it."""
    model = new_model(0.0)
    model.set_attn_implementation(PACKED)
    shorten_last_layer(model)
    fuse_layers(model)
    return model


def sentences(texts: list[str]) -> list[str]:
    """The first sentence of 60 to 250 characters of each text that has one."""
    found = (next((s for s in text.split(". ") if 60 <= len(s) <= 250), None) for text in texts)
    return [sentence + "." for sentence in found if sentence][:SENTENCES]


def time_evaluate(tokenizer: Tokenizer, texts: list[str]) -> dict[str, float]:
    """All of `biolm evaluate` behind the loading of the model."""
    model, words = packed_model(), word_table(tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        encoded = tokenizer.encode(texts)
        write_store(Path(folder), tokenizer.vocabulary, {"train": encoded, "test": encoded})
        store = open_tokens(Path(folder))
        evaluate({"warm": model}, store, "test", Silent(), words=words, limit=2)
        started = time.perf_counter()
        measured = evaluate({"model": model}, store, "test", Silent(), words=words)
        seconds = time.perf_counter() - started
    tokens = float(sum(map(len, encoded)))
    return {
        "units": tokens,
        "seconds": seconds,
        "loss": measured["model"].overall.sums.metrics()["loss"],
        "memory_mib": memory_mib("RssAnon"),
    }


def argmax(logits: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    """What is kept of a batch's logits."""
    return logits.argmax(-1)


def accuracy(found: EvalPrediction) -> dict[str, float]:
    """Share of the masked tokens that are the likeliest."""
    masked = found.label_ids != -100
    return {"accuracy": float((found.predictions[masked] == found.label_ids[masked]).mean())}


def time_trainer(tokenizer: Tokenizer, texts: list[str], *, with_accuracy: bool = False) -> dict[str, float]:
    """The Trainer's evaluate, windows of 512 as biolm cuts them."""
    vocabulary, model = tokenizer.vocabulary, new_model(0.0)
    content = [
        ids[first : first + 510] for ids in tokenizer.encode(texts) for first in range(0, len(ids), 510)
    ]
    rows = [{"input_ids": [*vocabulary.prefix, *ids, *vocabulary.suffix]} for ids in content]
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(Path(tempfile.gettempdir()) / "biolm-benchmark-trainer"),
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        ),
        data_collator=DataCollatorForLanguageModeling(tokenizer.stock, mlm_probability=0.15),
        eval_dataset=rows,
        compute_metrics=accuracy if with_accuracy else None,
        preprocess_logits_for_metrics=argmax if with_accuracy else None,
    )
    trainer.evaluate(rows[:2])
    started = time.perf_counter()
    found = trainer.evaluate()
    seconds = time.perf_counter() - started
    return {"units": float(sum(map(len, content))), "seconds": seconds, "loss": found["eval_loss"]}


def time_score(tokenizer: Tokenizer, texts: list[str]) -> dict[str, float]:
    """biolm's pseudo-log-likelihoods, as "score 0", "score 1", ..."""
    model = packed_model()
    list(pseudo_log_likelihoods(model, tokenizer, texts[:1]))
    started = time.perf_counter()
    found = [scored.pseudo_log_likelihood for scored in pseudo_log_likelihoods(model, tokenizer, texts)]
    return _scores(found, time.perf_counter() - started)


def time_minicons(tokenizer: Tokenizer, texts: list[str]) -> dict[str, float]:
    """The same by minicons."""
    from minicons.scorer import MaskedLMScorer

    # minicons 0.3.39 calls what transformers 5 has renamed.
    type(tokenizer.stock).batch_encode_plus = type(tokenizer.stock).__call__
    scorer = MaskedLMScorer(new_model(0.0).eval(), "cpu", tokenizer=tokenizer.stock)

    def total(scores: object) -> float:
        return float(scores.double().sum())  # type: ignore[attr-defined]

    scorer.sequence_score(texts[:1], reduction=total, PLL_metric="within_word_l2r")
    started = time.perf_counter()
    found: list[float] = []
    for first in range(0, len(texts), 4):
        batch = texts[first : first + 4]
        found += scorer.sequence_score(batch, reduction=total, PLL_metric="within_word_l2r")
    return _scores(found, time.perf_counter() - started)


def _scores(found: list[float], seconds: float) -> dict[str, float]:
    scores = {f"score {place}": value for place, value in enumerate(found)}
    return {"units": float(len(found)), "seconds": seconds, **scores}


def measure(arm: str, turn: int, papers: str, tokenizer_folder: str) -> dict[str, float]:
    """One cell of the grid, in this process."""
    transformers_logging.set_verbosity_error()
    tokenizer = load_tokenizer(tokenizer_folder)
    times = int(arm.partition(" x ")[2] or 1)
    texts = passages(papers, turn)[: PASSAGES * times]
    if arm.startswith("evaluate"):
        return time_evaluate(tokenizer, texts)
    if arm.startswith("trainer"):
        return time_trainer(tokenizer, texts, with_accuracy=arm == "trainer_accuracy")
    chosen = sentences(texts)
    return time_score(tokenizer, chosen) if arm == "score" else time_minicons(tokenizer, chosen)


def in_its_own_process(arm: str, turn: int, papers: str, tokenizer_folder: str) -> dict[str, float]:
    """One cell of the grid, in a fresh process of this script."""
    command = [sys.executable, __file__, "--cell", f"{arm}:{turn}"]
    command += ["--papers", papers, "--tokenizer", tokenizer_folder]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Run what is missing of the grid and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--papers", required=True, help="file or folder of papers")
    parser.add_argument("--tokenizer", required=True, help="folder of roberta-base's tokenizer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--save", action="store_true", help=f"write benchmarks/results/{NAME}.json")
    options = parser.parse_args()
    if options.cell:
        arm, _, turn = options.cell.partition(":")
        print(json.dumps(measure(arm, int(turn), options.papers, options.tokenizer)))
        return
    settings = {"papers": options.papers, "tokenizer": options.tokenizer}
    results: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    memory = {}

    def run(arm: str, turn: int) -> dict[str, float]:
        work = functools.partial(in_its_own_process, arm, turn, options.papers, options.tokenizer)
        found = cell(NAME, f"{arm}-{turn}", settings, work)
        print(f"round {turn + 1}: {arm} {found['units'] / found['seconds']:.2f} a second", flush=True)
        return found

    for turn in range(options.rounds):
        for arm in ARMS:
            results[arm].append(run(arm, turn))
    for times in (1, 4):
        memory[times] = run(f"evaluate x {times}", 0)["memory_mib"]

    speed = {arm: [found["units"] / found["seconds"] for found in results[arm]] for arm in ARMS}
    unit = {arm: "sentences" if arm in ("score", "minicons") else "tokens" for arm in ARMS}
    print(f"\n{'arm':<18}{'a second (median)':>20}{'min':>10}{'max':>10}")
    for arm in ARMS:
        values = speed[arm]
        print(f"{arm:<18}{median(values):>14.2f} {unit[arm]:<10}{min(values):>8.2f}{max(values):>10.2f}")
    differences = [
        abs(ours[key] - theirs[key])
        for ours, theirs in zip(results["score"], results["minicons"], strict=True)
        for key in ours
        if key.startswith("score ")
    ]

    def ratio(ours: str, theirs: str) -> float:
        return round(median([a / b for a, b in zip(speed[ours], speed[theirs], strict=True)]), 2)

    finish(
        NAME,
        {
            "ratio_trainer_evaluate": ratio("evaluate", "trainer"),
            "ratio_trainer_evaluate_accuracy": ratio("evaluate", "trainer_accuracy"),
            "ratio_minicons": ratio("score", "minicons"),
            "tokens_per_second_evaluate": round(median(speed["evaluate"]), 1),
            "tokens_per_second_trainer": round(median(speed["trainer"]), 1),
            "tokens_per_second_trainer_accuracy": round(median(speed["trainer_accuracy"]), 1),
            "sentences_per_second_score": round(median(speed["score"]), 3),
            "sentences_per_second_minicons": round(median(speed["minicons"]), 3),
            "largest_score_difference": float(np.max(differences)),
            "memory_mib_1x": round(memory[1]),
            "memory_mib_4x": round(memory[4]),
            "rounds": options.rounds,
            "passages": PASSAGES,
            "sentences": SENTENCES,
            "papers": Path(options.papers).resolve().name,
        },
        ("torch", "transformers", "accelerate", "minicons", "numpy"),
        save=options.save,
    )


if __name__ == "__main__":
    main()
