"""`biolm finetune`: annotated documents and a base in; a measured, described tagger out."""

import logging
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biolm.cli.annotated import as_type_option, names_in, spacing_option, types_option
from biolm.cli.options import LocalPath, progress_for, quiet_option
from biolm.cli.settings import given, settings_options
from biolm.errors import ConfigError, InputError
from biolm.finetuning.config import CHOICES, NOT_OFFERED, FinetuneConfig

if TYPE_CHECKING:
    from biolm.finetuning.seeds import SeedResult
    from biolm.mentions import Document


@click.command()
@click.argument("train", type=LocalPath())
@click.option(
    "--base", default="roberta-base", show_default=True, help="Folder or Hub name of the base model."
)
@click.option("--out", required=True, type=LocalPath(), help="Folder of the run.")
@click.option(
    "--dev",
    type=LocalPath(),
    default=None,
    help="Annotated documents by which the best weights are chosen.  [default: TRAIN's own validation split, if any]",
)
@click.option(
    "--dev-share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=None,
    help="Without --dev: so much of TRAIN's documents instead, chosen by a hash of their ids.",
)
@click.option(
    "--test",
    type=LocalPath(),
    default=None,
    help="Annotated documents for the scores in the card.  [default: TRAIN's test split, if it has one]",
)
@click.option(
    "--task",
    default="any",
    show_default=True,
    help="any (all types of TRAIN), NER, PANELIZATION, GENEPROD_ROLES or SMALL_MOL_ROLES.",
)
@types_option
@as_type_option
@spacing_option
@click.option(
    "--labels",
    default=None,
    metavar="NAME,...",
    help="Names of a table's numbers, where it has none of its own.",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Train so many, from --seed on."
)
@click.option("--tokenizer", default=None, help="Tokenizer, where the base's folder holds none.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, if there is one.")
@click.option(
    "--search",
    "trials",
    type=click.IntRange(min=1),
    default=None,
    metavar="TRIALS",
    help="First look for learning rate, epochs and windows a step, in so many trials on the dev documents (Optuna).",
)
@quiet_option
@settings_options(FinetuneConfig, CHOICES, without=NOT_OFFERED)
def finetune(
    train: Path,
    base: str,
    out: Path,
    dev: Path | None,
    dev_share: float | None,
    test: Path | None,
    task: str,
    types: tuple[str, ...],
    as_type: str | None,
    spacing: str,
    labels: str | None,
    seeds: int,
    tokenizer: str | None,
    resume: bool,
    trials: int | None,
    quiet: bool,
    **settings: Any,
) -> None:
    """Make a tagger of a base model: TRAIN holds texts with the mentions to be found.

    TRAIN, --dev and --test are CoNLL/IOB, PubTator, BioC, brat, SourceData XML, JSON lines, Parquet or a folder of the
    datasets library. The result, OUT/model, is a standard token-classification folder with its card.
    """
    if dev is not None and dev_share is not None:
        raise ConfigError("--dev and --dev-share both say which documents choose; give one of the two")
    config = FinetuneConfig(**given(settings))

    from biolm.annotations.read import splits_in
    from biolm.cli.annotated import read_annotated
    from biolm.finetuning.run import TaggerData
    from biolm.finetuning.seeds import best_of, check_out, finetune_seeds
    from biolm.publishing.tagger_card import write_tagger_card
    from biolm.tagging.tasks import examples, task_of
    from biolm.training.ranks import join_ranks

    wanted = task_of(task)
    if (types or as_type) and wanted.types:
        option = "--types" if types else "--as-type"
        raise ConfigError(
            f"the task {wanted.name} says itself which types are looked for; leave {option} out"
        )
    names = names_in(labels) if labels else None
    with join_ranks(config.device) as ranks:
        progress = progress_for(quiet or not ranks.first)
        if not ranks.first:
            logging.getLogger("biolm").setLevel(logging.ERROR)  # the first one warns
        check_out(out, seeds, resume=resume)
        splits = splits_in(train)

        def read(path: Path | None, split: str) -> "list[Document]":
            if path is None and split not in splits:
                return []
            return read_annotated(
                path or train,
                split=split if path is None else None,
                spacing=spacing,
                labels=names,
                types=types,
                all_types=split == "train",
                as_type=as_type,
                say=ranks.first,
            )

        own = read(None if "train" in splits else train, "train")
        chosen, measured = read(dev, "validation"), read(test, "test")
        if dev_share is not None:
            own, chosen = _shared_out(own, dev_share)
        data = TaggerData.of(own, chosen, wanted, spacing=spacing)
        facts = {
            "train": train.name,
            "train_documents": len(own),
            "train_examples": len(data.train),
            "dev": dev.name if dev else None,
            "test": test.name if test else (train.name if measured else None),
        }
        if trials is not None:
            from biolm.finetuning.search import search

            config = search(
                data,
                base,
                out.with_name(f"{out.name}-search"),
                config,
                trials,
                progress,
                ranks=ranks,
                tokenizer=tokenizer,
            )
        lost: Counter[str] = Counter()
        test_examples = list(examples(measured, wanted, lost))
        for why, count in lost.items():
            logging.getLogger(__name__).warning("of the test mentions %s are %s", f"{count:,}", why)
        results = finetune_seeds(
            data,
            test_examples,
            base,
            out,
            config,
            range(config.seed, config.seed + seeds),
            progress,
            resume=resume,
            ranks=ranks,
            tokenizer=tokenizer,
            facts=facts,
        )
        for result in results:
            write_tagger_card(result.model, result.scores, dev_f1=result.dev_f1)
        if ranks.first:
            if seeds > 1:
                best = best_of(results)
                write_tagger_card(out / "model", best.scores, dev_f1=best.dev_f1)
            _say(out, results)


def _shared_out(documents: "list[Document]", share: float) -> "tuple[list[Document], list[Document]]":
    """(training, dev) documents: a document's side follows from its id alone."""
    import hashlib

    def dev(document: "Document") -> bool:
        digest = hashlib.sha256(f"dev {document.id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < share * 2**64

    own = [document for document in documents if not dev(document)]
    chosen = [document for document in documents if dev(document)]
    if not own or not chosen:
        raise InputError(
            f"--dev-share {share} of {len(documents)} documents leaves {len(own)} to train on and {len(chosen)} to "
            "choose by; give another share, or --dev"
        )
    return own, chosen


def _say(out: Path, results: "list[SeedResult]") -> None:
    from biolm.finetuning.measure import Spread

    dev = [result.dev_f1 for result in results if result.dev_f1 is not None]
    if dev:
        click.echo(f"dev F1   {Spread(tuple(dev))}")
    reports = [result.scores["strict"] for result in results if result.scores is not None]
    for name, key in (("F1", "f1"), ("precision", "precision"), ("recall", "recall")):
        if reports:
            values = tuple(report["micro"][key] or 0.0 for report in reports)
            click.echo(f"test {name}  {Spread(values)}")
    click.echo(f"model  {out / 'model'}")
    click.echo(f'next   biolm tag {out / "model"} "Mutations in BRCA1 cause breast cancer."')
