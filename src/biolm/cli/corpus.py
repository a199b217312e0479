"""`biolm corpus`: build a corpus of passages from papers, add papers to it, look at it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biolm.cli.options import CorpusPlace, LocalPath, progress_for, quiet_option
from biolm.cli.settings import given, settings_options
from biolm.corpus.config import CorpusConfig
from biolm.corpus.engines import Engine
from biolm.sources.options import TextOptions

if TYPE_CHECKING:
    from biolm.corpus.places import Place

_ADDRESS = "or an address such as s3://bucket/corpus"


@click.group()
def corpus() -> None:
    """Build a corpus of passages from papers, add papers to it, look at it.

    A corpus is a folder here, or lies at an address that fsspec knows (s3://bucket/corpus).
    """


def _running_options(command: Any) -> Any:
    command = click.option(
        "--hold-out-text",
        multiple=True,
        type=LocalPath(),
        help="File of texts that must not occur: one a line, a table, PubTator or CoNLL; may be repeated.",
    )(command)
    command = click.option(
        "--work", help="Folder of extracts, or a URL such as s3://bucket/extracts; else in the cache folder."
    )(command)
    command = click.option(
        "--engine",
        type=click.Choice(("local", "ray")),
        default="local",
        show_default=True,
        help="ray: on the cluster that RAY_ADDRESS names.",
    )(command)
    return click.option("--workers", type=click.IntRange(1), help="Processes; one a core unless given.")(
        command
    )


@corpus.command(short_help="Build a corpus from papers.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", required=True, type=CorpusPlace(), help=f"The folder to write, {_ADDRESS}.")
@click.option(
    "--split", default="98/1/1", show_default=True, help="Shares of the papers: train/validation/test."
)
@click.option(
    "--hold-out",
    multiple=True,
    type=LocalPath(),
    help="File of PMIDs, PMCIDs or DOIs that must not enter, or @ner for those of NER benchmarks; repeatable.",
)
@settings_options(
    CorpusConfig, {}, without=("shares", "text", "passages_per_file", "hold_out", "hold_out_texts")
)
@settings_options(TextOptions, {})
@_running_options
@quiet_option
def build(
    sources: tuple[str, ...],
    out: "Place",
    split: str,
    hold_out: tuple[Path, ...],
    hold_out_text: tuple[Path, ...],
    workers: int | None,
    engine: Engine,
    work: str | None,
    quiet: bool,
    **settings: Any,
) -> None:
    """Read papers, and write their abstracts and figure legends as Parquet.

    A SOURCE is a file, folder or archive of JATS or PubMed XML, here or at an address that fsspec knows
    (s3://, gs://, https://), or the word @sample for the embedded sample of real papers. The folder can be
    read by datasets.load_dataset, and holds a dataset card. A build that was stopped takes up where it was.
    """
    from biolm.corpus.build import Running, build_corpus
    from biolm.corpus.holdout import read_held_out
    from biolm.corpus.split import parse_shares

    chosen = given(settings)
    text = TextOptions(**{name: chosen.pop(name) for name in TextOptions.__slots__ if name in chosen})
    ids = {name for path in hold_out for name in read_held_out(path)}
    config = CorpusConfig(**chosen, shares=parse_shares(split), hold_out=tuple(sorted(ids)), text=text)
    running = Running(workers=workers, engine=engine, work=work)
    _say(build_corpus(sources, out, config, progress_for(quiet), running, hold_out_text), out, quiet)


@corpus.command(short_help="A corpus with more papers, as a new folder.")
@click.argument("folder", metavar="DIR", type=CorpusPlace())
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "--out", required=True, type=CorpusPlace(), help=f"The folder to write, {_ADDRESS}; DIR stays as it is."
)
@click.option(
    "--replace", is_flag=True, help="Let papers of DIR go that a source of the same name has no more."
)
@_running_options
@quiet_option
def update(
    folder: "Place",
    sources: tuple[str, ...],
    out: "Place",
    hold_out_text: tuple[Path, ...],
    workers: int | None,
    engine: Engine,
    work: str | None,
    replace: bool,
    quiet: bool,
) -> None:
    """Add papers to the corpus DIR, with its settings, as a new corpus.

    Only what is new is read: the other papers come from their extracts. New versions of papers (by version, PubMed
    file or date of revision) replace old ones, withdrawn and retracted papers go, and papers of DIR stay in their
    split. A source of the same name as one of DIR stands for it.
    """
    from biolm.corpus.build import Running
    from biolm.corpus.update import update_corpus

    running = Running(workers=workers, engine=engine, work=work)
    progress = progress_for(quiet)
    _say(update_corpus(folder, sources, out, progress, running, hold_out_text, replace=replace), out, quiet)


@corpus.command(short_help="Say what a corpus holds.")
@click.argument("folder", metavar="DIR", type=CorpusPlace())
@click.option(
    "--examples", default=3, show_default=True, type=click.IntRange(0), help="Random passages to show."
)
@click.option("--seed", default=0, show_default=True, help="Chooses the passages.")
@click.option("--explain", metavar="ID", help="Say what happened to one paper: a PMID, PMCID or DOI.")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def show(folder: "Place", examples: int, seed: int, explain: str | None, as_json: bool) -> None:
    """Say what a corpus holds: counts, drops, licences, journals, lengths, and some of its passages."""
    from biolm.cli.tables import wide_console
    from biolm.corpus.reader import open_corpus
    from biolm.corpus.show import corpus_facts, print_explanation, print_facts

    opened = open_corpus(folder)
    if explain is not None:
        from biolm.corpus.explain import explain as explain_paper

        rows = list(explain_paper(opened, explain))
        if as_json:
            click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        else:
            print_explanation(explain, rows, wide_console(100))
        return
    facts = corpus_facts(opened, examples=examples, seed=seed)
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print_facts(facts, wide_console(100))


@corpus.command(short_help="Say how two corpora differ.")
@click.argument("old", metavar="A", type=CorpusPlace())
@click.argument("new", metavar="B", type=CorpusPlace())
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def diff(old: "Place", new: "Place", as_json: bool) -> None:
    """Say how corpus B differs from corpus A: papers and passages that came, went or moved, drops and settings."""
    from biolm.corpus.diff import corpus_diff
    from biolm.corpus.reader import open_corpus

    facts = corpus_diff(open_corpus(old), open_corpus(new))
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    for name in ("papers", "passages"):
        of = facts[name]
        click.echo(f"{name:<10}{of['old']:>12,} → {of['new']:<12,}+{of['added']:,} −{of['removed']:,}")
    for name, count in facts["papers"]["moved"].items():
        click.echo(f"  moved {name}: {count:,}")
    for reason, (before, after) in facts["dropped"].items():
        click.echo(f"  dropped {reason:<16}{before:>10,} → {after:,}")
    for name, (before, after) in facts["settings"].items():
        click.echo(f"  setting {name}: {json.dumps(before)} → {json.dumps(after)}")
    if facts["same"]:
        click.echo("the same passages, byte for byte")


def _say(manifest: dict[str, Any], out: "Place", quiet: bool) -> None:
    from biolm.corpus.places import below, spelled

    if quiet:
        return
    for name, facts in manifest["splits"].items():
        click.echo(f"{name:<11}{facts['passages']:>12,} passages of {facts['documents']:,} papers")
    for name in manifest["empty_splits"]:
        click.echo(f"{name:<11}{'no':>12} passages")
    dropped = [f"{count:,} {reason}" for reason, count in manifest["counts"]["dropped"].items() if count]
    if dropped:
        click.echo(f"{'dropped':<11}{', '.join(dropped)}")
    if held_out := manifest.get("held_out"):
        click.echo(
            f"{'held out':<11}{held_out['found']:,} of {held_out['ids']:,} ids are of papers that were read"
        )
    if failed := manifest["counts"]["articles_failed"]:
        click.echo(f"{'unreadable':<11}{failed:,} files or records: see {spelled(below(out, 'report.json'))}")
    click.echo(f"look at it with: biolm corpus show {spelled(out)}")
