"""Checkpoints without pickle: safetensors and JSON, written aside, checksummed, renamed."""

import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from biolm.artifacts import new_folder, read_manifest, verify_files, write_manifest
from biolm.errors import ArtifactError
from biolm.training.optimizer import optimizer_tensors, restore_optimizer

logger = logging.getLogger(__name__)
KIND = "checkpoint"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Counters:
    """Where a run stands; the batches and masks to come follow from `step` alone."""

    step: int = 0
    """Optimizer steps done."""
    tokens: int = 0
    """Tokens seen by the model, special tokens included."""
    masked_tokens: int = 0
    """Tokens predicted."""
    passages: int = 0
    """Windows seen."""


def save_checkpoint(
    folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, counters: Counters, *, keep: int
) -> Path:
    """Write `folder/step-NNNNNNNN` and remove all but the newest `keep`."""
    out = folder / f"step-{counters.step:08d}"
    if out.exists():
        return out
    with new_folder(out, kind=KIND) as partial:
        weights = {
            name: parameter.detach().cpu().contiguous() for name, parameter in model.named_parameters()
        }
        save_file(weights, partial / "weights.safetensors")
        save_file(optimizer_tensors(model, optimizer), partial / "optimizer.safetensors")
        save_file(_random_state(), partial / "random.safetensors")
        facts = {field: getattr(counters, field) for field in Counters.__slots__}
        write_manifest(partial, kind=KIND, version=VERSION, counters=facts)
    for old in _newest_first(folder)[keep:]:
        shutil.rmtree(old)
    return out


def find_checkpoint(folder: Path) -> tuple[Path, Counters] | None:
    """The newest checkpoint whose files are all as its manifest says; damaged ones are named and passed over."""
    for path in _newest_first(folder):
        problem = None
        try:
            manifest = read_manifest(path, kind=KIND, version=VERSION, rebuild="biolm pretrain")
            damaged = verify_files(path, manifest)
            if damaged:
                problem = f"{damaged[0]} is damaged"
        except ArtifactError as error:
            problem = str(error)
        if problem is None:
            return path, Counters(**manifest["counters"])
        logger.warning("skipping checkpoint %s: %s", path.name, problem)
    return None


def drop_checkpoints(folder: Path, *, beyond: int) -> None:
    """Remove checkpoints of steps above `beyond`: a resumed run writes them anew, and they would count as newest."""
    for path in _newest_first(folder):
        if int(path.name[5:]) > beyond:
            shutil.rmtree(path)


def load_checkpoint(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put weights, optimizer and torch's random state back as they were."""
    weights = load_file(path / "weights.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])
    restore_optimizer(model, optimizer, load_file(path / "optimizer.safetensors"))
    for name, state in load_file(path / "random.safetensors").items():
        if name == "cpu":
            torch.set_rng_state(state)
        elif torch.cuda.is_available():
            torch.cuda.set_rng_state(state)


def _random_state() -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _newest_first(folder: Path) -> list[Path]:
    def found() -> Iterator[Any]:
        for path in folder.glob("step-*"):
            if path.is_dir() and path.name[5:].isdigit():
                yield path

    return sorted(found(), key=lambda path: int(path.name[5:]), reverse=True)
