"""A fine-tuning's folder: from a base and annotated documents to a tagger."""

import dataclasses
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from biolm.artifacts import writing
from biolm.errors import ConfigError, InputError
from biolm.finetuning.config import FinetuneConfig
from biolm.finetuning.dev import DevDocuments
from biolm.finetuning.parts import FinetuneData, freeze, module_of, save_tagger
from biolm.finetuning.windows import label_windows, settings_at_use
from biolm.mentions import Document
from biolm.model.device import choose_device
from biolm.model.families import token_limit
from biolm.model.folder import read_model_manifest
from biolm.model.memory import keep_large_blocks
from biolm.model.token_classifier import load_token_classifier
from biolm.progress import Progress
from biolm.tagging.labels import LabelSet
from biolm.tagging.settings import TaggerSettings
from biolm.tagging.tasks import Example, Task, examples, types_of
from biolm.tokens.tokenizer import resolve_model
from biolm.training.final import final_weights
from biolm.training.loop import run_steps
from biolm.training.metrics import read_metrics
from biolm.training.ranks import Ranks
from biolm.training.run_folder import RunKind, base_facts, is_finished, working_in
from biolm.training.step import Trainer
from biolm.training.trackers import check_trackers

logger = logging.getLogger(__name__)
FINETUNING = RunKind("fine-tuning", 1, "biolm finetune TRAIN", FinetuneConfig)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TaggerData:
    """What a tagger is made from."""

    train: Sequence[Example]
    dev: Sequence[Example]
    """May be empty."""
    task: Task
    types: tuple[str, ...]
    """Of mentions, in the order of the labels."""
    spacing: str = "reconstructed"
    """How words that came apart were joined in the documents; the tagger's folder says it."""
    lost: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Mentions of the training documents that are in no example, by reason."""

    @classmethod
    def of(
        cls,
        train: Iterable[Document],
        dev: Iterable[Document],
        task: Task,
        *,
        spacing: str = "reconstructed",
    ) -> "TaggerData":
        """Documents as a task sees them. Raises InputError where the training documents have nothing to learn."""
        lost: Counter[str] = Counter()
        own = list(examples(train, task, lost))
        types = task.types or types_of([example.document for example in own])
        if not any(mention.type in types for example in own for mention in example.document.mentions):
            wanted = f"of the types {', '.join(types)}" if types else "at all"
            raise InputError(
                f"the {len(own)} training documents have no mentions {wanted}; give others, or another --task"
            )
        return cls(
            train=own, dev=list(examples(dev, task)), task=task, types=types, spacing=spacing, lost=lost
        )

    def fingerprint(self) -> str:
        """SHA-256 over texts, mentions and hidden entities: another order is other data."""
        digest = hashlib.sha256()
        for example in [*self.train, None, *self.dev]:
            value = dataclasses.asdict(example) if example else None
            digest.update(json.dumps(value, sort_keys=True, default=dict).encode())
        return digest.hexdigest()


def finetune(
    data: TaggerData,
    base: str,
    run: Path,
    config: FinetuneConfig,
    progress: Progress,
    *,
    resume: bool,
    ranks: Ranks | None = None,
    tokenizer: str | None = None,
    facts: dict[str, Any] | None = None,
) -> Path:
    """Train a tagger from `base` (folder or Hub name of any model that biolm knows); returns `run/model`.

    `run` must be new, or with `resume` one with the same settings, data and base, which goes on from its newest
    valid checkpoint. `facts` (names of files, ...) go into its config.json and the model's manifest. Raises
    ArtifactError, ConfigError, InputError or ModelError before anything is written; Stopped where it was asked to stop.
    """
    check_trackers(config.track)
    if not data.dev:
        if config.patience is not None:
            raise ConfigError(
                "patience is about dev F1, and there are no dev documents; give some, or leave it out"
            )
        config = dataclasses.replace(config, final_weights="last")
    folder, own = resolve_model(base, tokenizer, instead=True)
    ranks = ranks or Ranks(choose_device(config.device))
    config = FINETUNING.with_row_tokens(config, run, ranks)
    labels = LabelSet.iob2(data.types, starts_only=data.types if data.task.starts_only else ())
    FINETUNING.check_out(run, resume=resume)
    started = {
        "kind": FINETUNING.name,
        "version": FINETUNING.version,
        "base": base_facts(folder, base),
        "data": {"documents": data.fingerprint(), "task": data.task.name, "labels": list(labels.names)},
        "tokenizer_hash": own.vocabulary.hash,
        "config": json.loads(json.dumps(dataclasses.asdict(config))),
        "facts": facts or {},
    }
    model_folder = run / "model"
    if FINETUNING.is_run(run):
        FINETUNING.check_same(run, started, config, ("base", "data", "tokenizer_hash"))
        if is_finished(run, ranks):
            return model_folder
    load = partial(
        load_token_classifier,
        folder,
        labels=labels.names,
        seed=config.seed,
        crf=config.crf,
        hidden_dropout=config.hidden_dropout,
        attention_dropout=config.attention_dropout,
    )
    model = load()
    freeze(model, config.freeze_layers)
    limit = token_limit(model.config)
    settings = TaggerSettings(
        task=data.task.name,
        max_tokens=min(config.max_tokens, limit),
        overlap=config.overlap,
        scheme="IOB2",
        spacing=data.spacing,
    )
    content, overlap = settings.content(limit, own.vocabulary.around)
    windows = label_windows(data.train, labels, own, content_tokens=content, overlap=overlap)
    if not len(windows):
        raise InputError(f"the {len(data.train)} training documents hold no words; give others")
    settings = settings_at_use(settings, windows)
    if windows.lost:
        logger.warning(
            "of %s mentions, labels cannot say exactly %s",
            f"{windows.mentions:,}",
            ", ".join(f"{count:,} ({why})" for why, count in sorted(windows.lost.items())),
        )
    with working_in(run, started, config.track, ranks) as listeners:
        ranks.share_cores(config.threads)
        keep_large_blocks()
        work = FinetuneData(model, windows, config, ranks)
        paced = dataclasses.replace(
            config,
            validate_every=config.validate_every or work.per_epoch,
            checkpoint_every=config.checkpoint_every or work.per_epoch,
        )
        trainer = Trainer(model, ranks, paced, module_of(config, windows.label_counts(len(labels.names))))
        judge = DevDocuments(trainer, own, settings, data.dev, patience=config.patience)
        trained = run_steps(trainer, work, judge, run, progress, name="finetune", listeners=listeners)
        if ranks.first:
            final = load()
            step = final_weights(run, config, dict(final.named_parameters()), last_step=trained.counters.step)
            with writing(model_folder, SafetensorError):
                save_tagger(
                    final,
                    own,
                    model_folder,
                    settings,
                    **{part: started[part] for part in ("base", "data", "config", "facts")},
                    trained={
                        "steps": trained.counters.step,
                        "weights_of_step": step,
                        "tokens": trained.counters.tokens,
                        "passes": trained.counters.step / work.per_epoch,
                        "windows": len(windows),
                        "mentions": windows.mentions,
                        "not_exact": {**windows.lost, **data.lost},
                        "ranks": ranks.count,
                        "loss": trained.mean_loss,
                    },
                )
    return model_folder


def dev_f1(run: Path, model: Path) -> float | None:
    """Of the step whose weights `run`'s `model` has; None where it was not measured there."""
    step = read_model_manifest(model)["trained"]["weights_of_step"]
    values = [
        line["validation/f1"]
        for line in read_metrics(run)
        if line["step"] == step and "validation/f1" in line
    ]
    return values[0] if values else None
