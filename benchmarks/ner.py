"""Taggers of chemicals and diseases: biolm against a run_ner-style Trainer, and further training against none.

Arms, each on BC5CDR-chem, BC5CDR-disease and NCBI-disease, with SEEDS seeds:

  biolm      `biolm finetune` from --base: sentences with reconstructed spacing, packed rows
  trainer    the Hugging Face Trainer as transformers' run_ner example sets it up, from the same base: words apart
             (is_split_into_words), a label on the first token of each, batches padded to their longest sentence
  further    as biolm, from --further: the same base, further trained by `biolm pretrain` on papers of which none is in
             the three sets (docs/tagging.md has the commands)

On NCBI-disease also two ablations of how text reaches the model:

  spaced     as biolm, but words joined by single spaces, as datasets of split words are usually read; to a WordPiece
             tokenizer, which sees no spaces, the same
  documents  as biolm, from the corpus as it was published: whole abstracts, mentions by character offsets

and how well taggers of sentences (biolm) and of abstracts (documents) do on the test abstracts as published, in windows
of up to 512 tokens and in windows as long as training's ("on_abstracts").

All arms: EPOCHS epochs, BATCH sentences a step (ABSTRACTS abstracts, which have as many words), learning rate LR,
warm-up over a tenth, linear decay, the base's hidden dropout; biolm without attention dropout (its default), the
Trainer with the base's. The weights after the last epoch are taken, dev sets choose nothing. Scored alike: exact spans
and types over the test sentences, the Trainer's words put together by conlleval's rules.

Speed is measured apart, since the grid takes hours in which the machine does other things too: SPEED_SENTENCES training
sentences of each set, one epoch, each arm in its own process, alternating over ROUNDS rounds; timed from the end of the
first step to the end of the last. A third arm is the Trainer without attention dropout, which biolm trains without.

Intervals of the gains (95 %) have two parts, joined as independent ones are: test sentences, drawn again in blocks of
BLOCK neighbours (the files do not say where abstracts end; they have about ten sentences), the same for both arms, and
for BC5CDR's two sets, which are the same sentences, at once; and the seeds' spread by Student's t.

Sizes: 27 + 6 cells of 3 to 20 minutes on two cores, and ROUNDS x 3 x 3 short ones. Every cell is one file under
benchmarks/cells/ner, kept until its settings, data, base or the packages' versions change; a stopped cell of biolm's
goes on from its checkpoint. The learning rate was chosen by biolm's F1 on NCBI-disease's dev sentences (2e-4: 82.0,
5e-4: 82.5).

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
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from biolm.annotations.read import read_documents
from biolm.chunks import chunks_of
from biolm.finetuning.config import FinetuneConfig
from biolm.finetuning.run import TaggerData, finetune
from biolm.finetuning.windows import label_windows, settings_at_use
from biolm.mentions import Document, Mention
from biolm.progress import Lines, Silent
from biolm.tagging.pairs import paired
from biolm.tagging.report import score
from biolm.tagging.scores import count_table
from biolm.tagging.seen import names_in
from biolm.tagging.tagger import Tagger
from biolm.tagging.tasks import task_of
from biolm.training.metrics import read_metrics
from harness import HERE, finish, median, stored

NAME = "ner"
SETS = ("BC5CDR-chem", "BC5CDR-disease", "NCBI-disease")
ABLATED = "NCBI-disease"
SEEDS = (1, 2, 3)
EPOCHS, BATCH, ABSTRACTS, LR = 3, 32, 4, 5e-4
ROUNDS, SPEED_SENTENCES = 3, 768
REPLICATES, BLOCK = 2000, 10
GRID = ("biolm", "trainer", "further")
ABLATIONS = ("spaced", "documents")
SPEED_ARMS = ("biolm", "trainer", "trainer_plain_attention")
SHARED = {"epochs": EPOCHS, "batch": BATCH, "lr": LR}


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


def config_of(seed: int, arm: str = "biolm") -> FinetuneConfig:
    """What an arm of biolm's trains with."""
    return FinetuneConfig(
        seed=seed,
        epochs=EPOCHS,
        examples_per_step=ABSTRACTS if arm == "documents" else BATCH,
        lr_peak=LR,
        final_weights="last",
        threads=torch.get_num_threads(),
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
        "counts": [[int(n) for n in row] for row in table.counts.sum(1)],  # by document, in their order
        "ids": hashlib.sha256("\n".join(table.ids).encode()).hexdigest(),
    }


def run_biolm(arm: str, name: str, seed: int, data: Path, base: Path, run: Path) -> dict[str, Any]:
    """A tagger of biolm's on one set, trained and scored."""
    task = task_of("any")
    own = TaggerData.of(documents(data, name, "train", arm), [], task)
    model = finetune(own, str(base), run, config_of(seed, arm), Lines(), resume=True)
    tagger = Tagger.load(str(model))
    known = names_in(example.document for example in own.train)
    test = documents(data, name, "test", arm)
    result = {
        **_scored(tagger, test, known),
        "mentions_not_exact": json.loads((model / "manifest.json").read_text())["trained"]["not_exact"],
    }
    steps = [line for line in read_metrics(run) if "train/loss" in line]
    return {**result, "tokens": steps[-1]["train/tokens"], "steps": len(steps)}


def run_on_abstracts(arm: str, data: Path, model: Path) -> dict[str, Any]:
    """F1 in points of a tagger on the published test abstracts, by how long its windows are."""
    tagger = Tagger.load(str(model))
    config = config_of(1, arm)
    whole = dataclasses.replace(tagger.settings, max_tokens=config.max_tokens, overlap=config.overlap)
    content, overlap = whole.content(config.max_tokens, tagger.tokenizer.vocabulary.around)
    train = TaggerData.of(documents(data, ABLATED, "train", arm), [], task_of("any")).train
    windows = label_windows(train, tagger.labels, tagger.tokenizer, content_tokens=content, overlap=overlap)
    gold = documents(data, ABLATED, "test", "documents")
    found: dict[str, Any] = {}
    for name, settings in (("whole", whole), ("as_trained", settings_at_use(whole, windows))):
        tagger.settings = settings
        micro = _scored(tagger, gold, frozenset())["report"]["strict"]["micro"]
        found[name] = {
            "f1": 100 * micro["f1"],
            "max_tokens": settings.max_tokens,
            "overlap": settings.overlap,
        }
    return found


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
        warmup_steps=0.1,  # below 1 a share of all steps
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
    """Seconds of an epoch over the first sentences of a set, from the end of the first step on."""
    own = TaggerData.of(documents(data, name, "train", "biolm")[:SPEED_SENTENCES], [], task_of("any"))
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = dataclasses.replace(config_of(1), epochs=1, checkpoint_every=10**6)
        finetune(own, str(base), run, settings, Silent(), resume=False)
        steps = [line["speed/seconds_per_step"] for line in read_metrics(run) if "train/loss" in line]
        return float(sum(steps[1:]))


def time_trainer(name: str, data: Path, base: Path, *, attention_dropout: bool = True) -> float:
    """The same of `Trainer.train`."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *_: object, **__: object) -> None:
            self.ends.append(time.perf_counter())

    train = documents(data, name, "train", "trainer")[:SPEED_SENTENCES]
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer, _, _ = trainer_of(train, base, 1, folder, 1)
        if not attention_dropout:
            for layer in trainer.model.base_model.encoder.layer:
                layer.attention.self.dropout.p = 0.0
        trainer.add_callback(clock)
        trainer.train()
    return clock.ends[-1] - clock.ends[0]


def kept(name: str, settings: dict[str, Any], work: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """A cell of the grid, from its file where it was computed before under the same settings and versions.

    `work` gets the cell's key, by which its run can be found again.
    """
    settings = {**settings, "versions": {package: version(package) for package in ("torch", "transformers")}}
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]

    def facts() -> dict[str, Any]:
        started = time.perf_counter()
        found = work(key)
        seconds = round(time.perf_counter() - started, 1)
        return {**found, "seconds": seconds, "commit": commit(), "settings": settings}

    return {**stored(HERE / "cells" / NAME / f"{name}-{key}.json", facts), "key": key}


def commit() -> str:
    """The revision that computes, "+" behind it where files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--abbrev=12", "--dirty=+"],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def hash_of(files: Sequence[Path]) -> str:
    """What tells one base, or one set, from another."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def f1_of(counts: np.ndarray) -> np.ndarray:
    """F1 in points from (..., 3) sums of gold, predicted and correct."""
    return 100 * 2 * counts[..., 2] / np.maximum(1, counts[..., 0] + counts[..., 1])


def gain(first: dict[str, list[Any]], second: dict[str, list[Any]]) -> dict[str, Any]:
    """Gain in F1 of `first` over `second`, in points: the mean over sets of the means over seeds, with intervals."""
    arms = [
        {name: np.array([cell["counts"] for cell in own], np.int64) for name, own in arm.items()}
        for arm in (first, second)
    ]
    sets, draws = {}, {}
    for name in first:
        ours, theirs = (f1_of(arm[name].sum(1)) for arm in arms)
        draws[name] = block_draws(*(arm[name] for arm in arms))
        variances = [part.var(ddof=1) / len(part) if len(part) > 1 else 0.0 for part in (ours, theirs)]
        sets[name] = {"gain": float(ours.mean() - theirs.mean()), "seed_variance": float(sum(variances))}
        sets[name] |= interval(sets[name]["gain"], draws[name], sets[name]["seed_variance"], len(ours))
    mean = float(np.mean([each["gain"] for each in sets.values()]))
    variance = sum(each["seed_variance"] for each in sets.values()) / len(sets) ** 2
    seeds = min(len(own) for own in first.values())
    return {
        "mean": mean,
        **interval(mean, np.mean(list(draws.values()), axis=0), variance, seeds),
        "sets": sets,
    }


def block_draws(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(replicates,) differences of the mean F1 over seeds, of (seeds, documents, 3) counts.

    Documents are drawn again in blocks of neighbours, by a generator that is the same for sets of equally many.
    """
    count = ours.shape[1]
    blocks = np.arange(count) // BLOCK
    generator = np.random.default_rng([5, count])
    drawn = generator.integers(blocks[-1] + 1, size=(REPLICATES, blocks[-1] + 1))
    sums = []
    for counts in (ours, theirs):
        of_block = np.stack([np.add.reduceat(one, np.arange(0, count, BLOCK), axis=0) for one in counts])
        sums.append(f1_of(of_block[:, drawn].sum(2)).mean(0))
    return sums[0] - sums[1]


def interval(value: float, draws: np.ndarray, seed_variance: float, seeds: int) -> dict[str, float]:
    """95 %: the sides of the documents' interval and of the seeds', joined as independent errors are."""
    low, high = (abs(side - value) for side in np.percentile(draws, [2.5, 97.5]))
    of_seeds = STUDENT[2 * (seeds - 1)] * seed_variance**0.5 if seeds > 1 else float("nan")
    return {"low": value - float(np.hypot(low, of_seeds)), "high": value + float(np.hypot(high, of_seeds))}


STUDENT = {2: 4.303, 4: 2.776, 6: 2.447, 8: 2.306, 18: 2.101}
"""97.5 % quantiles of Student's t by degrees of freedom: of two means of n seeds 2 (n - 1)."""


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
            "precision": float(np.mean([100 * (each["precision"] or 0.0) for each in micro])),
            "recall": float(np.mean([100 * (each["recall"] or 0.0) for each in micro])),
            "unseen_recall": float(
                np.mean([100 * cell["report"]["seen"]["unseen"]["recall"] for cell in own])
            ),
            "interval_of_first_seed": [
                100 * own[0]["report"]["intervals"]["f1"][side] for side in ("low", "high")
            ],
        }
        if "on_abstracts" in own[0]:
            found[name]["on_abstracts"] = [cell["on_abstracts"] for cell in own]
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
        if arm == "biolm":
            print(time_biolm(name, given.data, given.base))
        else:
            print(time_trainer(name, given.data, given.base, attention_dropout=arm == "trainer"))
        return
    if given.save and given.only:
        parser.error("--save keeps the whole grid; leave --only out")
    only = given.only.split(",") if given.only else [*GRID, *ABLATIONS, "speed"]
    cells = grid(given, only)
    result: dict[str, Any] = {}
    for key, ours, theirs in (("base", "further", "biolm"), ("baseline", "biolm", "trainer")):
        if {ours, theirs} <= cells.keys():
            found = gain(cells[ours], cells[theirs])
            result[f"mean_gain_over_{key}_f1"] = found["mean"]
            result[f"gain_over_{key}"] = found
    if "speed" in only:
        seconds = speed(given)
        ratios = {
            arm: {name: median(arms[arm]) / median(arms["biolm"]) for name, arms in seconds.items()}
            for arm in SPEED_ARMS[1:]
        }
        result["speedup_over_baseline"] = median(list(ratios["trainer"].values()))
        result["speed"] = {"ratios": ratios, "seconds": seconds, "sentences": SPEED_SENTENCES}
    result["arms"] = {arm: arm_summary(own) for arm, own in cells.items()}
    result["settings"] = {**SHARED, "seeds": list(SEEDS), "rounds": ROUNDS}
    each = [cell for own in cells.values() for found in own.values() for cell in found]
    result["commits"] = sorted({cell["commit"] for cell in each})
    finish(NAME, result, ("torch", "transformers"), save=given.save)


def grid(given: argparse.Namespace, only: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    """The cells by arm and set, one for each seed."""
    cells: dict[str, dict[str, list[Any]]] = {}
    for seed in SEEDS:
        for arm in [*GRID, *ABLATIONS]:
            base = given.further if arm == "further" else given.base
            if arm not in only or base is None:
                continue
            for name in SETS if arm in GRID else (ABLATED,):
                found = grid_cell(arm, name, seed, given.data, base, given.work)
                cells.setdefault(arm, {}).setdefault(name, []).append(found)
                f1 = 100 * found["report"]["strict"]["micro"]["f1"]
                print(f"{arm:10} {name:15} seed {seed}: F1 {f1:.2f} ({found['seconds']:.0f} s)", flush=True)
    return cells


def grid_cell(arm: str, name: str, seed: int, data: Path, base: Path, work: Path) -> dict[str, Any]:
    """One arm on one set with one seed; with what its tagger does on abstracts, where that is asked."""
    settings = {
        **SHARED,
        "arm": arm,
        "set": name,
        "seed": seed,
        "base": hash_of(sorted(base.glob("*.safetensors"))),
        "data": hash_of([split_file(data, name, split, arm) for split in ("train", "test")]),
        "config": "the Trainer's" if arm == "trainer" else dataclasses.asdict(config_of(seed, arm)),
    }
    if arm == "trainer":
        return kept(f"{arm}-{name}-{seed}", settings, lambda _: run_trainer(name, seed, data, base))

    def run_of(key: str) -> Path:
        return work / f"{arm}-{name}-{seed}-{key}"

    found = kept(
        f"{arm}-{name}-{seed}", settings, lambda key: run_biolm(arm, name, seed, data, base, run_of(key))
    )
    if name != ABLATED or arm not in ("biolm", "documents"):
        return found
    used = kept(
        f"on_abstracts-{arm}-{seed}",
        {**settings, "use": [512, "as trained"]},
        lambda _: run_on_abstracts(arm, data, run_of(found["key"]) / "model"),
    )
    return {**found, "on_abstracts": {part: used[part] for part in ("whole", "as_trained")}}


def speed(given: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Seconds by set and arm, one for each round."""
    seconds: dict[str, dict[str, list[float]]] = {name: {arm: [] for arm in SPEED_ARMS} for name in SETS}
    for round_ in range(ROUNDS):
        for name in SETS:
            for arm in SPEED_ARMS if round_ % 2 == 0 else SPEED_ARMS[::-1]:
                settings = {
                    "arm": arm,
                    "set": name,
                    "round": round_,
                    "sentences": SPEED_SENTENCES,
                    "batch": BATCH,
                    "commit": commit(),
                }

                def work(_key: str, arm: str = arm, name: str = name) -> dict[str, Any]:
                    command = [sys.executable, __file__, "--data", str(given.data), "--base", str(given.base)]
                    done = subprocess.run(
                        [*command, "--speed-arm", arm, name], stdout=subprocess.PIPE, text=True, check=True
                    )
                    return {"training_seconds": float(done.stdout.split()[-1])}

                found = kept(f"speed-{arm}-{name}-{round_}", settings, work)["training_seconds"]
                seconds[name][arm].append(found)
                print(f"{arm:22} {name:15} round {round_}: {found:.1f} s", flush=True)
    return seconds


if __name__ == "__main__":
    main()
