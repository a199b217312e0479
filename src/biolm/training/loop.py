"""The training loop: from a base and a token store to a further-trained model."""

import logging
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from biolm.batches.examples import cut_examples
from biolm.batches.masking import Masker
from biolm.batches.packing import PackedRow
from biolm.batches.steps import TrainingSteps, evaluation_rows
from biolm.errors import ModelError
from biolm.model.device import autocast, choose_device
from biolm.model.masked_lm import loss_sum, packed_logits, score_row, token_limit
from biolm.progress import Progress
from biolm.tokens.store import TokenStore
from biolm.training.checkpoint import (
    Counters,
    drop_checkpoints,
    find_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from biolm.training.config import PretrainConfig
from biolm.training.memory import keep_large_blocks
from biolm.training.metrics import MetricsLog
from biolm.training.optimizer import learning_rate, make_optimizer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trained:
    """How a run ended."""

    counters: Counters
    steps: int
    """Steps that the whole run has."""
    truncated_tokens: int
    """Tokens of the training split that no window held."""


def train(model: Any, store: TokenStore, run: Path, config: PretrainConfig, progress: Progress) -> Trained:
    """Train `model` in place on the store's training split, from the newest checkpoint in `run` if there is one.

    Each optimizer step minimizes the cross-entropy summed over its masked tokens, divided by their number
    over all its micro-batches, so the split into rows changes nothing. Data, masks and order follow from the
    step's number; the same seed, threads and machine give the same weights, interrupted or not.
    """
    device = choose_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    keep_large_blocks()
    max_tokens = min(config.max_tokens, token_limit(model.config))
    examples = cut_examples(
        store.split("train"), store.vocabulary, max_tokens=max_tokens, long_passages=config.long_passages
    )
    if examples.truncated_tokens:
        logger.warning("%s tokens beyond %s are left out", f"{examples.truncated_tokens:,}", max_tokens)
    steps = TrainingSteps(
        examples,
        Masker(store.vocabulary, config.masking, purpose="train mask", seed=config.seed),
        seed=config.seed,
        examples_per_step=config.examples_per_step,
        max_row_tokens=config.max_row_tokens,
    )
    total = config.epochs * steps.per_epoch
    if config.max_steps is not None:
        total = min(total, config.max_steps)

    model.to(device).train()
    optimizer = make_optimizer(model, config)
    torch.manual_seed(config.seed)
    counters, checkpoints = Counters(), run / "checkpoints"
    found = find_checkpoint(checkpoints)
    drop_checkpoints(checkpoints, beyond=found[1].step if found else -1)
    if found:
        path, counters = found
        load_checkpoint(path, model, optimizer)
        logger.info("resuming from step %s", counters.step)

    progress.start("pretrain", total, "steps")
    started, tokens_before = time.monotonic(), counters.tokens
    with MetricsLog(run, step=counters.step) as metrics:
        if counters.step == 0:
            metrics.write(0, **validate(model, store, config))
        while counters.step < total:
            rows = steps.rows(counters.step)
            rate = learning_rate(counters.step, total, config)
            loss, norm = optimizer_step(model, optimizer, rows, rate=rate, config=config)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise ModelError(
                    f"the loss or its gradient is not finite at step {counters.step + 1}; lower --lr-peak "
                    f"(the checkpoints in {checkpoints} are from before)"
                )
            counters = _advance(counters, rows)
            speed = (counters.tokens - tokens_before) / (time.monotonic() - started)
            metrics.write(
                counters.step,
                **{"train/loss": loss, "train/gradient_norm": norm, "train/learning_rate": rate},
                **{"train/tokens": counters.tokens, "train/tokens_per_second": round(speed, 1)},
            )
            progress.update(counters.step, f"loss {loss:.3f}, {speed:,.0f} tokens/s")
            if counters.step % config.validate_every == 0 or counters.step == total:
                metrics.write(counters.step, **validate(model, store, config))
            if counters.step % config.checkpoint_every == 0 or counters.step == total:
                metrics.sync()
                save_checkpoint(checkpoints, model, optimizer, counters, keep=config.keep_checkpoints)
    progress.finish(f"{counters.step:,} steps, {counters.tokens:,} tokens")
    return Trained(counters, total, examples.truncated_tokens)


def optimizer_step(
    model: Any,
    optimizer: torch.optim.Optimizer,
    rows: Iterable[PackedRow],
    *,
    rate: float,
    config: PretrainConfig,
) -> tuple[float, float]:
    """One update from the rows of one step: (mean loss over masked tokens, gradient norm before clipping)."""
    rows = list(rows)
    masked = max(1, sum(len(row.labels) for row in rows))
    loss = torch.zeros((), device=model.device)
    optimizer.zero_grad(set_to_none=True)
    for row in rows:
        with autocast(model.device, config.precision):
            part = loss_sum(packed_logits(model, row), row.labels) / masked
        part.backward()
        loss += part.detach()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm or math.inf)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return float(loss), float(norm)


def validate(model: Any, store: TokenStore, config: PretrainConfig) -> dict[str, float]:
    """Loss and recall@1 on the first windows of the validation split, at evaluation's fixed masks.

    Empty where the corpus has no validation split.
    """
    if "validation" not in store.splits:
        return {}
    examples = cut_examples(store.split("validation"), store.vocabulary, max_tokens=token_limit(model.config))
    loss, hits, masked = 0.0, 0, 0
    training = model.training
    model.eval()
    with autocast(model.device, config.precision):
        for row in evaluation_rows(
            examples, max_row_tokens=config.max_row_tokens, limit=config.validation_examples
        ):
            scores = score_row(model, row, row.labels)
            loss += float(scores.loss.sum())
            hits += int((scores.rank == 0).sum())
            masked += len(scores.rank)
    model.train(training)
    return {"validation/loss": loss / max(1, masked), "validation/recall_at_1": hits / max(1, masked)}


def _advance(counters: Counters, rows: list[PackedRow]) -> Counters:
    return replace(
        counters,
        step=counters.step + 1,
        tokens=counters.tokens + sum(len(row.input_ids) for row in rows),
        masked_tokens=counters.masked_tokens + sum(len(row.labels) for row in rows),
        passages=counters.passages + sum(len(row.lengths) for row in rows),
    )
