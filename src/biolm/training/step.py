"""One optimizer step: from packed rows to changed weights, the same whatever the rows and ranks are."""

import hashlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from biolm.batches.packing import PackedRow
from biolm.model.device import autocast, resolve_precision
from biolm.model.masked_lm import RowTensors, row_tensors
from biolm.model.passages import send
from biolm.model.training_forward import PackedMaskedLM
from biolm.training.averaging import WeightAverage
from biolm.training.engine_config import EngineConfig
from biolm.training.guard import Guard, LossScale, Reason
from biolm.training.optimizer import make_optimizer, set_rate
from biolm.training.parallel import MakeModule, Parallel
from biolm.training.ranks import Ranks


@dataclass(frozen=True, slots=True)
class StepFacts:
    """What one step was, over all ranks."""

    loss: float
    """Mean cross-entropy over the step's predicted tokens, in nats."""
    recall: float
    """Share of them that were the likeliest token (or label)."""
    gradient_norm: float
    """Before clipping."""
    tokens: int
    masked_tokens: int
    windows: int
    skipped: Reason | None
    """Why the weights stayed as they were."""
    stop: bool
    """Whether any rank was asked to stop."""


class Trainer:
    """A model with its optimizer, on this rank."""

    def __init__(
        self, model: Any, ranks: Ranks, config: EngineConfig, make_module: MakeModule = PackedMaskedLM
    ) -> None:
        """`model`: what `make_module` takes; it is moved to the ranks' device and trained in place."""
        self.model = model.to(ranks.device).train()
        self.ranks = ranks
        self.config = config
        self.precision = resolve_precision(config.precision, ranks.device)
        self.parallel = Parallel(self.model, ranks, config, make_module)
        self.optimizer = make_optimizer(self.model, self.parallel.parameters, config)
        if config.compile == "reduce-overhead":
            # CUDA graphs write anew where a first backward pass left gradients.
            for weight in self.parallel.parameters.values():
                weight.grad = torch.zeros_like(weight)
        self.guard = Guard(config.spike_factor, LossScale.of(self.precision))
        self.average = WeightAverage(self.parallel.parameters, config.ema_decay) if config.ema_decay else None

    def step(self, number: int, rows: Sequence[PackedRow], *, rate: float, stop: bool = False) -> StepFacts:
        """Do step `number` (from 0) with this rank's rows; all ranks must, with equally many rows.

        The loss is the cross-entropy summed over masked tokens, divided by their number over all rows of all
        ranks. Dropout follows from (seed, step, rank). The device is waited for once, on several ranks also where
        counts are added up.
        """
        ranks, config = self.ranks, self.config
        seed_dropout(config.seed, number, ranks.rank)
        counts = (
            sum(row.masked for row in rows),
            sum(int(row.lengths.sum()) for row in rows),
            sum(len(row.lengths) for row in rows),
            stop,
        )
        masked, tokens, windows, asked = ranks.add_up([float(count) for count in counts])
        weight = self.guard.scale.value * ranks.count / max(1.0, masked)  # DDP and FSDP take means over ranks
        sums = torch.zeros(2, dtype=torch.float64, device=ranks.device)
        self.optimizer.zero_grad(set_to_none=config.compile != "reduce-overhead")
        for place, row in enumerate(rows):
            with self.parallel.accumulating(last=place == len(rows) - 1), self.autocast():
                loss, hits = self.parallel.forward(*self.tensors(row))
                (loss * weight).backward()
            sums += torch.stack([loss.detach().double(), hits.double()])
        norm = self._norm()
        loss_sum, hit_sum = ranks.add_up(sums.tolist())
        gradient_norm = float(norm) / self.guard.scale.value
        mean = loss_sum / max(1.0, masked)
        scale = self.guard.scale.value
        skipped = self.guard.judge(mean, gradient_norm, masked)
        if skipped is None:
            self._update(gradient_norm, scale, rate)
        return StepFacts(
            loss=mean,
            recall=hit_sum / max(1.0, masked),
            gradient_norm=gradient_norm,
            tokens=int(tokens),
            masked_tokens=int(masked),
            windows=int(windows),
            skipped=skipped,
            stop=asked > 0,
        )

    def autocast(self) -> AbstractContextManager[Any]:
        """Around a forward pass, and the backward pass that begins in it."""
        return autocast(self.ranks.device, self.precision)

    def tensors(self, row: PackedRow) -> tuple[RowTensors, torch.Tensor]:
        """What `Parallel.forward` and `evaluate` take of a row: itself and its labels, on the device."""
        (labels,) = send([row.labels], self.ranks.device)
        return row_tensors(self.model, row), labels

    def _norm(self) -> torch.Tensor:
        norm = torch.nn.utils.get_total_norm(self.parallel.gradients())
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _update(self, norm: float, scale: float, rate: float) -> None:
        factor = 1.0 / scale
        if self.config.clip_norm is not None and norm > self.config.clip_norm:
            factor *= self.config.clip_norm / (norm + 1e-6)  # as torch.nn.utils.clip_grad_norm_
        if factor != 1.0:
            torch._foreach_mul_(self.parallel.gradients(), factor)
        set_rate(self.optimizer, rate)
        self.optimizer.step()
        if self.average is not None:
            self.average.follow()


def seed_dropout(seed: int, step: int, rank: int) -> None:
    """Make what torch draws next a function of (seed, step, rank): there is no generator's state to keep."""
    digest = hashlib.sha256(f"dropout {seed} {step} {rank}".encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
