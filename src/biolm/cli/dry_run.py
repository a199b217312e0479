"""`biolm pretrain --dry-run`: what a run will take, from its data, its model and twenty seconds of measuring."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from biolm.errors import ConfigError
from biolm.training.config import PretrainConfig

if TYPE_CHECKING:
    from pathlib import Path

    from biolm.progress import Progress
    from biolm.tokens.store import TokenStore
    from biolm.tokens.tokenizer import Tokenizer

PROBE_SECONDS = 20.0
HERE = "here"
BUSY = 0.7
"""With less than this share of its cores' time, a measurement says so."""
NOT_RUN = (
    "We have run none of the machines below this one: their times follow from published speeds of other models by the "
    "number of operations. A smaller model and shorter windows reach less of a GPU, so they are more likely too short."
)
NOT_COUNTED = "Not counted: starting, checkpoints, the final measurement."


def parse_prices(given: tuple[str, ...]) -> dict[str, float]:
    """Prices an hour by machine key, from "0.5" (this machine) and "8xH100=12". Raises ConfigError."""
    from biolm.training.published import machines

    keys = {HERE, *(machine.key for machine in machines())}
    prices = {}
    for text in given:
        key, equals, amount = text.rpartition("=")
        key = key if equals else HERE
        if key not in keys:
            raise ConfigError(
                f"--price-per-hour {text}: no machine is called {key!r}; there are {', '.join(sorted(keys))}"
            )
        try:
            prices[key] = float(amount)
        except ValueError:
            raise ConfigError(f"--price-per-hour {text}: {amount!r} is no number") from None
        if not 0 <= prices[key] < float("inf"):
            raise ConfigError(f"--price-per-hour {text}: give 0 or more")
    return prices


def foresee(
    store: "TokenStore",
    tokenizer: "Tokenizer",
    folder: "Path",
    config: PretrainConfig,
    prices: Mapping[str, float],
    progress: "Progress",
) -> dict[str, Any]:
    """What a run of `config` on `store` from the base in `folder` will take, as one JSON object. Nothing is written."""
    from biolm.batches.examples import cut_examples
    from biolm.model.device import choose_device, resolve_precision
    from biolm.model.families import shortens, token_limit
    from biolm.model.loading import load_model
    from biolm.tokens.words import word_table
    from biolm.training.data import TrainingData
    from biolm.training.estimate import largest_row, plan_run, seconds_here
    from biolm.training.flops import Shape
    from biolm.training.footprint import disk_of, memory_of
    from biolm.training.probe import probe_of
    from biolm.training.ranks import Ranks

    ranks = Ranks(choose_device(config.device))
    ranks.share_cores(config.threads)
    model = load_model(
        folder,
        unigram_counts=store.unigram_counts(),
        hidden_dropout=config.hidden_dropout,
        attention_dropout=config.attention_dropout,
    )
    words = word_table(tokenizer) if config.mask_unit == "word" else None
    data = TrainingData(model, store, config, ranks, words)
    validation = None
    if "validation" in store.splits:
        limit = token_limit(model.config)
        validation = cut_examples(store.split("validation"), store.vocabulary, max_tokens=limit)
    shape = Shape.of(model.config)
    plan = plan_run(store, data.steps, validation, shape, config, last_layer_at_masked=shortens(model))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    memory = memory_of(
        shape,
        model.config.num_attention_heads,
        parameters,
        largest_row(plan, config, ranks.device),
        config,
        precision=resolve_precision(config.precision, ranks.device),
        cuda=ranks.device.type == "cuda",
    )
    disk = disk_of(parameters, config)
    progress.start("probe", None, "s")
    probe = probe_of(model, store, data, config, words, ranks)(PROBE_SECONDS)
    progress.finish(f"{probe.samples} steps of {probe.sample_tokens:,.0f} tokens in {probe.seconds:.0f} s")
    seconds = seconds_here(plan, probe)
    here = {
        "name": "this machine, one device",
        "key": HERE,
        "gpus": 1 if ranks.device.type == "cuda" else 0,
        "measured": {**dataclasses.asdict(probe), "device": ranks.device.type},
        **_cost(dataclasses.asdict(seconds), 1 if ranks.device.type == "cuda" else 0, prices.get(HERE)),
    }
    return {
        "data": {
            **{name: getattr(plan, name) for name in ("passages", "windows", "truncated_tokens")},
            "tokens": plan.epoch_tokens,
        },
        "run": {
            **{name: getattr(plan, name) for name in ("steps", "steps_per_epoch", "epochs")},
            "windows": plan.windows_seen,
            "windows_per_step": plan.windows_per_step,
            "tokens": plan.tokens_seen,
            "tokens_per_step": plan.tokens_per_step,
            "masked_tokens": plan.masked_tokens,
            "validations": plan.validations,
        },
        "flops": {"training": plan.training_flops, "validation": plan.validation_flops, "total": plan.flops},
        "memory": {**dataclasses.asdict(memory), "peak": memory.peak, "parameters": parameters},
        "disk": {**dataclasses.asdict(disk), "total": disk.total},
        "machines": [here, *_elsewhere(plan.flops, config, prices)],
        "not_counted": NOT_COUNTED,
        "not_run": NOT_RUN,
    }


def _elsewhere(flops: float, config: PretrainConfig, prices: Mapping[str, float]) -> list[dict[str, Any]]:
    from biolm.training.published import machines

    found = []
    for machine in machines():
        speed = machine.fp32 if config.precision == "fp32" else machine.half
        seconds = {"value": flops / speed.flops_per_second, "low": None, "high": None} if speed else None
        found.append(
            {
                "name": machine.name,
                "key": machine.key,
                "gpus": machine.gpus,
                "published": dataclasses.asdict(speed) if speed else None,
                "missing": None if speed else machine.missing,
                **_cost(seconds, machine.gpus, prices.get(machine.key)),
            }
        )
    return found


def _cost(seconds: dict[str, Any] | None, gpus: int, price: float | None) -> dict[str, Any]:
    hours = seconds["value"] / 3600 if seconds else None
    return {
        "seconds": seconds,
        "machine_hours": hours,
        "gpu_hours": hours * gpus if hours is not None and gpus else None,
        "price_per_hour": price,
        "cost": hours * price if hours is not None and price is not None else None,
    }


def show(facts: dict[str, Any]) -> None:
    """Print what `foresee` found."""
    from rich.table import Table
    from rich.text import Text

    from biolm.cli.tables import wide_console

    data, run, flops = facts["data"], facts["run"], facts["flops"]
    memory, disk = facts["memory"], facts["disk"]
    click.echo(
        f"data    {data['passages']:,} passages in {data['windows']:,} windows: {data['tokens']:,} tokens an epoch, "
        f"special tokens included; {data['truncated_tokens']:,} cut off"
    )
    click.echo(
        f"run     {run['steps']:,} steps, {run['steps_per_epoch']:,} an epoch, {run['epochs']:.4g} epochs; "
        f"{run['windows_per_step']:,.0f} windows and {run['tokens_per_step']:,.0f} tokens in each"
    )
    click.echo(
        f"        {run['windows']:,} windows and {run['tokens']:,} tokens in all, "
        f"{run['masked_tokens']:,} of them to predict"
    )
    click.echo(
        f"work    {flops['total']:.3g} floating-point operations, {flops['validation']:.2g} of them "
        f"in {run['validations']:,} validations"
    )
    parts = ("weights", "gradients", "optimizer", "average", "half_copies", "activations", "logits")
    click.echo(
        f"memory  {_size(memory['peak'])} at the peak, estimated: "
        + ", ".join(f"{part.replace('_', ' ')} {_size(memory[part])}" for part in parts if memory[part])
    )
    click.echo(
        f"disk    {_size(disk['total'])}: checkpoints {_size(disk['checkpoints'])} "
        f"({_size(disk['checkpoint'])} each), model {_size(disk['model'])}"
    )
    click.echo()
    table = Table(pad_edge=False)
    for heading in ("machine", "time", "GPU-hours", "cost", "speed of the arithmetic"):
        table.add_column(heading, overflow="fold")
    notes = []
    for machine in facts["machines"]:
        if machine.get("published"):
            notes.append(machine["published"])
        table.add_row(*map(Text, _row(machine, len(notes), run["tokens_per_step"])))
    wide_console().print(table)
    click.echo(facts["not_counted"])
    click.echo(facts["not_run"])
    for number, note in enumerate(notes, 1):
        click.echo(f"[{number}] {note['figure']}; {note['conversion']}.")
        click.echo(f"    {note['title']}, {note['address']}, read {note['read']}")
    click.echo(
        "Nothing was written but the token store in the cache: tokens can only be counted by tokenizing."
    )


def _row(machine: dict[str, Any], note: int, step_tokens: float) -> list[str]:
    if machine.get("missing"):
        return [machine["name"], "–", "–", "–", machine["missing"]]
    seconds, measured = machine["seconds"], machine.get("measured")
    took = _duration(seconds["value"])
    if measured is None:
        speed = f"{machine['published']['flops_per_second'] / 1e12:,.1f} TFLOP/s, published [{note}]"
    else:
        if measured["samples"] > 1:
            took += f" ({_duration(seconds['low'])} to {_duration(seconds['high'])})"
        low, middle, high, peak = (
            measured[f"{name}flops_per_second"] / 1e9 for name in ("slowest_", "", "fastest_", "peak_")
        )
        speed = (
            f"{middle:,.1f} GFLOP/s ({low:,.1f} to {high:,.1f} in {measured['samples']} steps of "
            f"{measured['sample_tokens']:,.0f} tokens), {measured['tokens_per_second']:,.0f} tokens/s, measured; "
            f"a step besides {measured['fixed_seconds']:.2g} s; a matrix product reaches {peak:,.1f}"
        )
        if measured["sample_tokens"] < step_tokens / 4:
            speed += "; larger steps did not fit the time, and are faster: the time is likely too long"
        if (measured["core_share"] or 1.0) < BUSY:
            speed += (
                f"; other programs took part of the cores ({measured['core_share']:.0%} left): measure again"
            )
    gpu_hours = "–" if machine["gpu_hours"] is None else f"{machine['gpu_hours']:,.3g}"
    cost = "–" if machine["cost"] is None else f"{machine['cost']:,.2f}"
    return [machine["name"], took, gpu_hours, cost, speed]


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.3g} s"


def _size(count: float) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
