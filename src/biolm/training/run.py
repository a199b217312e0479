"""A run's folder: what it was started with, whether it may go on, and the model that it leaves."""

import dataclasses
import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from biolm.artifacts import (
    MANIFEST,
    check_free,
    clear_leftovers,
    exclusive,
    sha256_file,
    write_json,
    writing,
)
from biolm.errors import ArtifactError, ConfigError, ModelError
from biolm.hub import resolve_folder
from biolm.model.device import choose_device, resolve_row_tokens
from biolm.model.folder import save_model
from biolm.model.loading import has_head, load_model
from biolm.progress import Progress
from biolm.tokens.store import TokenStore
from biolm.tokens.tokenizer import Tokenizer, check_belongs
from biolm.tokens.words import word_table
from biolm.training.config import PretrainConfig, changed
from biolm.training.final import final_weights
from biolm.training.loop import train
from biolm.training.ranks import Ranks
from biolm.training.show import masked_passage
from biolm.training.trackers import check_trackers, open_trackers

logger = logging.getLogger(__name__)
RUN_KIND = "run"
VERSION = 2
MAY_CHANGE = frozenset(
    {"checkpoint_every", "keep_checkpoints", "max_skipped", "parallel", "prepare_ahead", "track"}
)
"""Settings that a resumed run may be given anew: they do not reach the weights (but for rounding and, where the
ranks change, dropout's draws)."""


def pretrain(
    store: TokenStore,
    tokenizer: Tokenizer,
    base: str,
    run: Path,
    config: PretrainConfig,
    progress: Progress,
    *,
    resume: bool,
    ranks: Ranks | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> Path:
    """Further-train the model `base` (folder or Hub name) on a token store; returns the folder `run/model`.

    `run` must be new, or with `resume` a run with the same settings, data and base, which goes on from its
    newest valid checkpoint (one that has none yet starts anew; a finished one is left as it is). It may go on
    with another number of `ranks`. `recipe`: what the settings were made from, for the card.
    Raises ArtifactError, ConfigError or ModelError before anything is written; Stopped where it was asked to stop.
    """
    check_trackers(config.track)
    folder = resolve_folder(base, weights=True)
    check_belongs(tokenizer, folder)
    if store.vocabulary.hash != tokenizer.vocabulary.hash:
        raise ModelError(f"{store.folder} was tokenized by another tokenizer than {tokenizer.name}")
    ranks = ranks or Ranks(choose_device(config.device))
    config = _with_row_tokens(config, run, ranks)
    if "train" not in store.splits:
        raise ArtifactError(f"{store.name} has no training split; {store.remedy}")
    started = _started_with(store, base, folder, config, recipe)
    model_folder = run / "model"
    check_out(run, resume=resume)
    if _is_run(run):
        saved = _check_same(run, started, config)
        if recipe is None and "recipe" in saved:
            started["recipe"] = saved["recipe"]  # the settings are those of it still
        if (model_folder / MANIFEST).is_file():
            logger.info("%s is finished already", run)
            if ranks.first:
                for place in (run, model_folder):
                    clear_leftovers(place)
            return model_folder

    def loaded() -> Any:
        return load_model(
            folder,
            unigram_counts=store.unigram_counts(),
            hidden_dropout=config.hidden_dropout,
            attention_dropout=config.attention_dropout,
        )

    if not started["base"]["language_model_head"]:
        logger.info("%s has no language-model head: a new one starts from the corpus's unigrams", folder.name)
    ranks.wait_for_all()  # each has looked at `run` before the first one writes into it
    with ExitStack() as held:
        listeners: list[Any] = []
        if ranks.first:
            run.mkdir(parents=True, exist_ok=True)
            held.enter_context(exclusive(run))
            clear_leftovers(run)
            write_json(run / "config.json", started)
            if config.track:
                listeners.append(held.enter_context(open_trackers(config.track, run, started)))
        trained = train(
            loaded(),
            store,
            run,
            config,
            progress,
            ranks=ranks,
            words=word_table(tokenizer) if config.mask_unit == "word" else None,
            listeners=listeners,
            show=lambda row: logger.info("a masked passage: %s", masked_passage(row, tokenizer)),
        )
        if ranks.first:
            model = loaded()  # what was trained may lie in shards
            step = final_weights(run, config, dict(model.named_parameters()), last_step=trained.counters.step)
            facts = {
                "steps": trained.counters.step,
                "weights_of_step": step,
                "tokens": trained.counters.tokens,
                "masked_tokens": trained.counters.masked_tokens,
                "passages": trained.counters.passages,
                "truncated_tokens": trained.truncated_tokens,
                "skipped_steps": dict(trained.counters.skipped),
                "ranks": ranks.count,
                "loss": trained.mean_loss,
            }
            with writing(model_folder, SafetensorError):
                save_model(
                    model,
                    tokenizer.stock,
                    model_folder,
                    tokenizer_hash=tokenizer.vocabulary.hash,
                    **{
                        part: started[part]
                        for part in ("base", "data", "config", "recipe")
                        if part in started
                    },
                    trained=facts,
                )
    return model_folder


def _with_row_tokens(config: PretrainConfig, run: Path, ranks: Ranks) -> PretrainConfig:
    """Where none is given, `max_row_tokens` of the run that goes on, on whatever device; of a new one, the device's."""
    if config.max_row_tokens is not None:
        return config
    before = read_run(run)["config"].get("max_row_tokens") if _is_run(run) else None
    return dataclasses.replace(config, max_row_tokens=before or resolve_row_tokens(None, ranks.device))


def check_out(run: Path, *, resume: bool) -> None:
    """Raise ArtifactError unless a run may be started at `run`, or with `resume` gone on with."""
    if not _is_run(run):
        check_free(run)
    elif not resume:
        raise ArtifactError(f"{run} holds a run already; continue it with --resume, or choose another --out")


def read_run(run: Path) -> dict[str, Any]:
    """The `config.json` of a run folder. Raises ArtifactError where it is none."""
    if not _is_run(run):
        raise ArtifactError(f"{run} is no run of biolm; make one with `biolm pretrain CORPUS --out {run}`")
    value: dict[str, Any] = json.loads((run / "config.json").read_text(encoding="utf-8"))
    return value


def _started_with(
    store: TokenStore,
    base: str,
    folder: Path,
    config: PretrainConfig,
    recipe: Mapping[str, Any] | None,
) -> dict[str, Any]:
    weights = {file.name: sha256_file(file) for file in sorted(folder.glob("*.safetensors"))}
    return {
        "kind": RUN_KIND,
        "version": VERSION,
        "base": {
            "name": folder.resolve().name if Path(base).expanduser().is_dir() else base,
            "weights": weights,
            "language_model_head": has_head(folder),
        },
        "data": {"tokens": store.fingerprint, **store.manifest["corpus"]},
        "tokenizer_hash": store.vocabulary.hash,
        "config": json.loads(json.dumps(dataclasses.asdict(config))),
        **({"recipe": dict(recipe)} if recipe else {}),
    }


def _is_run(run: Path) -> bool:
    try:
        value = json.loads((run / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and value.get("kind") == RUN_KIND


def _check_same(run: Path, started: dict[str, Any], config: PretrainConfig) -> dict[str, Any]:
    """What the run was started with. Raises where that is not what is `started` now."""
    saved = read_run(run)
    if saved.get("version") != VERSION:
        raise ArtifactError(
            f"{run} was started by another version of biolm (run format {saved.get('version')}, this one writes "
            f"{VERSION}), whose steps cannot be repeated; choose another --out"
        )
    for part in ("base", "data", "tokenizer_hash"):
        if saved.get(part) != started[part]:
            raise ConfigError(
                f"{run} was started with another {part.replace('_', ' ')}; choose another --out"
            )
    # A setting that was added since is at its default.
    before = {**dataclasses.asdict(PretrainConfig()), **saved["config"]}
    settings = {
        name: (getattr(config, name) if name in MAY_CHANGE else value) for name, value in before.items()
    }
    differences = changed(config, settings)
    if differences:
        raise ConfigError(
            f"{run} was started with other settings: {', '.join(differences)}; choose another --out"
        )
    return saved
