"""`biolm corpus`: build a corpus of passages from papers, or show one."""

import json
from pathlib import Path

import click

from biolm.cli.options import progress_for, quiet_option


@click.group()
def corpus() -> None:
    """Build a corpus of passages from papers, or show one."""


@corpus.command(short_help="Build a corpus from papers.")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to write.")
@click.option("--min-chars", default=80, show_default=True, help="Drop shorter passages.")
@click.option("--max-chars", type=int, help="Drop longer passages; keeps all unless given.")
@click.option(
    "--split", default="98/1/1", show_default=True, help="Shares of the papers: train/validation/test."
)
@click.option("--seed", default=0, show_default=True, help="Chooses which papers each split gets.")
@quiet_option
def build(
    sources: tuple[Path, ...],
    out: Path,
    min_chars: int,
    max_chars: int | None,
    split: str,
    seed: int,
    quiet: bool,
) -> None:
    """Read papers, and write their abstracts and figure legends as Parquet.

    A SOURCE is a file, folder or archive of JATS or PubMed XML, or the word @sample for the embedded
    sample of real papers. The folder can be read by datasets.load_dataset, and holds a dataset card.
    """
    from biolm.corpus.build import build_corpus
    from biolm.corpus.config import CorpusConfig
    from biolm.corpus.split import parse_shares

    config = CorpusConfig(min_chars=min_chars, max_chars=max_chars, shares=parse_shares(split), seed=seed)
    manifest = build_corpus(sources, out, config, progress_for(quiet))
    if quiet:
        return
    for name, facts in manifest["splits"].items():
        click.echo(f"{name:<11}{facts['passages']:>12,} passages of {facts['documents']:,} papers")
    for name in manifest["empty_splits"]:
        click.echo(f"{name:<11}{'no':>12} passages")
    dropped = [f"{count:,} {reason}" for reason, count in manifest["counts"]["dropped"].items() if count]
    if dropped:
        click.echo(f"{'dropped':<11}{', '.join(dropped)}")
    click.echo(f"look at it with: biolm corpus show {out}")


@corpus.command(short_help="Say what a corpus holds.")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
def show(folder: Path, as_json: bool) -> None:
    """Say what a corpus holds: counts, drops, licences, journals, lengths, and three of its passages."""
    from biolm.corpus.reader import open_corpus
    from biolm.corpus.show import corpus_facts, print_facts

    facts = corpus_facts(open_corpus(folder))
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    from biolm.cli.tables import wide_console

    print_facts(facts, wide_console(100))
