"""Useful tokens per second of biolm pretraining on one GPU against the Hugging Face Trainer's, at roberta-base's size.

Arms, alternating, all in bf16 autocast with fp32 weights, steps of 64 passages (the model card's 4 x 16):

  biolm_4k            `train`, the whole loop of `biolm pretrain`, in rows of 4,096 tokens
  biolm               the same in rows of 16,384 tokens, biolm's default on a GPU
  biolm_256           the same in steps of 256 passages and rows of 32,768 tokens
  biolm_compiled      rows of 16,384 tokens of one shape, torch.compile's default mode
  biolm_graphs        the same, torch.compile's mode reduce-overhead (CUDA graphs)
  padded              Trainer, 64 per batch, dynamic padding, the model's dropout 0.1
  padded_accumulated  Trainer, 16 per batch, 4 batches accumulated (what the card's 16 per device is on one GPU)
  padded_same_dropout Trainer, 64 per batch, dropout 0, as biolm
  length_grouped      Trainer, 64 per batch, train_sampling_strategy="group_by_length", dropout 0.1
  grouped_512         Trainer, passages concatenated and cut into blocks of 512 (run_mlm's group_texts), 32 per batch
  grouped_512_compiled  the same with torch_compile=True: every batch has one shape

The Trainer gets four workers for its batches and its default attention (SDPA); a token is useful when it belongs to a
passage. Each measurement takes STEPS steps after WARM_UP, from the end of the last warm-up step to the end of the last
step, the device waited for at both; what compiles does so before. biolm's are the `speed/...` lines of the run's own
metrics.jsonl, batches and all.

`flops_utilization`: floating-point operations of biolm's steps (formula: `biolm/training/flops.py`) by their seconds,
as a share of what a bf16 product of 8192 reaches on the device just before.

Sizes: 2 rounds x 11 arms of 50 steps: about 5 minutes on an H100. Results are written after each measurement, so a run
that is stopped leaves what it has.

    python benchmarks/pretrain_gpu.py --tokens STORE --tokenizer FOLDER [--rounds 2] [--out FILE]
"""

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import (
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging as transformers_logging

from biolm.errors import ModelError
from biolm.model.loading import load_model
from biolm.progress import Silent
from biolm.tokens.store import TokenStore, open_tokens
from biolm.tokens.tokenizer import Tokenizer, load_tokenizer
from biolm.training.config import PretrainConfig
from biolm.training.loop import train
from biolm.training.speed import matmul_peak
from harness import finish, median
from pretrain_throughput import new_model

NAME = "pretrain_gpu"
STEPS, WARM_UP = 40, 10
COMMON = {"device": "cuda", "precision": "bf16", "validation_examples": 64, "epochs": 1000}
FIXED = {"max_row_tokens": 16384, "row_shape": "fixed"}
OURS: dict[str, dict[str, Any]] = {
    "biolm_4k": {"max_row_tokens": 4096},
    "biolm": {"max_row_tokens": 16384},
    "biolm_256": {"max_row_tokens": 32768, "examples_per_step": 256},
    "biolm_compiled": {**FIXED, "compile": "default"},
    "biolm_graphs": {**FIXED, "compile": "reduce-overhead"},
}
PEERS: dict[str, dict[str, Any]] = {
    "padded": {},
    "padded_accumulated": {"batch": 16, "accumulate": 4},
    "padded_same_dropout": {"dropout": 0.0},
    "length_grouped": {"grouped": True},
    "grouped_512": {"blocks": True, "batch": 32},
    "grouped_512_compiled": {"blocks": True, "batch": 32, "compiled": True},
}


def save_base(folder: Path, tokenizer: Tokenizer) -> None:
    """A random roberta-base and its tokenizer."""
    new_model(0.1).save_pretrained(folder)
    tokenizer.stock.save_pretrained(folder)


def time_biolm(base: Path, store: TokenStore, changes: dict[str, Any]) -> dict[str, float]:
    """A run of `train`, from the speed that it writes into its own metrics."""
    many = 10**9
    config = PretrainConfig(
        **COMMON, **changes, max_steps=WARM_UP + STEPS, validate_every=many, checkpoint_every=many
    )
    model = load_model(base, hidden_dropout=0.0, attention_dropout=0.0)
    with tempfile.TemporaryDirectory() as folder:
        torch.cuda.reset_peak_memory_stats()
        train(model, store, Path(folder), config, Silent())
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "speed/seconds_per_step" in line][WARM_UP:]
    seconds = sum(line["speed/seconds_per_step"] for line in steps)
    tokens = sum(line["speed/seconds_per_step"] * line["speed/tokens_per_second"] for line in steps)
    return {
        "tokens": round(tokens),
        "seconds": seconds,
        "flops_utilization": statistics.mean(line["speed/flops_utilization"] for line in steps),
        "data_wait_seconds": sum(line["speed/data_wait_seconds"] for line in steps),
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30,
        "loss": steps[-1]["train/loss"],
    }


class Clock(TrainerCallback):
    """Seconds from the end of the last warm-up step to that of the last step."""

    def __init__(self) -> None:
        """Stopped."""
        self.seconds = 0.0

    def on_step_end(self, _: Any, state: Any, __: Any, **___: Any) -> None:
        """Look at the clock where the measurement begins and ends."""
        if state.global_step in (WARM_UP, WARM_UP + STEPS):
            torch.cuda.synchronize()
            self.seconds = time.perf_counter() - self.seconds


class Counting(Trainer):
    """The Trainer, which also counts the tokens of its batches that are no padding."""

    def __init__(self, **settings: Any) -> None:
        """As the stock one."""
        super().__init__(**settings)
        self.useful: list[torch.Tensor] = []

    def training_step(self, model: Any, inputs: dict[str, torch.Tensor], *others: Any) -> torch.Tensor:
        """One micro-batch; nobody waits for the count."""
        self.useful.append(inputs["attention_mask"].sum())
        return super().training_step(model, inputs, *others)


def time_trainer(
    tokenizer: Tokenizer,
    passages: list[list[int]],
    *,
    batch: int = 64,
    accumulate: int = 1,
    dropout: float = 0.1,
    grouped: bool = False,
    blocks: bool = False,
    compiled: bool = False,
) -> dict[str, float]:
    """A run of the Trainer over the passages."""
    rows = passages
    if blocks:
        flat = [token for ids in passages for token in ids]
        rows = [flat[i : i + 512] for i in range(0, len(flat) - 511, 512)]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Counting(
            model=new_model(dropout),
            args=TrainingArguments(
                output_dir=folder,
                per_device_train_batch_size=batch,
                gradient_accumulation_steps=accumulate,
                max_steps=WARM_UP + STEPS,
                bf16=True,
                train_sampling_strategy="group_by_length" if grouped else "random",
                torch_compile=compiled,
                dataloader_num_workers=4,
                dataloader_drop_last=True,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                logging_strategy="no",
            ),
            data_collator=DataCollatorForLanguageModeling(tokenizer.stock, mlm_probability=0.15),
            train_dataset=[{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows],
            callbacks=[clock],
        )
        torch.cuda.reset_peak_memory_stats()
        trainer.train()
    return {
        "tokens": int(torch.stack(trainer.useful[WARM_UP * accumulate :]).sum()),
        "seconds": clock.seconds,
        "memory_gib": torch.cuda.max_memory_allocated() / 2**30,
    }


def main() -> None:
    """Run all arms and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=Path, required=True, help="token store of roberta-base's tokenizer")
    parser.add_argument("--tokenizer", required=True, help="folder of roberta-base's tokenizer")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--limit", type=float, help="begin no measurement after so many seconds")
    parser.add_argument("--arms", help="only these, comma-separated")
    parser.add_argument("--out", type=Path, help="file for the results, also of a run that is stopped")
    parser.add_argument("--save", action="store_true", help=f"write benchmarks/results/{NAME}.json")
    options = parser.parse_args()
    transformers_logging.set_verbosity_error()
    tokenizer, store = load_tokenizer(options.tokenizer), open_tokens(options.tokens)
    vocabulary, split = tokenizer.vocabulary, store.split("train")
    passages = [
        [*vocabulary.prefix, *map(int, split.ids[first:last][:510]), *vocabulary.suffix]
        for first, last in zip(split.offsets[:-1], split.offsets[1:], strict=True)
    ]
    arms = options.arms.split(",") if options.arms else [*OURS, *PEERS]
    if unknown := set(arms) - {*OURS, *PEERS}:
        parser.error(f"no such arms: {', '.join(sorted(unknown))}")
    runs: dict[str, dict[int, dict[str, float]]] = {arm: {} for arm in arms}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        save_base(base, tokenizer)
        for turn, arm in itertools.product(range(options.rounds), arms):
            if options.limit and time.monotonic() - began > options.limit:
                break
            try:
                if arm in OURS:
                    found = time_biolm(base, store, OURS[arm])
                else:
                    found = time_trainer(tokenizer, passages, **PEERS[arm])
            except (ModelError, RuntimeError) as error:  # the other arms' numbers are worth having
                print(f"round {turn + 1}: {arm} failed: {error}", flush=True)
                continue
            finally:
                torch.cuda.empty_cache()
            runs[arm][turn] = found
            rate = found["tokens"] / found["seconds"]
            print(f"round {turn + 1}: {arm:<22}{rate:>12,.0f} tokens/s  {found}", flush=True)
            if options.out:
                options.out.write_text(json.dumps(runs, indent=2) + "\n")
    if not any(runs.values()):
        raise SystemExit("nothing was measured")
    result = summary({arm: found for arm, found in runs.items() if found})
    finish(NAME, result, ("torch", "transformers", "accelerate", "numpy"), save=options.save)


def summary(runs: dict[str, dict[int, dict[str, float]]]) -> dict[str, Any]:
    """Medians of tokens per second, and of `biolm`'s over each peer's in the rounds that have both."""
    rates = {
        arm: {turn: run["tokens"] / run["seconds"] for turn, run in found.items()}
        for arm, found in runs.items()
    }
    result: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "rounds": max(map(len, rates.values())),
        "bf16_tflops_per_second": round(matmul_peak(torch.device("cuda"), "bf16", seconds=1.0) / 1e12, 1),
    }
    for arm, values in rates.items():
        result[f"tokens_per_second_{arm}"] = round(median([*values.values()]))
        result[f"memory_gib_{arm}"] = round(max(run["memory_gib"] for run in runs[arm].values()), 2)
        both = [turn for turn in values if turn in rates.get("biolm", {})]
        if arm in PEERS and both:
            ratios = [rates["biolm"][turn] / values[turn] for turn in both]
            result[f"ratio_{arm}"] = round(median(ratios), 2)
        if arm in OURS:
            utilization = [run["flops_utilization"] for run in runs[arm].values()]
            result[f"flops_utilization_{arm}"] = round(median(utilization), 3)
    return result


if __name__ == "__main__":
    main()
