"""How fast this machine trains: real steps of the real model on the run's own first windows, in a given time."""

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from biolm.batches.masking import Masker
from biolm.batches.packing import pack_rows
from biolm.batches.steps import epoch_order
from biolm.model.device import resolve_row_tokens
from biolm.model.memory import keep_large_blocks
from biolm.tokens.store import TokenStore
from biolm.tokens.words import WordTable
from biolm.training.config import PretrainConfig
from biolm.training.data import TrainingData
from biolm.training.optimizer import learning_rate
from biolm.training.ranks import Ranks
from biolm.training.speed import matmul_peak
from biolm.training.step import Trainer

PEAK_SHARE = 0.05
"""Of the probe's time, for the device's matrix product."""
SAMPLES = 2
"""Large steps that are to fit into the time: rather few than small, since what is timed is what a run does."""
LIKELY_SHARE = 0.4
"""Of that peak, what the layers reach: a first guess, for sizing the steps alone."""
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
    """What was measured: a step takes `fixed_seconds` and its operations at `flops_per_second`."""

    flops_per_second: float
    """Median of the samples, of what is beyond `fixed_seconds`."""
    slowest_flops_per_second: float
    fastest_flops_per_second: float
    fixed_seconds: float
    """Of a step however small: the optimizer's update, the norm of the gradients. 0 where whole steps were timed."""
    tokens_per_second: float
    """Median of the samples, all included."""
    peak_flops_per_second: float
    """The best of a plain matrix product, in the same precision."""
    samples: int
    sample_tokens: float
    """In each, on the mean: fewer than in a step of the run where one would not fit the time."""
    seconds: float
    """That the probe took."""
    core_share: float | None = None
    """Of its cores' time, what it got, on a CPU: below 1 where other programs compute too."""


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
                max_row_tokens=resolve_row_tokens(config.max_row_tokens, ranks.device),
                rate=config.masking.rate_at(number, data.total_steps),
                shape=data.steps.shape,
            )
            rate = learning_rate(number, data.total_steps, config)

            def run() -> None:
                trainer.step(number, rows, rate=rate)
                _wait_for(ranks)

            return Work(tokens=sum(int(row.lengths.sum()) for row in rows), flops=data.flops(rows), run=run)

        busy = time.process_time()
        found = measure(
            work,
            whole_windows=len(data.steps.examples_of(0)),
            peak=lambda limit: matmul_peak(ranks.device, trainer.precision, seconds=limit),
            seconds=seconds,
        )
        if ranks.device.type != "cpu":
            return found
        share = (time.process_time() - busy) / (found.seconds * torch.get_num_threads())
        return replace(found, core_share=min(1.0, share))

    return probe


def measure(
    work: Callable[[int, int], Work],
    *,
    whole_windows: int,
    peak: Callable[[float], float],
    seconds: float,
) -> ProbeResult:
    """Time steps until `seconds` are over; at least one.

    `work(number, windows)` is step `number` of a run with so many windows in each; `whole_windows` are in a step of the
    run in question. Steps of one window tell what a step costs at least, growing ones how many windows let SAMPLES
    fit, if not a whole step's; such steps are the samples, but for the first. `peak` takes seconds too.
    """
    started = time.perf_counter()

    def left() -> float:
        return seconds - (time.perf_counter() - started)

    best = peak(PEAK_SHARE * seconds)
    smallest = work(0, 1)
    smallest.run()  # fills memory and caches, which a run does once
    least = _clocked(smallest.run)
    grow = functools.partial(_grow, work, smallest, least, whole_windows, LIKELY_SHARE * best)
    windows, fixed, grown = grow(left() / (SAMPLES + 1))
    if not grown:
        windows, fixed, grown = grow(0.4 * left())  # rather one large step than some of a window
    timed: list[tuple[Work, float]] = []
    longest = max([least, *(took for _, took in grown)])
    while len(timed) <= MOST_SAMPLES and left() > longest:
        one = work(len(timed) + 1, windows)
        timed.append((one, _clocked(one.run)))
        longest = max(longest, timed[-1][1])
    samples = timed[1:] if len(timed) > 2 else timed or grown[-1:] or [(smallest, least)]
    if windows == whole_windows:
        fixed = 0.0  # it is in the samples, which are what the run does
    fixed = max(0.0, min([fixed, *(took - one.flops / best for one, took in samples)]))
    speeds = [one.flops / (took - fixed) for one, took in samples]
    return ProbeResult(
        flops_per_second=statistics.median(speeds),
        slowest_flops_per_second=min(speeds),
        fastest_flops_per_second=max(speeds),
        fixed_seconds=fixed,
        tokens_per_second=statistics.median(one.tokens / took for one, took in samples),
        peak_flops_per_second=best,
        samples=len(samples),
        sample_tokens=statistics.fmean(one.tokens for one, _ in samples),
        seconds=time.perf_counter() - started,
    )


def _grow(
    work: Callable[[int, int], Work],
    smallest: Work,
    least: float,
    whole_windows: int,
    likely_flops_per_second: float,
    seconds: float,
) -> tuple[int, float, list[tuple[Work, float]]]:
    """(how many windows make a step of about `seconds`, a whole one's at most; what a step costs without any; the
    steps that told so, with their times). `smallest` is a step of one window and took `least`."""
    windows, flops = 1, smallest.flops
    slope = min(least / flops, 1 / likely_flops_per_second)
    fixed = least - slope * flops
    grown: list[tuple[Work, float]] = []
    while windows < whole_windows:
        larger = [(count, work(0, count)) for count in (min(whole_windows, n * windows) for n in (4, 2))]
        fitting = [(count, one) for count, one in larger if fixed + slope * one.flops < seconds]
        if not fitting:
            break
        (windows, one), flops = fitting[0], fitting[0][1].flops
        grown.append((one, _clocked(one.run)))
        slope = max(grown[-1][1] - least, 1e-3 * least) / (flops - smallest.flops)
        fixed = max(0.0, least - slope * smallest.flops)
    if not grown:
        return 1, 0.0, []
    fits = int((seconds - fixed) / (slope * flops / windows))
    return max(windows, min(whole_windows, fits)), fixed, grown


def _wait_for(ranks: Ranks) -> None:
    if ranks.device.type == "cuda":
        torch.cuda.synchronize(ranks.device)


def _clocked(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
