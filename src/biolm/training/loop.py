"""The training loop: from a base and a token store to a further-trained model."""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from biolm.batches.packing import PackedRow
from biolm.errors import ArtifactError, ModelError, Stopped
from biolm.model.device import choose_device
from biolm.model.memory import keep_large_blocks
from biolm.progress import Progress
from biolm.tokens.store import TokenStore
from biolm.tokens.words import WordTable
from biolm.training.checkpoint import (
    Checkpoint,
    Counters,
    drop_checkpoints,
    find_checkpoint,
    load_checkpoint,
    lowest_criterion,
    save_checkpoint,
)
from biolm.training.config import PretrainConfig
from biolm.training.data import TrainingData
from biolm.training.judge import Judge, StepData
from biolm.training.metrics import Listener, MetricsLog, NoMetrics, mean_training_loss
from biolm.training.optimizer import learning_rate
from biolm.training.ranks import Ranks
from biolm.training.signals import StopSignals
from biolm.training.speed import Speed
from biolm.training.step import StepFacts, Trainer
from biolm.training.validation import Validation

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trained:
    """How a run ended."""

    counters: Counters
    steps: int
    """Steps that the whole run has."""
    truncated_tokens: int
    """Tokens of the training split that no window held."""
    mean_loss: float | None
    """The training loss over all steps; on the first rank alone."""


def train(
    model: Any,
    store: TokenStore,
    run: Path,
    config: PretrainConfig,
    progress: Progress,
    *,
    ranks: Ranks | None = None,
    words: WordTable | None = None,
    listeners: Sequence[Listener] = (),
    show: Callable[[PackedRow], None] | None = None,
) -> Trained:
    """Train `model` in place on the store's training split, from the newest checkpoint in `run` if there is one.

    Data, masks, order, dropout and rate follow from the step's number; the same seed, threads, ranks and machine
    give the same weights, interrupted or not. `words` must be given where whole words are masked. The
    first of the `ranks` writes into `run`; `listeners` are told what `metrics.jsonl` is told; `show` is called
    with the first packed row. Raises Stopped after a SIGTERM or Ctrl-C, ModelError where too many steps in a
    row had to be skipped.
    """
    ranks = ranks or Ranks(choose_device(config.device))
    ranks.share_cores(config.threads)
    keep_large_blocks()
    data = TrainingData(model, store, config, ranks, words)
    trainer = Trainer(model, ranks, config)
    return run_steps(
        trainer,
        data,
        Validation(trainer, store, config.validation_examples),
        run,
        progress,
        name="pretrain",
        listeners=listeners,
        show=show,
    )


def run_steps(
    trainer: Trainer,
    data: StepData,
    judge: Judge,
    run: Path,
    progress: Progress,
    *,
    name: str,
    listeners: Sequence[Listener] = (),
    show: Callable[[PackedRow], None] | None = None,
) -> Trained:
    """The steps of any training, from the newest checkpoint in `run` on. `name`: of the stage, for people.

    The trainer's configuration must say after how many steps to validate and to save. Raises as `train`.
    """
    ranks, config, total = trainer.ranks, trainer.config, data.total_steps
    validate_every, checkpoint_every = config.validate_every, config.checkpoint_every
    assert validate_every is not None
    assert checkpoint_every is not None
    counters, checkpoints = Counters(), run / "checkpoints"
    found = find_checkpoint(checkpoints, say=ranks.first)
    _check_agreed(found, checkpoints, ranks)
    if ranks.first:
        dropped = drop_checkpoints(checkpoints, beyond=found.counters.step if found else -1)
        if dropped and not found:
            logger.warning("no checkpoint is whole, so the run starts again from its first step")
    if found:
        counters = found.counters
        load_checkpoint(found, trainer)
        judge.restore(found.judge)
        logger.info("resuming from step %s", counters.step)

    progress.start(name, total, "steps")
    progress.update(counters.step, before=True)
    with ExitStack() as open_things:
        log: MetricsLog | NoMetrics = NoMetrics()
        if ranks.first:
            log = open_things.enter_context(MetricsLog(run, step=counters.step, others=listeners))
        signals = open_things.enter_context(StopSignals())
        batches = open_things.enter_context(data.ahead(total if judge.enough else counters.step))
        speed = Speed(trainer, data.flops)
        lowest = lowest_criterion(checkpoints)
        if counters.step == 0 and judge.at_start:
            log.write(0, **judge.measure())
        for number, rows in batches:
            if number == 0 and show is not None and rows:
                show(rows[0])
            rate = learning_rate(number, total, config)
            facts = trainer.step(number, rows, rate=rate, stop=signals.asked is not None)
            counters = _advance(counters, facts, trainer)
            _check_skipped(facts, trainer, counters, checkpoints)
            log.write(
                counters.step,
                **_scalars(facts, rate, data, counters, trainer),
                **speed.after(rows, facts, waited=batches.waited_seconds),
            )
            progress.update(counters.step, f"loss {facts.loss:.3f}, {speed.tokens_per_second:,.0f} tokens/s")
            last = counters.step == total
            # Ranks agree in the next step; one alone need not do another.
            stop = facts.stop or (ranks.count == 1 and signals.asked is not None)
            criterion, improved = None, False
            if counters.step % validate_every == 0 or last:
                with speed.paused():
                    measured = judge.measure()
                log.write(counters.step, **measured)
                last = last or judge.enough
                criterion = judge.criterion(measured)
                improved = config.final_weights == "best" and criterion is not None and criterion < lowest
            scheduled = counters.step % checkpoint_every == 0 or last or improved
            if scheduled and criterion is not None:
                lowest = min(lowest, criterion)
            if scheduled or stop:
                with speed.paused():
                    log.sync()
                    save_checkpoint(
                        checkpoints,
                        trainer,
                        counters,
                        # A step that is saved since a signal came is no candidate: without the signal it were none.
                        validation_loss=criterion if scheduled else None,
                        keep=config.keep_checkpoints,
                        judge=judge.state(),
                    )
            if stop and not last:
                ranks.wait_for_all()  # a launcher may end all ranks when one ends, and the first still writes
                why = signals.asked.name if signals.asked else "a signal to another rank"
                raise Stopped(
                    f"stopped by {why} after step {counters.step:,} of {total:,}, which is saved; "
                    "the same command with --resume goes on"
                )
            if last:
                break
    progress.finish(f"{counters.step:,} steps, {counters.tokens:,} tokens" + _skips(counters))
    return Trained(counters, total, data.truncated_tokens, mean_training_loss(run) if ranks.first else None)


def _check_agreed(found: Checkpoint | None, checkpoints: Path, ranks: Ranks) -> None:
    """Raise ArtifactError, on every rank, where another one found another checkpoint: each would train on its own."""
    step = float(found.counters.step if found else -1)
    total, squares = ranks.add_up([step, step * step])
    if squares * ranks.count != total * total:
        raise ArtifactError(
            f"the ranks find different checkpoints in {checkpoints} (rank {ranks.rank} "
            f"{found.path.name if found else 'none'}); give an --out that all machines share"
        )


def _advance(counters: Counters, facts: StepFacts, trainer: Trainer) -> Counters:
    return replace(
        counters,
        step=counters.step + 1,
        tokens=counters.tokens + facts.tokens,
        masked_tokens=counters.masked_tokens + facts.masked_tokens,
        passages=counters.passages + facts.windows,
        skipped=dict(trainer.guard.skipped),
    )


def _check_skipped(facts: StepFacts, trainer: Trainer, counters: Counters, checkpoints: Path) -> None:
    if facts.skipped is None:
        return
    what = f"loss {facts.loss:.3g}, gradient norm {facts.gradient_norm:.3g}"
    if trainer.ranks.first:
        logger.warning("step %s left the weights as they were: %s (%s)", counters.step, facts.skipped, what)
    if trainer.guard.in_a_row >= trainer.config.max_skipped:
        newest = find_checkpoint(checkpoints)
        raise ModelError(
            f"{trainer.guard.in_a_row} steps in a row had to be skipped, step {counters.step} as {facts.skipped} "
            f"({what}); lower --lr-peak in a new run"
            + (f" (the checkpoint {newest.path} is from before)" if newest else "")
        )


def _scalars(
    facts: StepFacts, rate: float, data: StepData, counters: Counters, trainer: Trainer
) -> dict[str, float]:
    found = {
        "train/loss": facts.loss,
        f"train/{data.hits}": facts.recall,
        "train/gradient_norm": facts.gradient_norm,
        "train/learning_rate": rate,
        **data.facts(counters.step - 1),
        "train/tokens": counters.tokens,
    }
    if counters.skipped:
        found["train/skipped"] = sum(counters.skipped.values())
    if not trainer.guard.scale.fixed:
        found["train/loss_scale"] = trainer.guard.scale.value
    return found


def _skips(counters: Counters) -> str:
    if not counters.skipped:
        return ""
    return "; skipped " + ", ".join(f"{count} ({why})" for why, count in counters.skipped.items())
