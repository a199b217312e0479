"""What is done alike on one rank and on two, for `test_ranks.py` to compare.

python rank_cases.py WHERE    as one of several ranks, whose environment torchrun describes; WHERE is a JSON file
"""

import json
import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from engine import (
    FAMILIES,
    config_of,
    gradients_of,
    passages,
    rotate_in_full_precision,
    steps_of,
    trainer_of,
    weights_of,
)
from safetensors.torch import save_file
from transformers.models.modernbert import modeling_modernbert

from biolm.progress import Silent
from biolm.tokens.store import open_tokens
from biolm.training.loop import train
from biolm.training.parallel import whole_tensors
from biolm.training.ranks import Ranks, join_ranks
from biolm.training.validation import Validation

WAYS = ("ddp", "fsdp")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One or more steps on some texts."""

    family: str = "roberta"
    texts: tuple[str, ...] = field(default_factory=lambda: tuple(passages()))
    dtype: torch.dtype = torch.float64
    settings: dict[str, Any] = field(default_factory=dict)
    steps: int = 1
    rate: float = 0.0


LONG = " ".join(passages(1, seed=9) * 2)
CASES = {
    **{
        f"{family}, {unit}, {shape}, {name}": Case(
            family=family,
            dtype=dtype,
            settings={"mask_unit": unit, "row_shape": shape, "max_row_tokens": 400},
        )
        for family in FAMILIES
        for unit, shape, name, dtype in (
            ("token", "free", "float64", torch.float64),
            ("token", "free", "float32", torch.float32),
            ("word", "fixed", "float64", torch.float64),
        )
    },
    # By this seed the short passage has no masked token.
    "one passage": Case(texts=(LONG,)),
    "one passage without a masked token": Case(texts=("p53",), settings={"seed": 3}),
    "one of two rows has no masked token": Case(texts=(LONG, "p53"), settings={"seed": 3}),
    "rows that do not come out even": Case(texts=tuple(passages(3)), settings={"max_row_tokens": 1}),
    "bf16": Case(dtype=torch.float32, settings={"precision": "bf16", "max_row_tokens": 400}),
    "activations computed again": Case(
        settings={"activation_checkpointing": True, "max_row_tokens": 400}, texts=tuple(passages(12))
    ),
    "adamw, five steps": Case(
        steps=5,
        rate=1e-2,
        settings={"clip_norm": 0.5, "ema_decay": 0.8, "examples_per_step": 12, "layer_lr_decay": 0.7},
    ),
    "stable-adamw, five steps": Case(
        steps=5, rate=1e-2, settings={"optimizer": "stable-adamw", "examples_per_step": 12}
    ),
}
RUN = {
    "epochs": 1,
    "examples_per_step": 10,
    "max_row_tokens": 300,
    "lr_peak": 1e-3,
    "validate_every": 5,
    "checkpoint_every": 5,
    "prepare_ahead": 1,
}


def do(
    case: Case, way: str, ranks: Ranks, folder: Path
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """The facts of each step, and tensors: gradients of the only one, or weights after several, and averages."""
    config = config_of(parallel=way, **case.settings)
    steps = steps_of(folder, case.texts, config)
    trainer = trainer_of(folder, config, dtype=case.dtype, ranks=ranks)
    facts = []
    for number in range(case.steps):
        rows = steps.rows(number, rank=ranks.rank, ranks=ranks.count)
        found = trainer.step(number, rows, rate=case.rate, stop=ranks.rank == ranks.count - 1)
        facts.append({name: getattr(found, name) for name in found.__slots__} | {"rows": len(rows)})
    if case.steps == 1:
        tensors = {f"gradient {name}": tensor for name, tensor in gradients_of(trainer).items()}
    else:  # StableAdamW has taken the gradients for its arithmetic
        tensors = {f"weight {name}": tensor for name, tensor in weights_of(trainer).items()}
    if trainer.average:
        average = whole_tensors(trainer.average.tensors(), keep=True)
        tensors |= {f"average {name}": tensor for name, tensor in average.items()}
    return facts, tensors


def validated(folder: Path, tokens: Path, way: str, ranks: Ranks) -> dict[str, float]:
    """A validation before and after a step: the one after is of the average, the weights are as they were."""
    config = config_of(parallel=way, ema_decay=0.5, max_row_tokens=200)
    trainer = trainer_of(folder, config, ranks=ranks, dtype=torch.float64)
    validation = Validation(trainer, open_tokens(tokens), trainer.config.validation_examples)
    first = validation.measure()
    rows = steps_of(folder, passages(), config).rows(0, rank=ranks.rank, ranks=ranks.count)
    trainer.step(0, rows, rate=0.05)
    before = weights_of(trainer)
    second = validation.measure()
    after = weights_of(trainer)
    assert all(torch.equal(before[name], after[name]) for name in before)
    third = trainer.step(1, rows, rate=0.0)
    return {**first, **{f"averaged {name}": value for name, value in second.items()}, "loss then": third.loss}


def whole_run(folder: Path, tokens: Path, out: Path, way: str, ranks: Ranks) -> dict[str, Any]:
    """A run of a few steps; what the loop says at the end."""
    config = config_of(parallel=way, **RUN)
    model = trainer_of(folder, config).model  # from load_model
    trained = train(model, open_tokens(tokens), out, config, Silent(), ranks=ranks)
    return {
        "steps": trained.steps,
        "done": trained.counters.step,
        "tokens": trained.counters.tokens,
        "mean_loss": trained.mean_loss,
        "wrote": sorted(path.name for path in out.rglob("*")) if out.exists() else [],
    }


def exchanges(folder: Path, way: str, ranks: Ranks) -> dict[str, dict[str, int]]:
    """How often gradients (or numbers) went between the ranks in a step of one row, and in a step of several."""
    found = {}
    for name, budget in (("one row", 100_000), ("rows", 300)):
        config = config_of(parallel=way, max_row_tokens=budget)
        rows = steps_of(folder, passages(), config).rows(0, rank=ranks.rank, ranks=ranks.count)
        assert (len(rows) == 1) == (name == "one row")
        trainer = trainer_of(folder, config, ranks=ranks)
        trainer.step(0, rows, rate=0.0)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
            trainer.step(1, rows, rate=0.0)
        names = [event.name for event in profiled.events()]
        found[name] = {
            kind: sum(kind in name for name in names)
            for kind in ("c10d::allreduce_", "c10d::_reduce_scatter_base_")
        }
    return found


def in_turn(ranks: Ranks) -> tuple[float, float]:
    """When this rank's turn began and ended, by the machine's clock."""
    with ranks.in_turn("a name"):
        began = time.monotonic()
        time.sleep(0.2 if ranks.first else 0.0)
        return began, time.monotonic()


class Stop(Exception):  # noqa: N818
    pass


def left_in_a_hurry() -> None:
    """Join the others, train, and leave by an exception that holds on to what was trained."""
    with join_ranks("cpu") as ranks:
        model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2), gradient_as_bucket_view=True)
        model(torch.ones(1, 2)).sum().backward()
        ranks.wait_for_all()
        raise Stop


def main() -> None:
    """Everything, with what came out beside WHERE."""
    where = Path(sys.argv[1])
    given = json.loads(where.read_text())
    modeling_modernbert.apply_rotary_pos_emb = rotate_in_full_precision
    folders = {family: Path(given[family]) for family in FAMILIES}
    tokens = Path(given["tokens"])
    with join_ranks(given.get("device", "cpu")) as ranks:
        said: dict[str, Any] = {"turn": in_turn(ranks)}
        for way in WAYS:
            for name, case in CASES.items():
                facts, tensors = do(case, way, ranks, folders[case.family])
                said[f"{way}: {name}"] = facts
                save_file(tensors, where.parent / f"{way} {name} {ranks.rank}.safetensors")
            said[f"validation {way}"] = validated(folders["roberta"], tokens, way, ranks)
            said[f"exchanges {way}"] = exchanges(folders["roberta"], way, ranks)
            out = where.parent / f"{way} run of {ranks.rank}"
            said[f"run {way}"] = whole_run(folders["roberta"], tokens, out, way, ranks)
        (where.parent / f"said {ranks.rank}.json").write_text(json.dumps(said))
    for port in given["ports"]:
        os.environ["MASTER_PORT"] = str(port)
        with suppress(Stop):
            left_in_a_hurry()


if __name__ == "__main__":
    main()
