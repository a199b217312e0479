"""How fast this machine trains: real steps of the real model on the run's own first windows, in a given time."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from biolm.batches.masking import Masker
from biolm.batches.packing import pack_rows
from biolm.batches.steps import epoch_order
from biolm.tokens.store import TokenStore
from biolm.tokens.words import WordTable
from biolm.training.config import PretrainConfig
from biolm.training.data import TrainingData
from biolm.training.memory import keep_large_blocks
from biolm.training.optimizer import learning_rate
from biolm.training.ranks import Ranks
from biolm.training.speed import matmul_peak
from biolm.training.step import Trainer

PEAK_SHARE = 0.05
"""Of the probe's time, for the device's matrix product."""
SAMPLES = 4
"""Steps that are to fit into the time."""
MOST_SAMPLES = 12
"""With so many the probe ends early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One step to time."""

    tokens: int
    flops: float
    """Of forward and backward."""
    run: Callable[[], object]
    """Do it, the optimizer's update included, and wait for the device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What was measured. Operations per second are those of forward and backward; the optimizer's update is apart."""

    flops_per_second: float
    """Median of the samples."""
    slowest_flops_per_second: float
    fastest_flops_per_second: float
    tokens_per_second: float
    """Median of the samples, update included."""
    update_seconds: float
    """Of one optimizer's update, which is the same however large the step."""
    peak_flops_per_second: float
    """The best of a plain matrix product, in the same precision."""
    samples: int
    sample_tokens: float
    """In each, on the mean: fewer than in a step of the run where one would not fit the time."""
    seconds: float
    """That the probe took."""


Probe = Callable[[float], ProbeResult]
"""Given the seconds that it may take."""


def probe_of(
    model: Any,
    store: TokenStore,
    data: TrainingData,
    config: PretrainConfig,
    words: WordTable | None,
    ranks: Ranks,
) -> Probe:
    """The probe of a run, on one rank. It trains `model`, which is of no use afterwards; nothing is written."""

    def probe(seconds: float) -> ProbeResult:
        keep_large_blocks()
        trainer = Trainer(model, ranks, config)
        examples = data.steps.examples
        masker = Masker(store.vocabulary, config.masking, purpose="train mask", seed=config.seed, words=words)
        order = epoch_order(len(examples), seed=config.seed, epoch=0)

        def work(number: int, windows: int) -> Work:
            rows = pack_rows(
                examples,
                np.take(order, np.arange(number * windows, (number + 1) * windows), mode="wrap"),
                masker,
                epoch=0,
                max_row_tokens=config.max_row_tokens,
                rate=config.masking.rate_at(number, data.total_steps),
                shape=data.steps.shape,
            )
            rate = learning_rate(number, data.total_steps, config)

            def run() -> None:
                trainer.step(number, rows, rate=rate)
                _wait_for(ranks)

            return Work(tokens=sum(int(row.lengths.sum()) for row in rows), flops=data.flops(rows), run=run)

        def update() -> None:
            trainer.optimizer.step()
            if trainer.average is not None:
                trainer.average.follow()
            _wait_for(ranks)

        return measure(
            work,
            update,
            whole_windows=len(data.steps.examples_of(0)),
            peak=lambda limit: matmul_peak(ranks.device, trainer.precision, seconds=limit),
            seconds=seconds,
        )

    return probe


def measure(
    work: Callable[[int, int], Work],
    update: Callable[[], object],
    *,
    whole_windows: int,
    peak: Callable[[float], float],
    seconds: float,
) -> ProbeResult:
    """Time steps until `seconds` are over.

    `work(number, windows)` is step `number` of a run with so many windows in each; `whole_windows` are in a step of the
    run in question. Steps grow, to warm up, until one is as long as lets SAMPLES fit, or whole; such steps are
    timed, the first of them apart. `update` is the optimizer's update alone; `peak` takes seconds too.
    """
    started = time.perf_counter()

    def left() -> float:
        return seconds - (time.perf_counter() - started)

    best = peak(PEAK_SHARE * seconds)
    windows, one = 1, work(0, 1)
    took = _clocked(one.run)
    samples = [(one, took)]  # the only one where there is no time for another
    update_seconds = min(_clocked(update) for _ in range(2))
    enough = left() / (SAMPLES + 2)
    while windows < whole_windows and 4 * took < enough:
        windows = min(whole_windows, 4 * windows)
        took = _clocked(work(0, windows).run)
    windows = max(1, min(whole_windows, round(windows * enough / took)))
    timed: list[tuple[Work, float]] = []
    while len(timed) <= MOST_SAMPLES and left() > max([took, *(took for _, took in timed)]):
        one = work(len(timed) + 1, windows)
        timed.append((one, _clocked(one.run)))
    samples = timed[1:] if len(timed) > 2 else timed or samples
    speeds = [one.flops / max(took - update_seconds, 1e-3 * took) for one, took in samples]
    return ProbeResult(
        flops_per_second=statistics.median(speeds),
        slowest_flops_per_second=min(speeds),
        fastest_flops_per_second=max(speeds),
        tokens_per_second=statistics.median(one.tokens / took for one, took in samples),
        update_seconds=update_seconds,
        peak_flops_per_second=best,
        samples=len(samples),
        sample_tokens=statistics.fmean(one.tokens for one, _ in samples),
        seconds=time.perf_counter() - started,
    )


def _wait_for(ranks: Ranks) -> None:
    if ranks.device.type == "cuda":
        torch.cuda.synchronize(ranks.device)


def _clocked(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
