"""Useful tokens per second of biolm's training step against the Hugging Face Trainer's, at roberta-base's size.

Arms, alternating, one optimizer step in every round:

  biolm                 16 passages in a packed row, at biolm's defaults
  biolm_64              the same for a step of 64 passages, which is biolm's default and the model card's 16 x 4
  padded                Trainer, 16 per batch, dynamic padding, its defaults, the model's dropout 0.1
  padded_same_dropout   the same with dropout 0, as biolm
  length_grouped        Trainer, train_sampling_strategy="group_by_length", dropout 0.1
  grouped_512           Trainer, passages concatenated and cut into blocks of 512 (run_mlm's group_texts),
                        8 blocks, dropout 0.1

and, to see where the gain comes from, biolm with one thing taken away:

  no_dropout            hidden and attention dropout 0.1 instead
  head_at_masked        head and last layer at every position, as the stock model computes them
  last_layer_at_masked  the last layer at every position
  fused_layers          layers as transformers writes them, their gradients by autograd
  fused_head            decoder, loss and embedding likewise
  allocator             glibc's default: large blocks mapped anew each time
  packing               16 rows of one passage each, gradients added up: no packing, and no padding either

These differ from biolm by less than the machine does from one minute to the next, where others use it too. So theirs is
the median ratio of costs: of seconds by what the matrix product (below) sustained around them.

Passages are what the model card's data are: abstracts and figure legends of papers, drawn anew in each round from
--papers (without it, from the sample's eight full papers: 25 passages). Those of a round are the same for all arms but
length_grouped: the Trainer's own sampler groups all passages, and the rounds take short, middle and long batches of
its order, so that this arm's ratio is that of all its tokens to all its seconds (of the sample's 25 passages it can
group nothing: give --papers for this arm). The other ratios are medians of
rounds. A token is useful when it belongs to a passage: padding is not.

`peak_fraction`: floating-point operations of the biolm_64 step (formula: `biolm/training/flops.py`) by its seconds, as
a share of what the machine's matrix product of 2048 sustains: all its operations by all seconds of 3 s before and 3 s
after the step, in the same process. `peak_fraction_of_best` takes the best single product of those seconds instead,
which on a machine that others use too is a rate that nothing sustains. Both are given for the step of 16 as well.

Random weights, fp32 on CPU, all cores. Every measurement is a process of its own, so that biolm's setting of the
allocator does not reach the Trainer. What is timed is a later step on the same passages, since the first one also makes
the optimizer's state and touches all memory for the first time: the Trainer's second, biolm's third (its heap, which is
kept, grows in two; the Trainer's memory is mapped anew in every step).

Sizes: ROUNDS x 13 arms, those with one thing taken away in the first three rounds alone; on two cores an arm takes 30
to 100 seconds, so 5 rounds about 50 minutes; cells are kept and an interrupted run goes on.

    python benchmarks/pretrain_throughput.py [--rounds 5] [--papers FOLDER] [--tokenizer FOLDER] [--save]
"""

import argparse
import dataclasses
import functools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    DataCollatorForLanguageModeling,
    RobertaConfig,
    RobertaForMaskedLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.utils import logging as transformers_logging

from biolm.artifacts import cache_folder
from biolm.batches.examples import cut_examples
from biolm.batches.masking import Masker
from biolm.batches.packing import pack_rows
from biolm.model import masked_lm, training_forward
from biolm.model.attention import PACKED
from biolm.model.device import resolve_row_tokens
from biolm.model.families import family_of, shorten_last_layer
from biolm.model.fused_layer import fuse_layers
from biolm.model.memory import keep_large_blocks
from biolm.records import Article
from biolm.sources import read_source
from biolm.sources.sample import PAPERS_MEMBERS, sample_model, sample_papers
from biolm.tokens.store import TokenSplit
from biolm.tokens.tokenizer import Tokenizer, load_tokenizer
from biolm.training.config import PretrainConfig
from biolm.training.flops import Amount, Shape, training_flops
from biolm.training.ranks import Ranks
from biolm.training.step import Trainer as BiolmTrainer
from harness import cell, finish, median

NAME = "pretrain_throughput"
BATCH = 16
POOL = 64
VOCABULARY = 50265  # roberta-base
PEERS = ("padded", "padded_same_dropout", "length_grouped", "grouped_512")
WITHOUT = (
    "no_dropout",
    "head_at_masked",
    "last_layer_at_masked",
    "fused_layers",
    "fused_head",
    "allocator",
    "packing",
)
OURS = ("biolm", "biolm_64")
ARMS = (*OURS, *PEERS, *WITHOUT)
WITHOUT_ROUNDS = 3


def passages(papers: str | None, turn: int) -> list[str]:
    """The main abstracts and figure legends of some papers, in an order that is random for each round."""
    if papers is None:
        full_papers = {member for member in PAPERS_MEMBERS if member.endswith(".nxml")}
        found = read_source(sample_papers(cache_folder()), full_papers)
    else:
        found = read_source(Path(papers))
    texts: list[str] = []
    for article in found:
        if isinstance(article, Article):
            texts += [abstract.text for abstract in article.abstracts[:1]]
            texts += [f"{figure.title} {figure.caption}".strip() for figure in article.figures]
    texts = [text for text in texts if len(text) >= 80]
    return [texts[i] for i in np.random.default_rng(turn).permutation(len(texts))]


def new_model(dropout: float) -> RobertaForMaskedLM:
    """A random roberta-base."""
    torch.manual_seed(0)
    return RobertaForMaskedLM(
        RobertaConfig(
            vocab_size=VOCABULARY,
            max_position_embeddings=514,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    )


def time_biolm(tokenizer: Tokenizer, encoded: list[list[int]], without: str | None) -> dict[str, float]:
    """One step over the passages in rows of biolm's default size, with one thing taken away or none."""
    rate = 0.1 if without == "no_dropout" else 0.0
    config = PretrainConfig(hidden_dropout=rate, attention_dropout=rate)
    model = new_model(rate)
    model.set_attn_implementation(PACKED)
    if without != "last_layer_at_masked":
        shorten_last_layer(model)
    if without != "fused_layers":
        fuse_layers(model)
    if without != "allocator":
        keep_large_blocks()
    trainer = BiolmTrainer(model, Ranks(torch.device("cpu")), config)
    if without in ("fused_head", "head_at_masked"):
        del family_of(model.config).embedding(model).forward
        trainer.parallel.forward.head = None
    if without == "head_at_masked":
        training_forward.logits_at_masked = logits_everywhere
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in encoded])]).astype(np.int64)
    count = len(encoded)
    split = TokenSplit(
        "train",
        np.concatenate(encoded).astype(np.uint16),
        offsets,
        np.arange(count, dtype=np.int32),
        np.zeros(count, np.uint8),
        count,
    )
    examples = cut_examples(split, tokenizer.vocabulary, max_tokens=512)
    masker = Masker(tokenizer.vocabulary, config.masking, purpose="train mask", seed=1)
    index = np.arange(len(examples))
    budget = 1 if without == "packing" else resolve_row_tokens(config.max_row_tokens, torch.device("cpu"))

    for number in range(2):
        trainer.step(
            number, pack_rows(examples, index, masker, epoch=number, max_row_tokens=budget), rate=5e-5
        )
    before = matmul_rates()
    started = time.perf_counter()
    rows = pack_rows(examples, index, masker, epoch=2, max_row_tokens=budget)
    trainer.step(2, rows, rate=5e-5)
    seconds = time.perf_counter() - started
    shape = Shape.of(model.config)
    flops = sum(training_flops(shape, Amount.of(row.lengths, row.masked_per_window, shape)) for row in rows)
    rates = [*before, *matmul_rates()]
    return {
        "tokens": int(examples.lengths(index).sum()),
        "seconds": seconds,
        "flops": flops,
        "peak": len(rates) / sum(1 / rate for rate in rates),
        "best": max(rates),
    }


def logits_everywhere(model: Any, row: masked_lm.RowTensors) -> torch.Tensor:
    """What the stock model does: the whole last layer, the head on every token, and then those that count."""
    whole = dataclasses.replace(row.passages, queries=None)
    hidden = model.base_model(input_ids=row.input_ids, position_ids=row.position_ids, passages=whole)[0][0]
    features = family_of(model.config).features(model, hidden)
    return model.get_output_embeddings()(features).index_select(0, row.masked)


class StepTime(TrainerCallback):
    """How long the last optimizer step took, from its batch being there to its end."""

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self.started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Stop it."""
        self.seconds = time.perf_counter() - self.started


class Counted(DataCollatorForLanguageModeling):
    """The stock collator, which remembers how many useful tokens the first batch had."""

    useful: int | None = None

    def __call__(self, features: Any, return_tensors: Any = None) -> Any:
        """Collate."""
        self.useful = self.useful or sum(len(f["input_ids"]) for f in features)
        return super().__call__(features, return_tensors)


def time_trainer(
    tokenizer: Tokenizer, rows: list[list[int]], *, dropout: float, batch: int, seed: int
) -> dict[str, float]:
    """The second of two Trainer steps; where the data are one batch, that is the second epoch's."""
    data = [{"input_ids": ids} for ids in rows]
    collator = Counted(tokenizer.stock, mlm_probability=0.15)
    clock, model = StepTime(), new_model(dropout)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir="/tmp/biolm-benchmark-trainer",  # noqa: S108  nothing is saved
            per_device_train_batch_size=batch,
            max_steps=2,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="no",
            seed=seed,
            use_cpu=True,
        ),
        data_collator=collator,
        train_dataset=data,
        callbacks=[clock],
    )
    trainer.train()
    return {"tokens": collator.useful or 0, "seconds": clock.seconds}


def blocks(encoded: list[list[int]], size: int = 512) -> list[list[int]]:
    """What run_mlm's group_texts makes: everything concatenated and cut, the remainder dropped."""
    flat = [token for ids in encoded for token in ids]
    return [flat[i : i + size] for i in range(0, len(flat) - size + 1, size)]


def length_grouped_batch(rows: list[list[int]], turn: int, rounds: int) -> list[list[int]]:
    """One batch of the order in which the Trainer's sampler would give these rows.

    Of the batches by length, the one in the middle of the round's share: with three rounds the 1/6, 3/6 and 5/6
    quantile.
    """
    torch.manual_seed(turn)
    order = list(LengthGroupedSampler(BATCH, lengths=[len(row) for row in rows]))
    batches = [order[i : i + BATCH] for i in range(0, len(order) - BATCH + 1, BATCH)]
    batches.sort(key=lambda batch: sum(len(rows[i]) for i in batch))
    return [rows[i] for i in batches[int((turn + 0.5) / rounds * len(batches))]]


def matmul_rates(seconds: float = 3.0) -> list[float]:
    """Of one fp32 matrix product of 2048 after the other, in floating-point operations per second."""
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    rates, until = [], time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        torch.mm(a, b)
        rates.append(2 * 2048**3 / (time.perf_counter() - started))
    return rates


def measure(
    arm: str, turn: int, rounds: int, papers: str | None, tokenizer_folder: str | None
) -> dict[str, float]:
    """One cell of the grid, in this process."""
    transformers_logging.set_verbosity_error()
    tokenizer = load_tokenizer(tokenizer_folder or str(sample_model(cache_folder())))
    vocabulary = tokenizer.vocabulary
    texts = passages(papers, turn)
    if arm != "length_grouped":
        texts = texts[:POOL]
    content = [ids[:510] for ids in tokenizer.encode(texts)]
    whole = [[*vocabulary.prefix, *ids, *vocabulary.suffix] for ids in content]
    if arm not in PEERS:
        count = 4 * BATCH if arm == "biolm_64" else BATCH
        return time_biolm(tokenizer, content[:count], arm if arm in WITHOUT else None)
    rows = whole[:BATCH]
    if arm == "length_grouped":
        rows = length_grouped_batch(whole, turn, rounds)
    elif arm == "grouped_512":
        rows = blocks(whole)
    return time_trainer(
        tokenizer,
        rows,
        dropout=0.0 if arm == "padded_same_dropout" else 0.1,
        batch=8 if arm == "grouped_512" else BATCH,
        seed=turn,
    )


def in_its_own_process(
    arm: str, turn: int, rounds: int, papers: str | None, tokenizer_folder: str | None
) -> dict[str, float]:
    """One cell of the grid, in a fresh process of this script."""
    command = [sys.executable, __file__, "--cell", f"{arm}:{turn}", "--rounds", str(rounds)]
    command += ["--tokenizer", tokenizer_folder] if tokenizer_folder else []
    command += ["--papers", papers] if papers else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def cost(run: dict[str, float]) -> float:
    """Seconds by what the machine sustained around them: the operations that it could have done meanwhile."""
    return run["seconds"] * run["peak"]


def total_speed(runs: list[dict[str, float]]) -> float:
    """All tokens by all seconds."""
    return sum(run["tokens"] for run in runs) / sum(run["seconds"] for run in runs)


def main() -> None:
    """Run what is missing of the grid and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--papers", help="file or folder of papers; the eight full ones of the sample without"
    )
    parser.add_argument("--tokenizer", help="folder of roberta-base's tokenizer; the sample model's without")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--save", action="store_true", help=f"write benchmarks/results/{NAME}.json")
    options = parser.parse_args()
    if options.cell:
        arm, _, turn = options.cell.partition(":")
        print(json.dumps(measure(arm, int(turn), options.rounds, options.papers, options.tokenizer)))
        return
    label = Path(options.papers).resolve().name if options.papers else "sample"
    settings = {"rounds": options.rounds, "papers": options.papers, "tokenizer": options.tokenizer}
    results: dict[str, list[dict[str, float]]] = {arm: [] for arm in ARMS}
    for turn in range(options.rounds):
        for arm in ARMS if turn < WITHOUT_ROUNDS else (*OURS, *PEERS):
            work = functools.partial(
                in_its_own_process, arm, turn, options.rounds, options.papers, options.tokenizer
            )
            results[arm].append(cell(NAME, f"{label}-{arm}-{turn}", settings, work))
            print(f"round {turn + 1}: {arm} {results[arm][-1]}", flush=True)

    speed = {arm: [run["tokens"] / run["seconds"] for run in results[arm]] for arm in ARMS}
    print(f"\n{'arm':<30}{'useful tokens/s (median)':>26}{'min':>9}{'max':>9}{'ratio':>9}")
    result: dict[str, Any] = {}
    for arm in ARMS:
        values = speed[arm]
        ratio = median([ours / theirs for ours, theirs in zip(speed["biolm"], values, strict=False)])
        if arm in WITHOUT:
            pairs = zip(results["biolm"], results[arm], strict=False)
            ratio = median([cost(theirs) / cost(ours) for ours, theirs in pairs])
        if arm == "length_grouped":
            ratio = total_speed(results["biolm"]) / total_speed(results[arm])
        name = f"biolm without: {arm}" if arm in WITHOUT else arm
        print(f"{name:<30}{median(values):>26.1f}{min(values):>9.1f}{max(values):>9.1f}{ratio:>9.2f}")
        if arm in WITHOUT:
            result[f"gain_of_{arm}"] = round(ratio, 3)
            continue
        result[f"tokens_per_second_{arm}"] = round(median(values), 1)
        if arm != "biolm":
            result[f"ratio_{arm}"] = round(ratio, 2)
    for key, arm, peak in (
        ("peak_fraction", "biolm_64", "peak"),
        ("peak_fraction_of_best", "biolm_64", "best"),
        ("peak_fraction_16", "biolm", "peak"),
        ("peak_fraction_16_of_best", "biolm", "best"),
    ):
        result[key] = round(median([run["flops"] / run["seconds"] / run[peak] for run in results[arm]]), 3)
    result["peak_gflops_per_second"] = round(median([run["peak"] for run in results["biolm"]]) / 1e9, 1)
    result["rounds"], result["passages_per_step"] = options.rounds, BATCH
    result["papers"] = label
    result["useful_tokens_per_step"] = median([run["tokens"] for run in results["biolm"]])
    result["tokenizer"] = Path(options.tokenizer).name if options.tokenizer else "sample model"
    print(f"biolm reaches {result['peak_fraction']:.0%} of this machine's matrix product\n")
    finish(NAME, result, ("torch", "transformers", "accelerate", "numpy"), save=options.save)


if __name__ == "__main__":
    main()
