"""`biolm pretrain`: corpus and base in; run folder with a measured, described model out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biolm.cli.options import CorpusPlace, LocalPath, progress_for, quiet_option
from biolm.cli.settings import given, settings_options
from biolm.training.config import CHOICES, PretrainConfig

if TYPE_CHECKING:
    from biolm.corpus.places import Place


@click.command()
@click.argument("corpus", type=CorpusPlace())
@click.option(
    "--base", default="roberta-base", show_default=True, help="Folder or Hub name of the base model."
)
@click.option("--out", required=True, type=LocalPath(), help="Folder of the run.")
@click.option("--tokenizer", default=None, help="Tokenizer, where the base's folder holds none.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, if there is one.")
@click.option(
    "--evaluate-split",
    type=click.Choice(["test", "validation", "none"]),
    default="test",
    show_default=True,
    help="Split on which the final model is measured for its card, if the corpus has it.",
)
@quiet_option
@settings_options(PretrainConfig, CHOICES)
def pretrain(
    corpus: "Place",
    base: str,
    out: Path,
    tokenizer: str | None,
    resume: bool,
    evaluate_split: str,
    quiet: bool,
    **settings: Any,
) -> None:
    """Further-train a masked language model on CORPUS (a corpus, or its token store).

    The result, OUT/model, is a standard Hugging Face folder with its model card. OUT also holds the
    settings, metrics.jsonl, TensorBoard events and checkpoints.
    """
    config = PretrainConfig(**given(settings))

    from biolm.cli.tokenize import tokens_of
    from biolm.corpus.places import spelled
    from biolm.hub import resolve_folder
    from biolm.model.device import choose_device
    from biolm.publishing.results import describe_run
    from biolm.tokens.tokenizer import check_belongs, load_tokenizer
    from biolm.training import run as runs

    choose_device(config.device)
    progress = progress_for(quiet)
    folder = resolve_folder(base, weights=True)
    own = load_tokenizer(tokenizer or str(folder))
    check_belongs(own, folder)
    runs.check_out(out, resume=resume)
    store = tokens_of(corpus, own, progress)
    model = runs.pretrain(store, own, base, out, config, progress, resume=resume)
    describe_run(out, base, store, None if evaluate_split == "none" else evaluate_split, progress)
    click.echo(f"model  {model}")
    click.echo(f'next   biolm fill-mask {model} "Mutations in <mask> cause cancer."')
    click.echo(f"       biolm evaluate {model} {spelled(corpus)} --split test")
