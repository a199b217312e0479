"""`biolm pretrain`: corpus and base in; run folder with a measured, described model out."""

import dataclasses
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biolm.cli.options import CorpusPlace, LocalPath, column_options, progress_for, quiet_option
from biolm.cli.settings import given, parse_settings, settings_options
from biolm.errors import ConfigError
from biolm.recipes import EMBEDDED, facts_for_run, recipe_named
from biolm.training.config import CHOICES, PretrainConfig

if TYPE_CHECKING:
    from biolm.corpus.places import Place
    from biolm.progress import Progress
    from biolm.tokens.source import TextColumns
    from biolm.tokens.store import TokenStore


@click.command()
@click.argument("corpus", type=CorpusPlace())
@click.option(
    "--base",
    default=None,
    help="Folder or Hub name of the base model.  [default: the recipe's, else roberta-base]",
)
@click.option(
    "--out", default=None, type=LocalPath(), help="Folder of the run.  [required but for --dry-run]"
)
@click.option(
    "--recipe", "recipe_name", default=None, metavar="NAME", help="Settings by name: `biolm recipes`."
)
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting other than the recipe's, as often as needed; an option such as --lr-peak counts more.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Train nothing: say what the run will take, here by a measurement of 20 seconds and elsewhere. "
    "Only tokens are made, in the cache.",
)
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print one JSON object.")
@click.option(
    "--price-per-hour",
    "prices",
    multiple=True,
    metavar="[MACHINE=]X",
    help="With --dry-run: what this machine, or one of 4xV100, 1xA100 and 8xH100, costs an hour.",
)
@click.option("--tokenizer", default=None, help="Tokenizer, where the base's folder holds none.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, if there is one.")
@click.option(
    "--evaluate-split",
    type=click.Choice(["test", "validation", "none"]),
    default="test",
    show_default=True,
    help="Split on which the final model is measured for its card, if the corpus has it.",
)
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    default=None,
    help="Train on so many GPUs (or, on a CPU, processes) of this machine; for several machines use torchrun.",
)
@column_options
@quiet_option
@settings_options(PretrainConfig, CHOICES)
def pretrain(
    corpus: "Place",
    base: str | None,
    out: Path | None,
    recipe_name: str | None,
    sets: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
    prices: tuple[str, ...],
    tokenizer: str | None,
    resume: bool,
    evaluate_split: str,
    devices: int | None,
    text_column: str | None,
    document_column: str | None,
    quiet: bool,
    **settings: Any,
) -> int:
    """Further-train a masked language model on CORPUS (a corpus, its token store, or data of others: `biolm tokenize`).

    The result, OUT/model, is a standard Hugging Face folder with its model card. OUT also holds the
    settings, metrics.jsonl, TensorBoard events and checkpoints.
    """
    if out is None and not dry_run:
        raise click.MissingParameter(param_hint="--out", param_type="option")
    if not dry_run and (as_json or prices):
        raise ConfigError(f"{'--json' if as_json else '--price-per-hour'} goes with --dry-run")
    recipe = recipe_named(recipe_name) if recipe_name else None
    named = {**parse_settings(PretrainConfig, CHOICES, sets), **given(settings)}
    config = dataclasses.replace(recipe.config if recipe else PretrainConfig(), **named)
    followed = facts_for_run(recipe, config) if recipe else None

    if devices is not None and devices > 1 and "WORLD_SIZE" in os.environ:
        raise ConfigError(
            "--devices starts ranks, and torchrun has started this one already; give one of the two"
        )

    from biolm.cli.dry_run import foresee, parse_prices, show
    from biolm.cli.tokenize import say_missing, tokens_of
    from biolm.hub import resolve_folder
    from biolm.publishing.results import describe_run
    from biolm.tokens.source import TextColumns
    from biolm.tokens.tokenizer import check_belongs, load_tokenizer
    from biolm.training import run as runs
    from biolm.training.ranks import join_ranks

    hourly = parse_prices(prices)
    columns = TextColumns(text=text_column, document=document_column)
    with join_ranks(config.device) as ranks:
        progress = progress_for(quiet or not ranks.first)
        if not ranks.first:
            logging.getLogger("biolm").setLevel(logging.ERROR)  # the first one warns
        with ranks.in_turn("tokens"):
            base = _base(base or (recipe.base if recipe else "roberta-base"), progress)
            folder = resolve_folder(base, weights=True)
            own = load_tokenizer(tokenizer or str(folder))
            check_belongs(own, folder)
            if out is not None:
                runs.check_out(out, resume=resume)
            store = tokens_of(corpus, own, progress, columns)
        if dry_run:
            if not ranks.first:
                return 0
            facts = foresee(store, own, folder, config, hourly, progress)
            if as_json:
                settled = {"base": base, "recipe": followed, "config": dataclasses.asdict(config)}
                click.echo(json.dumps({**settled, **facts}))
            else:
                show(facts)
            return 0
        assert out is not None
        if devices is not None and devices > 1:
            return _on_devices(devices)
        if ranks.first:
            say_missing(store, evaluate_split)
        model = runs.pretrain(
            store, own, base, out, config, progress, resume=resume, ranks=ranks, recipe=followed
        )
    if ranks.first:
        split = None if evaluate_split == "none" else evaluate_split
        results = describe_run(out, base, store, split, progress)
        if results is not None:
            figures = {name: "–" if v is None else f"{v:.4f}" for name, v in results["figures"].items()}
            click.echo("   ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items()))
        _say_next(model, corpus, columns, store)
    return 0


def _base(name: str, progress: "Progress") -> str:
    """The base model's folder or Hub name."""
    if name != EMBEDDED:
        return name
    from biolm.artifacts import cache_folder
    from biolm.sources.sample import sample_model

    return str(sample_model(cache_folder(), progress))


def _on_devices(devices: int) -> int:
    """Run this very command on several ranks; returns their exit code."""
    from biolm.training.launch import launch

    given_words: list[str] = list(click.get_current_context().find_root().obj)
    at = next(place for place, word in enumerate(given_words) if word.partition("=")[0] == "--devices")
    del given_words[at : at + (1 if "=" in given_words[at] else 2)]
    return launch(given_words, devices)


def _say_next(model: Path, corpus: "Place", columns: "TextColumns", store: "TokenStore") -> None:
    from biolm.corpus.places import spelled

    click.echo(f"model  {model}")
    click.echo(f'next   biolm fill-mask {model} "Mutations in <mask> cause cancer."')
    measured = next((split for split in ("test", "validation") if split in store.splits), None)
    if measured is not None:
        click.echo(
            f"       biolm evaluate {model} {spelled(corpus)}{columns.as_options()} --split {measured}"
        )
