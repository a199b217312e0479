"""Checkpoints without pickle: safetensors and JSON, written aside, checksummed, renamed."""

import dataclasses
import json
import logging
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from biolm.artifacts import (
    new_folder,
    read_manifest,
    sha256_file,
    verify_files,
    write_json,
    write_manifest,
    writing,
)
from biolm.errors import ArtifactError
from biolm.training.optimizer import like, optimizer_state, restore_optimizer
from biolm.training.parallel import whole_tensors
from biolm.training.step import Trainer

logger = logging.getLogger(__name__)
KIND = "checkpoint"
VERSION = 2
STATE = "state.json"
"""All that is no tensor. Beside the manifest, not in it, so that a checksum stands for it too."""
FILES = ("weights.safetensors", "optimizer.safetensors", STATE)
"""What every checkpoint has."""


@dataclass(frozen=True, slots=True)
class Counters:
    """Where a run stands. Batches, masks, dropout and rate of what is to come follow from `step` alone."""

    step: int = 0
    """Optimizer steps done, skipped ones included."""
    tokens: int = 0
    """Tokens seen by the model, special tokens included."""
    masked_tokens: int = 0
    """Tokens predicted."""
    passages: int = 0
    """Windows seen."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Steps whose update was left out, by reason."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One that was read and is whole."""

    path: Path
    counters: Counters
    validation_loss: float | None
    """At this step, or what else the best is found by; None where it was not measured there."""
    guard: Mapping[str, Any]
    others: Mapping[str, Any]
    """What the optimizer keeps that is no tensor."""
    precision: str | None = None
    """In which the run went on to here; None where an older biolm did not say."""
    judge: Mapping[str, Any] = field(default_factory=dict)
    """What the judge of the run remembers."""


def save_checkpoint(
    folder: Path,
    trainer: Trainer,
    counters: Counters,
    *,
    validation_loss: float | None,
    keep: int,
    judge: Mapping[str, Any] | None = None,
) -> None:
    """Write `folder/step-NNNNNNNN`; remove all but the newest `keep` and the one of lowest validation loss.

    `judge`: what has been measured so far, where that decides what comes. Every rank must call; the first one
    writes, on the others weights are only gathered for it. Raises ArtifactError where the disk refuses.
    """
    first = trainer.ranks.first
    tensors, others = optimizer_state(trainer.parallel.parameters, trainer.optimizer)
    weights = whole_tensors(trainer.parallel.parameters, keep=first)
    optimizer = whole_tensors(tensors, keep=first)
    average = whole_tensors(trainer.average.tensors(), keep=first) if trainer.average else {}
    out = folder / f"step-{counters.step:08d}"
    if not first or out.exists():
        return
    with writing(out, SafetensorError), new_folder(out, kind=KIND) as partial:
        save_file(weights, partial / "weights.safetensors")
        save_file(optimizer, partial / "optimizer.safetensors")
        if average:
            save_file(average, partial / "average.safetensors")
        state = {
            "counters": dataclasses.asdict(counters),
            "validation_loss": validation_loss,
            "guard": trainer.guard.state(),
            "optimizer": others,
            "config": dataclasses.asdict(trainer.config),
            "ranks": trainer.ranks.count,
            "precision": trainer.precision,
            **({"judge": dict(judge)} if judge else {}),
        }
        write_json(partial / STATE, state)
        write_manifest(partial, kind=KIND, version=VERSION)
    losses = {path: _loss(path) for path in _newest_first(folder)}
    measured = {path: loss for path, loss in losses.items() if loss is not None}
    best = min(measured, key=lambda path: measured[path]) if measured else None
    for old in list(losses)[keep:]:
        if old != best:
            shutil.rmtree(old)


def find_checkpoint(folder: Path, *, say: bool = True) -> Checkpoint | None:
    """The newest checkpoint whose files are all as its manifest says; damaged ones are passed over, which is `say`d."""
    for path in _newest_first(folder):
        try:
            return open_checkpoint(path)
        except ArtifactError as error:
            if say:
                logger.warning("skipping checkpoint %s: %s", path.name, error)
    return None


def best_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint of lowest validation loss among the whole ones, or None where none was validated."""
    whole = []
    for path in _newest_first(folder):
        if _loss(path) is not None:
            try:
                whole.append(open_checkpoint(path))
            except ArtifactError as error:
                logger.warning("skipping checkpoint %s: %s", path.name, error)
    return min(whole, key=lambda found: found.validation_loss or 0.0) if whole else None


def lowest_criterion(folder: Path) -> float:
    """The lowest `validation_loss` among the checkpoints of a folder; infinite where there is none."""
    losses = [_loss(path) for path in _newest_first(folder)]
    return min((loss for loss in losses if loss is not None), default=math.inf)


def open_checkpoint(path: Path) -> Checkpoint:
    """A checkpoint, all of its checksums verified. Raises ArtifactError."""
    manifest, state = _read(path)
    try:
        damaged = verify_files(path, manifest)
    except OSError as error:
        raise ArtifactError(f"{error.filename or path} cannot be read ({error.strerror})") from None
    if damaged:
        raise ArtifactError(f"{path / damaged[0]} is damaged")
    return Checkpoint(
        path,
        Counters(**state["counters"]),
        state["validation_loss"],
        state["guard"],
        state["optimizer"],
        state.get("precision"),
        state.get("judge", {}),
    )


def drop_checkpoints(folder: Path, *, beyond: int) -> int:
    """Remove checkpoints of steps above `beyond`: a resumed run writes them anew, and they would count as newest.

    What a killed process has not finished goes too. Returns how many checkpoints were removed.
    """
    dropped = [path for path in _newest_first(folder) if int(path.name[5:]) > beyond]
    for path in [*dropped, *folder.glob(".step-*.partial")]:
        shutil.rmtree(path)
    return len(dropped)


def load_checkpoint(checkpoint: Checkpoint, trainer: Trainer) -> None:
    """Put weights, optimizer, average and what the guard knows back as they were, on any number of ranks."""
    load_weights(checkpoint, trainer.parallel.parameters)
    tensors = load_file(checkpoint.path / "optimizer.safetensors")
    restore_optimizer(trainer.parallel.parameters, trainer.optimizer, tensors, checkpoint.others)
    if trainer.average is not None:
        trainer.average.restore(load_file(checkpoint.path / "average.safetensors"))
    trainer.guard.restore(checkpoint.guard)
    if checkpoint.precision not in (None, trainer.precision) and trainer.ranks.first:
        logger.warning(
            "the run went on in %s until here and goes on in %s, which --precision %s stands for on this device",
            checkpoint.precision,
            trainer.precision,
            trainer.config.precision,
        )


def load_weights(
    checkpoint: Checkpoint, parameters: Mapping[str, torch.nn.Parameter], *, averaged: bool = False
) -> None:
    """Put the weights back, or with `averaged` their exponential mean in their place."""
    weights = load_file(checkpoint.path / ("average.safetensors" if averaged else "weights.safetensors"))
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(like(weights[name], parameter))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Manifest and state, after a look at their own bytes and the sizes of the others."""
    manifest = read_manifest(path, kind=KIND, version=VERSION, rebuild="the same command with --resume")
    lacking = [name for name in FILES if name not in manifest.get("files", {})]
    if lacking:
        raise ArtifactError(f"{path} is damaged: its manifest does not name {lacking[0]}")
    try:
        if sha256_file(path / STATE) != manifest["files"][STATE]["sha256"]:
            raise ArtifactError(f"{path / STATE} is damaged")
        return manifest, json.loads((path / STATE).read_bytes())
    except OSError as error:
        raise ArtifactError(f"{path / STATE} cannot be read ({error.strerror})") from None


def _loss(path: Path) -> float | None:
    try:
        loss: float | None = _read(path)[1]["validation_loss"]
    except ArtifactError:
        return None
    return loss


def _newest_first(folder: Path) -> list[Path]:
    def found() -> Iterator[Any]:
        for path in folder.glob("step-*"):
            if path.is_dir() and path.name[5:].isdigit():
                yield path

    return sorted(found(), key=lambda path: int(path.name[5:]), reverse=True)
