"""Taggers of chemicals and diseases: biolm against a run_ner-style Trainer, and further training against none.

Arms, each on BC5CDR-chem, BC5CDR-disease and NCBI-disease, with SEEDS seeds:

  biolm      `biolm finetune` from --base: sentences with reconstructed spacing, packed rows
  trainer    the Hugging Face Trainer as transformers' run_ner example sets it up, from the same base: words apart
             (is_split_into_words), a label on the first token of each, batches padded to their longest sentence
  further    as biolm, from --further: the same base, further trained by `biolm pretrain` on papers of which none is in
             the three sets (docs/tagging.md has the commands)

On NCBI-disease also two ablations of how text reaches the model:

  spaced     as biolm, but words joined by single spaces, as datasets of split words are usually read
  documents  as biolm, from the corpus as it was published: whole abstracts, mentions by character offsets

and for biolm, spaced and documents how well their taggers do on the test abstracts as published ("on_documents").

All arms: EPOCHS epochs, BATCH sentences a step, learning rate LR, warm-up over a tenth, linear decay, the base's hidden
dropout; biolm without attention dropout (its default), the Trainer with the base's. The weights after the last epoch
are taken, dev sets choose nothing. Scored alike: exact spans and types over the test sentences, the Trainer's words put
together by conlleval's rules.

Speed is measured apart, since the grid takes hours in which the machine does other things too: SPEED_SENTENCES training
sentences of each set, one epoch, each arm in its own process, alternating over ROUNDS rounds; training alone is timed.

Sizes: 27 + 6 cells of 3 to 20 minutes on two cores, and ROUNDS x 3 x 2 short ones. Every cell is one file under
benchmarks/cells/ner, kept until its settings change; a stopped cell of biolm's goes on from its checkpoint.

    python benchmarks/ner.py --data FOLDER --base FOLDER --further FOLDER [--only ARM,...] [--save]
"""

import argparse
import dataclasses
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from biolm.annotations.read import read_documents
from biolm.chunks import chunks_of
from biolm.finetuning.config import FinetuneConfig
from biolm.finetuning.run import TaggerData, finetune
from biolm.mentions import Document, Mention
from biolm.progress import Lines, Silent
from biolm.tagging.pairs import paired
from biolm.tagging.report import score
from biolm.tagging.scores import count_table
from biolm.tagging.seen import names_in
from biolm.tagging.tagger import Tagger
from biolm.tagging.tasks import task_of
from biolm.training.metrics import read_metrics
from harness import HERE, finish, median

NAME = "ner"
SETS = ("BC5CDR-chem", "BC5CDR-disease", "NCBI-disease")
ABLATED = "NCBI-disease"
SEEDS = (1, 2, 3)
EPOCHS, BATCH, LR = 3, 32, 5e-4
ROUNDS, SPEED_SENTENCES = 3, 768
REPLICATES = 10_000
GRID = ("biolm", "trainer", "further")
ABLATIONS = ("spaced", "documents")


def split_file(data: Path, name: str, split: str, arm: str) -> Path:
    """Where a split of a set lies."""
    if arm == "documents":
        part = {"train": "train", "devel": "develop", "test": "test"}[split]
        return data / f"{name}-original" / f"NCBI{part}set_corpus.txt"
    return data / f"{name}-IOB" / f"{split}.tsv"


def documents(data: Path, name: str, split: str, arm: str) -> list[Document]:
    """A split as an arm reads it. The four types of the published NCBI corpus are one, as in the IOB files."""
    found = read_documents(
        split_file(data, name, split, arm), spacing="words" if arm == "spaced" else "reconstructed"
    ).documents
    if arm != "documents":
        return found
    return [
        dataclasses.replace(
            each, mentions=tuple(dataclasses.replace(mention, type="Disease") for mention in each.mentions)
        )
        for each in found
    ]


def config_of(seed: int, **changes: Any) -> FinetuneConfig:
    """What biolm's arms train with."""
    return FinetuneConfig(
        seed=seed,
        epochs=EPOCHS,
        examples_per_step=BATCH,
        lr_peak=LR,
        final_weights="last",
        threads=torch.get_num_threads(),
        **changes,
    )


def facts_of(
    gold: Sequence[Document], predicted: Sequence[Document], known: frozenset[Any]
) -> dict[str, Any]:
    """Scores of a prediction, and the counts of each document, by which intervals over seeds are made."""
    pairs = paired(gold, predicted)
    report = score(pairs, known=known)
    table = count_table(pairs)
    return {
        "report": report.as_dict(),
        "counts": [[int(n) for n in row] for row in table.counts.sum(1)],
        "ids": hashlib.sha256("\n".join(table.ids).encode()).hexdigest(),
    }


def run_biolm(arm: str, name: str, seed: int, data: Path, base: Path, work: Path) -> dict[str, Any]:
    """A tagger of biolm's on one set, trained and scored."""
    task = task_of("any")
    own = TaggerData.of(documents(data, name, "train", arm), [], task)
    run = work / f"{arm}-{name}-{seed}"
    model = finetune(own, str(base), run, config_of(seed), Lines(), resume=True)
    tagger = Tagger.load(str(model))
    known = names_in(example.document for example in own.train)
    test = documents(data, name, "test", arm)
    result = {
        **_scored(tagger, test, known),
        "mentions_not_exact": json.loads((model / "manifest.json").read_text())["trained"]["not_exact"],
    }
    if name == ABLATED and arm != "further":
        whole = documents(data, name, "test", "documents")
        result["on_documents"] = _scored(tagger, whole, known)["report"]["strict"]["micro"]
    steps = [line for line in read_metrics(run) if "train/loss" in line]
    return {**result, "tokens": steps[-1]["train/tokens"], "steps": len(steps)}


def _scored(tagger: Tagger, gold: list[Document], known: frozenset[Any]) -> dict[str, Any]:
    found = tagger.tag([document.text for document in gold])
    said = [
        dataclasses.replace(document, mentions=tuple(mentions))
        for document, mentions in zip(gold, found, strict=True)
    ]
    return facts_of(gold, said, known)


def words_of(document: Document) -> list[str]:
    """The words that a document came in."""
    assert document.words is not None
    return [document.text[start:end] for start, end in document.words]


def tags_of(document: Document, types: Sequence[str]) -> list[int]:
    """Its IOB2 tags, by number: O, then B and I of each type."""
    assert document.words is not None
    starts = {start: number for number, (start, _) in enumerate(document.words)}
    ends = {end: number for number, (_, end) in enumerate(document.words)}
    tags = [0] * len(document.words)
    for mention in document.mentions:
        first, last = starts[mention.start], ends[mention.end]
        kind = 1 + 2 * types.index(mention.type)
        tags[first] = kind
        tags[first + 1 : last + 1] = [kind + 1] * (last - first)
    return tags


def trainer_of(
    train: list[Document], base: Path, seed: int, folder: str, epochs: float
) -> tuple[Any, Any, list[str]]:
    """What run_ner would make: a Trainer, its tokenizer, the names of the tags."""
    from transformers import (
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(seed)
    types = sorted({mention.type for document in train for mention in document.mentions})
    names = ["O", *(f"{part}-{kind}" for kind in types for part in "BI")]
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForTokenClassification.from_pretrained(
        base,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )
    rows = []
    for document in train:
        encoded = tokenizer(words_of(document), truncation=True, is_split_into_words=True)
        tags, before, labels = tags_of(document, types), None, []
        for word in encoded.word_ids():
            labels.append(-100 if word is None or word == before else tags[word])
            before = word
        rows.append(
            {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"], "labels": labels}
        )
    arguments = TrainingArguments(
        output_dir=folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=BATCH,
        learning_rate=LR,
        warmup_ratio=0.1,
        weight_decay=0.01,
        seed=seed,
        report_to="none",
        save_strategy="no",
        logging_steps=50,
        disable_tqdm=True,
        use_cpu=True,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        data_collator=DataCollatorForTokenClassification(tokenizer),
    )
    return trainer, tokenizer, names


def run_trainer(name: str, seed: int, data: Path, base: Path) -> dict[str, Any]:
    """The Trainer's tagger on one set, trained and scored on the same documents."""
    train, test = documents(data, name, "train", "trainer"), documents(data, name, "test", "trainer")
    with tempfile.TemporaryDirectory() as folder:
        trainer, tokenizer, names = trainer_of(train, base, seed, folder, EPOCHS)
        trainer.train()
        model = trainer.model.eval()
    said = []
    for first in range(0, len(test), BATCH):
        block = test[first : first + BATCH]
        encoded = tokenizer(
            [words_of(document) for document in block],
            truncation=True,
            is_split_into_words=True,
            padding=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            best = model(**encoded).logits.argmax(-1).numpy()
        for number, document in enumerate(block):
            tags = ["O"] * len(document.words or ())
            for place, word in reversed(list(enumerate(encoded.word_ids(number)))):
                if word is not None:
                    tags[word] = names[best[number, place]]  # of its tokens the first is written last
            assert document.words is not None
            mentions = tuple(
                Mention(document.words[begin][0], document.words[end - 1][1], kind)
                for begin, end, kind in chunks_of(tags)
            )
            said.append(dataclasses.replace(document, mentions=mentions))
    return facts_of(test, said, names_in(train))


def time_biolm(name: str, data: Path, base: Path) -> float:
    """Seconds of an epoch over the first sentences of a set: the steps' own times, batches and updates included."""
    own = TaggerData.of(documents(data, name, "train", "biolm")[:SPEED_SENTENCES], [], task_of("any"))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = dataclasses.replace(config_of(1), epochs=1, checkpoint_every=10**6)
        finetune(own, str(base), run, settings, Silent(), resume=False)
        return float(sum(line.get("speed/seconds_per_step", 0.0) for line in read_metrics(run)))


def time_trainer(name: str, data: Path, base: Path) -> float:
    """Seconds of `Trainer.train` on the same."""
    train = documents(data, name, "train", "trainer")[:SPEED_SENTENCES]
    with tempfile.TemporaryDirectory() as folder:
        trainer, _, _ = trainer_of(train, base, 1, folder, 1)
        return float(trainer.train().metrics["train_runtime"])


def kept(name: str, settings: dict[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A cell of the grid, from its file where it was computed before under the same settings."""
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    path = HERE / "cells" / NAME / f"{name}-{key}.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    started = time.perf_counter()
    result = {
        **work(),
        "seconds": round(time.perf_counter() - started, 1),
        "commit": commit(),
        "settings": settings,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result))
    partial.rename(path)
    return result


def commit() -> str:
    """The revision that computes."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip()[:12]


def weights_of(folder: Path) -> str:
    """What tells one base from another."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def f1_of(counts: np.ndarray) -> np.ndarray:
    """F1 in points from (..., 3) sums of gold, predicted and correct."""
    return 100 * 2 * counts[..., 2] / np.maximum(1, counts[..., 0] + counts[..., 1])


def gain(first: dict[str, list[Any]], second: dict[str, list[Any]]) -> dict[str, Any]:
    """Mean gain in F1 of `first` over `second`, in points: the mean over sets of the means over seeds.

    Its interval: test documents are drawn again with replacement, the same for both arms, and the seeds of each arm
    too; each set by itself. 95 %, percentiles.
    """
    sets: dict[str, Any] = {}
    draws_of_all = []
    for at, name in enumerate(first):
        ours, theirs = (np.array([cell["counts"] for cell in arm[name]], np.int64) for arm in (first, second))
        assert {cell["ids"] for cell in first[name]} == {cell["ids"] for cell in second[name]}
        value = float(f1_of(ours.sum(1)).mean() - f1_of(theirs.sum(1)).mean())
        generator = np.random.default_rng([5, at])
        draws = np.empty(REPLICATES)
        count = ours.shape[1]
        for replicate in range(REPLICATES):
            weights = np.bincount(generator.integers(count, size=count), minlength=count)
            a = f1_of(np.einsum("d,sdk->sk", weights, ours))
            b = f1_of(np.einsum("d,sdk->sk", weights, theirs))
            a, b = (part[generator.integers(len(part), size=len(part))] for part in (a, b))
            draws[replicate] = a.mean() - b.mean()
        draws_of_all.append(draws)
        low, high = np.percentile(draws, [2.5, 97.5])
        sets[name] = {"gain": value, "low": float(low), "high": float(high)}
    mean = np.mean(draws_of_all, axis=0)
    low, high = np.percentile(mean, [2.5, 97.5])
    return {
        "mean": float(np.mean([each["gain"] for each in sets.values()])),
        "low": float(low),
        "high": float(high),
        "sets": sets,
    }


def arm_summary(cells: dict[str, list[Any]]) -> dict[str, Any]:
    """F1 in points by set and seed, and the means."""
    found: dict[str, Any] = {}
    for name, own in cells.items():
        micro = [cell["report"]["strict"]["micro"] for cell in own]
        values = [100 * each["f1"] for each in micro]
        found[name] = {
            "f1": values,
            "mean": float(np.mean(values)),
            "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "precision": float(np.mean([100 * each["precision"] for each in micro])),
            "recall": float(np.mean([100 * each["recall"] for each in micro])),
            "unseen_recall": float(
                np.mean([100 * cell["report"]["seen"]["unseen"]["recall"] for cell in own])
            ),
            "interval_of_first_seed": [
                100 * own[0]["report"]["intervals"]["f1"][side] for side in ("low", "high")
            ],
        }
        if "on_documents" in own[0]:
            found[name]["f1_on_documents"] = [100 * cell["on_documents"]["f1"] for cell in own]
    return found


def main() -> None:
    """Compute what is missing of the grid, print the table, and with --save keep the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the three sets")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--further", type=Path, default=None)
    parser.add_argument(
        "--work", type=Path, default=HERE / "cells" / NAME / "runs", help="runs that can go on"
    )
    parser.add_argument(
        "--only", default=None, help="arms to compute: biolm,trainer,further,spaced,documents,speed"
    )
    parser.add_argument("--speed-arm", nargs=2, metavar=("ARM", "SET"), default=None, help=argparse.SUPPRESS)
    parser.add_argument("--save", action="store_true")
    given = parser.parse_args()
    if given.speed_arm:
        arm, name = given.speed_arm
        print((time_biolm if arm == "biolm" else time_trainer)(name, given.data, given.base))
        return
    only = given.only.split(",") if given.only else [*GRID, *ABLATIONS, "speed"]
    shared = {"epochs": EPOCHS, "batch": BATCH, "lr": LR}
    cells: dict[str, dict[str, list[Any]]] = {}
    for seed in SEEDS:
        for arm in [*GRID, *ABLATIONS]:
            for name in SETS if arm in GRID else (ABLATED,):
                base = given.further if arm == "further" else given.base
                if arm not in only or base is None:
                    continue
                settings = {**shared, "arm": arm, "set": name, "seed": seed, "weights": weights_of(base)}
                work = (
                    (lambda n=name, s=seed: run_trainer(n, s, given.data, given.base))
                    if arm == "trainer"
                    else (lambda a=arm, n=name, s=seed, b=base: run_biolm(a, n, s, given.data, b, given.work))
                )
                found = kept(f"{arm}-{name}-{seed}", settings, work)
                cells.setdefault(arm, {}).setdefault(name, []).append(found)
                f1 = 100 * found["report"]["strict"]["micro"]["f1"]
                print(f"{arm:10} {name:15} seed {seed}: F1 {f1:.2f} ({found['seconds']:.0f} s)", flush=True)
    result: dict[str, Any] = {}
    if {"biolm", "further"} <= cells.keys():
        result["mean_gain_over_base_f1"] = (over_base := gain(cells["further"], cells["biolm"]))["mean"]
        result["gain_over_base"] = over_base
    if {"biolm", "trainer"} <= cells.keys():
        result["mean_gain_over_baseline_f1"] = (over := gain(cells["biolm"], cells["trainer"]))["mean"]
        result["gain_over_baseline"] = over
    if "speed" in only:
        seconds = speed(given)
        ratios = {name: median(arms["trainer"]) / median(arms["biolm"]) for name, arms in seconds.items()}
        result["speedup_over_baseline"] = median(list(ratios.values()))
        result["speed"] = {"ratios": ratios, "seconds": seconds, "sentences": SPEED_SENTENCES}
    result["arms"] = {arm: arm_summary(own) for arm, own in cells.items()}
    result["settings"] = {**shared, "seeds": list(SEEDS), "rounds": ROUNDS}
    result["commits"] = sorted(
        {cell["commit"] for own in cells.values() for each in own.values() for cell in each}
    )
    finish(NAME, result, ("torch", "transformers"), save=given.save)


def speed(given: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Seconds by set and arm, one for each round."""
    seconds: dict[str, dict[str, list[float]]] = {name: {"biolm": [], "trainer": []} for name in SETS}
    for round_ in range(ROUNDS):
        for name in SETS:
            for arm in ("biolm", "trainer") if round_ % 2 == 0 else ("trainer", "biolm"):
                settings = {
                    "arm": arm,
                    "set": name,
                    "round": round_,
                    "sentences": SPEED_SENTENCES,
                    "batch": BATCH,
                    "commit": commit(),
                }

                def work(arm: str = arm, name: str = name) -> dict[str, Any]:
                    command = [sys.executable, __file__, "--data", str(given.data), "--base", str(given.base)]
                    done = subprocess.run(
                        [*command, "--speed-arm", arm, name], capture_output=True, text=True, check=True
                    )
                    return {"training_seconds": float(done.stdout.split()[-1])}

                found = kept(f"speed-{arm}-{name}-{round_}", settings, work)["training_seconds"]
                seconds[name][arm].append(found)
                print(
                    f"{arm:10} {name:15} round {round_}: {found:.1f} s an epoch of {SPEED_SENTENCES}",
                    flush=True,
                )
    return seconds


if __name__ == "__main__":
    main()
