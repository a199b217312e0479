"""A fine-tuning's folder: from a base and annotated documents to a tagger."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file

from biolm.artifacts import sha256_file, writing
from biolm.batches.ahead import Ahead
from biolm.batches.packing import PackedRow
from biolm.errors import ConfigError, InputError
from biolm.finetuning.config import FinetuneConfig
from biolm.finetuning.dev import DevDocuments
from biolm.finetuning.windows import Labelled, LabelledSteps, label_windows
from biolm.mentions import Document
from biolm.model.device import choose_device
from biolm.model.families import family_of, shortens, token_limit
from biolm.model.folder import save_model
from biolm.model.memory import keep_large_blocks
from biolm.model.token_classifier import CRF_FILE, PackedTokenClassifier, load_token_classifier
from biolm.progress import Progress
from biolm.tagging.labels import LabelSet
from biolm.tagging.settings import TaggerSettings, write_settings
from biolm.tagging.tasks import Example, Task, examples, types_of
from biolm.tokens.tokenizer import Tokenizer, resolve_model
from biolm.training.final import final_weights
from biolm.training.flops import Amount, Shape, training_flops
from biolm.training.loop import run_steps
from biolm.training.ranks import Ranks
from biolm.training.run_folder import RunKind, is_finished, working_in
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

    @classmethod
    def of(cls, train: Iterable[Document], dev: Iterable[Document], task: Task) -> "TaggerData":
        """Documents as a task sees them. Raises InputError where the training documents have nothing to learn."""
        own = list(examples(train, task))
        types = task.types or types_of([example.document for example in own])
        if not any(mention.type in types for example in own for mention in example.document.mentions):
            wanted = f"of the types {', '.join(types)}" if types else "at all"
            raise InputError(
                f"the {len(own)} training documents have no mentions {wanted}; give others, or another --task"
            )
        return cls(train=own, dev=list(examples(dev, task)), task=task, types=types)

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
    folder, own = resolve_model(base, tokenizer, instead=True)
    ranks = ranks or Ranks(choose_device(config.device))
    config = FINETUNING.with_row_tokens(config, run, ranks)
    labels = LabelSet.iob2(data.types, starts_only=data.types if data.task.starts_only else ())
    FINETUNING.check_out(run, resume=resume)
    started = {
        "kind": FINETUNING.name,
        "version": FINETUNING.version,
        "base": {
            "name": folder.resolve().name if Path(base).expanduser().is_dir() else base,
            "weights": {file.name: sha256_file(file) for file in sorted(folder.glob("*.safetensors"))},
        },
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
    limit = token_limit(model.config)
    settings = TaggerSettings(
        task=data.task.name, max_tokens=min(config.max_tokens, limit), overlap=config.overlap
    )
    content, overlap = settings.content(limit, len(own.vocabulary.prefix) + len(own.vocabulary.suffix))
    windows = label_windows(data.train, labels, own, content_tokens=content, overlap=overlap)
    if not len(windows):
        raise InputError(f"the {len(data.train)} training documents hold no words; give others")
    if windows.lost:
        logger.warning(
            "of %s mentions, labels cannot say exactly %s",
            f"{windows.mentions:,}",
            ", ".join(f"{count:,} ({why})" for why, count in sorted(windows.lost.items())),
        )
    with working_in(run, started, config.track, ranks) as listeners:
        ranks.share_cores(config.threads)
        keep_large_blocks()
        freeze(model, config.freeze_layers)
        work = FinetuneData(model, windows, config, ranks)
        paced = dataclasses.replace(
            config,
            validate_every=config.validate_every or work.per_epoch,
            checkpoint_every=config.checkpoint_every or work.per_epoch,
        )
        trainer = Trainer(model, ranks, paced, _module(config, windows.label_counts(len(labels.names))))
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
                        "windows": len(windows),
                        "mentions": windows.mentions,
                        "not_exact": dict(windows.lost),
                        "ranks": ranks.count,
                        "loss": trained.mean_loss,
                    },
                )
    return model_folder


class FinetuneData:
    """What the engine feeds its steps with."""

    hits = "accuracy"
    truncated_tokens = 0

    def __init__(self, model: Any, windows: Labelled, config: FinetuneConfig, ranks: Ranks) -> None:
        """`config`: with `max_row_tokens`."""
        assert config.max_row_tokens is not None
        self._config, self._ranks = config, ranks
        self._shape = dataclasses.replace(Shape.of(model.config), vocabulary=model.config.num_labels)
        self._shortened = shortens(model)
        self._steps = LabelledSteps(
            windows,
            seed=config.seed,
            examples_per_step=config.examples_per_step,
            max_row_tokens=config.max_row_tokens,
            tokens_per_step=config.tokens_per_step,
            epochs=config.epochs,
            max_steps=config.max_steps,
            rank=ranks.rank,
            ranks=ranks.count,
        )
        self.per_epoch = self._steps.per_epoch
        self.total_steps = self._steps.total

    def ahead(self, first: int) -> Ahead:
        """The steps from `first` on, prepared in the background."""
        return Ahead(
            self._steps,
            first,
            self.total_steps,
            ahead=self._config.prepare_ahead,
            kind="process" if self._ranks.device.type == "cuda" else "thread",
        )

    def flops(self, rows: Sequence[PackedRow]) -> float:
        """Floating-point operations of a step on these rows."""
        return sum(
            training_flops(
                self._shape,
                Amount.of(row.lengths, row.masked_per_window, self._shape),
                last_layer_at_masked=self._shortened,
                activation_checkpointing=False,
            )
            for row in rows
        )

    def facts(self, step: int) -> dict[str, float]:
        """Nothing else."""
        return {}


def freeze(model: Any, layers: int | None) -> None:
    """Leave the embeddings and the lowest `layers` layers of a model as they are; None: train all.

    Raises ConfigError for more layers than there are.
    """
    if layers is None:
        return
    blocks = family_of(model.config).layers(model)
    if layers > len(blocks):
        raise ConfigError(f"freeze_layers is {layers}, and the base has {len(blocks)}; give fewer")
    for part in [model.base_model.embeddings, *blocks[:layers]]:
        part.requires_grad_(False)


def save_tagger(model: Any, tokenizer: Tokenizer, out: Path, settings: TaggerSettings, **facts: Any) -> None:
    """Write a model from `load_token_classifier` as a folder that stock transformers read, `tagger.json` beside it."""
    chain = model._modules.pop("crf", None)

    def beside(folder: Path) -> None:
        write_settings(folder, settings)
        if chain is not None:
            save_file(
                {name: value.detach().contiguous() for name, value in chain.state_dict().items()},
                folder / CRF_FILE,
            )

    save_model(
        model,
        tokenizer.stock,
        out,
        tokenizer_hash=tokenizer.vocabulary.hash,
        beside=beside,
        **facts,
    )


def _module(config: FinetuneConfig, counts: NDArray[np.int64]) -> partial[PackedTokenClassifier]:
    weights = None
    if config.class_weights != "none":
        rarity = counts.sum() / np.maximum(counts, 1)
        plain = np.sqrt(rarity) if config.class_weights == "sqrt" else rarity
        # So that the mean over the training labels is 1, and the learning rate means what it meant.
        weights = torch.tensor(plain * counts.sum() / (plain * counts).sum(), dtype=torch.float32)
    return partial(PackedTokenClassifier, class_weights=weights, label_smoothing=config.label_smoothing)
