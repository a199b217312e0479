"""A run's folder: what it was started with, whether it may go on, and the model that it leaves."""

import dataclasses
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from biolm.artifacts import (
    writing,
)
from biolm.errors import ArtifactError, ModelError
from biolm.hub import resolve_folder
from biolm.model.device import choose_device
from biolm.model.folder import save_model
from biolm.model.loading import has_head, load_model
from biolm.progress import Progress
from biolm.tokens.store import TokenStore
from biolm.tokens.tokenizer import Tokenizer, check_belongs
from biolm.tokens.words import word_table
from biolm.training.config import PretrainConfig
from biolm.training.final import final_weights
from biolm.training.loop import train
from biolm.training.ranks import Ranks
from biolm.training.run_folder import RunKind, base_facts, is_finished, working_in
from biolm.training.show import masked_passage
from biolm.training.trackers import check_trackers

logger = logging.getLogger(__name__)
RUN_KIND = "run"
VERSION = 2
RUN = RunKind(RUN_KIND, VERSION, "biolm pretrain CORPUS", PretrainConfig)
check_out, read_run = RUN.check_out, RUN.read


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
    config = RUN.with_row_tokens(config, run, ranks)
    if "train" not in store.splits:
        raise ArtifactError(f"{store.name} has no training split; {store.remedy}")
    started = _started_with(store, base, folder, config, recipe)
    model_folder = run / "model"
    check_out(run, resume=resume)
    if RUN.is_run(run):
        saved = RUN.check_same(run, started, config, ("base", "data", "tokenizer_hash"))
        if recipe is None and "recipe" in saved:
            started["recipe"] = saved["recipe"]  # the settings are those of it still
        if is_finished(run, ranks):
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
    with working_in(run, started, config.track, ranks) as listeners:
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


def _started_with(
    store: TokenStore,
    base: str,
    folder: Path,
    config: PretrainConfig,
    recipe: Mapping[str, Any] | None,
) -> dict[str, Any]:
    return {
        "kind": RUN_KIND,
        "version": VERSION,
        "base": {**base_facts(folder, base), "language_model_head": has_head(folder)},
        "data": {"tokens": store.fingerprint, **store.manifest["corpus"]},
        "tokenizer_hash": store.vocabulary.hash,
        "config": json.loads(json.dumps(dataclasses.asdict(config))),
        **({"recipe": dict(recipe)} if recipe else {}),
    }
