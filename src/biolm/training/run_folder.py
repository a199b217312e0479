"""The folder of a run, of whatever kind of training: what it was started with, and whether it may go on."""

import dataclasses
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from biolm.artifacts import MANIFEST, check_free, clear_leftovers, exclusive, sha256_file, write_json
from biolm.errors import ArtifactError, ConfigError
from biolm.model.device import resolve_row_tokens
from biolm.training.engine_config import EngineConfig, changed
from biolm.training.metrics import Listener
from biolm.training.ranks import Ranks
from biolm.training.trackers import open_trackers

logger = logging.getLogger(__name__)

Config = TypeVar("Config", bound=EngineConfig)
MAY_CHANGE = frozenset(
    {"checkpoint_every", "keep_checkpoints", "max_skipped", "parallel", "prepare_ahead", "track"}
)
"""Settings that a resumed run may be given anew: they do not reach the weights (but for rounding and, where the
ranks change, dropout's draws)."""


@dataclasses.dataclass(frozen=True, slots=True)
class RunKind:
    """One kind of training's folders."""

    name: str
    """In `config.json`: "run"."""
    version: int
    command: str
    """That makes one."""
    config: type[EngineConfig]

    def is_run(self, run: Path) -> bool:
        """Whether a folder is a run of this kind."""
        try:
            value = json.loads((run / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(value, dict) and value.get("kind") == self.name

    def check_out(self, run: Path, *, resume: bool) -> None:
        """Raise ArtifactError unless a run may be started at `run`, or with `resume` gone on with."""
        if not self.is_run(run):
            check_free(run)
        elif not resume:
            raise ArtifactError(
                f"{run} holds a run already; continue it with --resume, or choose another --out"
            )

    def read(self, run: Path) -> dict[str, Any]:
        """The `config.json` of a run folder. Raises ArtifactError where it is none."""
        if not self.is_run(run):
            raise ArtifactError(f"{run} is no run of biolm; make one with `{self.command} --out {run}`")
        value: dict[str, Any] = json.loads((run / "config.json").read_text(encoding="utf-8"))
        return value

    def check_same(
        self, run: Path, started: dict[str, Any], config: EngineConfig, parts: tuple[str, ...]
    ) -> dict[str, Any]:
        """What the run was started with. Raises where that is not what is `started` now, in `parts` and settings."""
        saved = self.read(run)
        if saved.get("version") != self.version:
            raise ArtifactError(
                f"{run} was started by another version of biolm (run format {saved.get('version')}, this one writes "
                f"{self.version}), whose steps cannot be repeated; choose another --out"
            )
        for part in parts:
            if saved.get(part) != started[part]:
                raise ConfigError(
                    f"{run} was started with another {part.replace('_', ' ')}; choose another --out"
                )
        # A setting that was added since is at its default.
        before = {**dataclasses.asdict(self.config()), **saved["config"]}
        settings = {
            name: (getattr(config, name) if name in MAY_CHANGE else value) for name, value in before.items()
        }
        differences = changed(config, settings)
        if differences:
            raise ConfigError(
                f"{run} was started with other settings: {', '.join(differences)}; choose another --out"
            )
        return saved

    def with_row_tokens(self, config: Config, run: Path, ranks: Ranks) -> Config:
        """Where none is given, `max_row_tokens` of the run that goes on, whatever the device; else the device's."""
        if config.max_row_tokens is not None:
            return config
        before = self.read(run)["config"].get("max_row_tokens") if self.is_run(run) else None
        return dataclasses.replace(config, max_row_tokens=before or resolve_row_tokens(None, ranks.device))


def base_facts(folder: Path, name: str) -> dict[str, Any]:
    """A base model by the name that it was given by and the hashes of its weights."""
    return {
        "name": folder.resolve().name if Path(name).expanduser().is_dir() else name,
        "weights": {file.name: sha256_file(file) for file in sorted(folder.glob("*.safetensors"))},
    }


def is_finished(run: Path, ranks: Ranks) -> bool:
    """Whether a run has its model already; what a killed writer left beside that is taken away, and it is said."""
    model = run / "model"
    if not (model / MANIFEST).is_file():
        return False
    logger.info("%s is finished already", run)
    if ranks.first:
        for place in (run, model):
            clear_leftovers(place)
    return True


@contextmanager
def working_in(
    run: Path, started: dict[str, Any], track: tuple[str, ...], ranks: Ranks
) -> Iterator[list[Listener]]:
    """Around a training: the first rank holds the folder, with `started` as its config.json, and the trackers.

    Gives those that are told metrics. Every rank must come here.
    """
    ranks.wait_for_all()  # each has looked at `run` before the first one writes into it
    with ExitStack() as held:
        listeners: list[Listener] = []
        if ranks.first:
            run.mkdir(parents=True, exist_ok=True)
            held.enter_context(exclusive(run))
            clear_leftovers(run)
            write_json(run / "config.json", started)
            if track:
                listeners.append(held.enter_context(open_trackers(track, run, started)))
        yield listeners
