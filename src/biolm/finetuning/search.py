"""Learning rate, epochs and windows a step, looked for by Optuna: every trial a run that resumes, every result kept."""

import dataclasses
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from biolm.artifacts import check_free, sha256_json, write_json
from biolm.errors import ConfigError
from biolm.finetuning.config import FinetuneConfig
from biolm.finetuning.run import TaggerData, dev_f1, finetune
from biolm.hub import resolve_folder
from biolm.progress import Progress
from biolm.training.ranks import Ranks
from biolm.training.run_folder import base_facts

if TYPE_CHECKING:
    from optuna import Study

logger = logging.getLogger(__name__)
LR = (1e-5, 1e-3)
"""Between these, by their logarithm: from what large bases want to what small ones do."""
STEPS = (8, 16, 32, 64)
"""Windows a step."""
JOURNAL, RESULTS = "study.jsonl", "search.json"


def search(
    data: TaggerData,
    base: str,
    folder: Path,
    config: FinetuneConfig,
    trials: int,
    progress: Progress,
    *,
    ranks: Ranks,
    tokenizer: str | None = None,
) -> FinetuneConfig:
    """`config` with the learning rate, epochs (2 to its own) and windows a step of the highest dev F1 in `trials`.

    `folder` holds Optuna's journal and the trials' runs; called again, finished trials count and a stopped one goes on
    from its checkpoint. Raises ConfigError without dev documents, on several ranks, for a folder with another search in
    it, or where Optuna is not installed.
    """
    if not data.dev:
        raise ConfigError("--search needs dev documents to compare trials by; give --dev or --dev-share")
    if ranks.count > 1:
        raise ConfigError(
            "--search runs in one process; give the settings that it finds to the training on several"
        )
    study = _study(folder, _identity(data, base, config))
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False):
        if trial.state == TrialState.RUNNING:  # of a process that was killed
            study.tell(trial.number, state=TrialState.FAIL)
    while len(done := _finished(study)) < trials:
        # From the finished trials alone, so that one that was stopped is asked for again, and goes on.
        study.sampler = TPESampler(seed=config.seed + len(done))
        asked = study.ask()
        chosen = dataclasses.replace(
            config,
            lr_peak=asked.suggest_float("lr_peak", *LR, log=True),
            epochs=asked.suggest_int("epochs", min(2, config.epochs), config.epochs),
            examples_per_step=asked.suggest_categorical("examples_per_step", STEPS),
        )
        run = folder / f"trial-{sha256_json(asked.params)[:8]}"
        model = finetune(data, base, run, chosen, progress, resume=True, ranks=ranks, tokenizer=tokenizer)
        f1 = dev_f1(run, model)
        assert f1 is not None  # the best step was looked at, and so is the last one
        study.tell(asked, f1)
        for part in ("checkpoints", "model"):  # its figures stay
            shutil.rmtree(run / part, ignore_errors=True)
        logger.info("trial %s of %s: dev F1 %.4f with %s", len(done) + 1, trials, f1, _said(asked.params))
    best = study.best_trial
    write_json(
        folder / RESULTS,
        {
            "best": {"params": best.params, "dev_f1": best.value},
            "trials": [{"params": each.params, "dev_f1": each.value} for each in _finished(study)],
        },
    )
    logger.info("best of %s: dev F1 %.4f with %s", len(_finished(study)), best.value, _said(best.params))
    return dataclasses.replace(config, **best.params)


def _study(folder: Path, identity: str) -> "Study":
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError:
        raise ConfigError("--search needs Optuna; run `pip install 'biolm[search]'`") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not (folder / JOURNAL).exists():
        check_free(folder)
        folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
        study_name="search",
        direction="maximize",
        load_if_exists=True,
    )
    known = study.user_attrs.get("identity")
    if known is None:
        study.set_user_attr("identity", identity)
    elif known != identity:
        raise ConfigError(
            f"{folder} holds a search with other documents, base or settings; choose another --out"
        )
    return study


def _identity(data: TaggerData, base: str, config: FinetuneConfig) -> str:
    settings: dict[str, Any] = dataclasses.asdict(config)
    facts = base_facts(resolve_folder(base, weights=True), base)
    return sha256_json({"data": data.fingerprint(), "base": facts, "config": settings})


def _finished(study: "Study") -> list[Any]:
    return [each for each in study.get_trials(deepcopy=False) if each.state.name == "COMPLETE"]


def _said(params: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.2g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in params.items()
    )
