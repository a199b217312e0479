"""How fast a run is: useful tokens a second, and the share of what the device's matrix product reaches."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

from biolm.batches.packing import PackedRow
from biolm.model.device import product_dtype
from biolm.training.step import StepFacts, Trainer

Flops = Callable[[Sequence[PackedRow]], float]
"""Floating-point operations of a step on these rows, forward and backward."""


class Speed:
    """Measures steps, without the time of validations and checkpoints between them."""

    def __init__(self, trainer: Trainer, flops: Flops) -> None:
        """The device's peak is measured here, which takes half a second."""
        self._flops = flops
        self._peak = matmul_peak(trainer.ranks.device, trainer.precision, seconds=0.5)
        self._last = time.monotonic()
        self._waited = 0.0
        self._tokens, self._seconds = 0, 0.0

    @property
    def tokens_per_second(self) -> float:
        """Useful tokens of all ranks by seconds, since this was made."""
        return self._tokens / max(self._seconds, 1e-9)

    def after(self, rows: Sequence[PackedRow], facts: StepFacts, *, waited: float) -> dict[str, float]:
        """Scalars of the step that just ended. `waited`: seconds spent so far on waiting for batches."""
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        self._tokens += facts.tokens
        self._seconds += seconds
        data, self._waited = waited - self._waited, waited
        return {
            "speed/tokens_per_second": round(facts.tokens / seconds, 1),
            "speed/seconds_per_step": round(seconds, 6),
            "speed/data_wait_seconds": round(data, 6),
            "speed/flops_utilization": round(self._flops(rows) / seconds / self._peak, 4),
        }

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around what is no step."""
        began = time.monotonic()
        yield
        self._last += time.monotonic() - began


def matmul_peak(device: torch.device, precision: str, *, seconds: float) -> float:
    """The best rate of a matrix product in a precision, in floating-point operations a second (two a multiply-add)."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = torch.randn(2, size, size, device=device).to(product_dtype(device, precision))
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until or not best:
        started = time.perf_counter()
        torch.mm(a, b)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best
