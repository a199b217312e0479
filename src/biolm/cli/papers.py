"""`biolm papers`: the open-access literature into a store of one's own, and what that holds."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from biolm.cli.options import LocalPath, progress_for, quiet_option
from biolm.cli.settings import given, settings_options
from biolm.papers.selection import Selection

if TYPE_CHECKING:
    from rich.console import Console

    from biolm.papers.runs import Fetching, Outcome


@click.group()
def papers() -> None:
    """Fetch the open-access literature as it is distributed, and keep it up to date.

    A paper store is a folder of Parquet shards that `biolm corpus build` reads.
    """


def _asking_options(command: Any) -> Any:
    command = click.option(
        "--contact",
        help="Your e-mail address, for the services to reach you by.  [default: $BIOLM_CONTACT]",
    )(command)
    command = click.option(
        "--in-flight",
        type=click.IntRange(1, 4096),
        default=128,
        show_default=True,
        help="Requests at the same time.",
    )(command)
    return click.option(
        "--endpoint",
        "endpoint",
        multiple=True,
        metavar="[SERVICE=]URL",
        help="Another server of a service's layout: a mirror, MinIO. Repeatable; see `biolm papers sources`.",
    )(command)


def _fetching(endpoint: tuple[str, ...], in_flight: int, contact: str | None) -> "Fetching":
    from biolm.papers.answers import HttpConfig
    from biolm.papers.runs import Fetching

    contact = contact or os.environ.get("BIOLM_CONTACT") or None
    return Fetching(endpoints=endpoint, http=HttpConfig(in_flight=in_flight, contact=contact))


@papers.command(short_help="Bring papers into a store.")
@click.option(
    "--out", required=True, type=LocalPath(), help="The store: a new folder, or one that gets what it lacks."
)
@click.option(
    "--source",
    default="pmc",
    show_default=True,
    help="pmc, europepmc, pubmed, a folder, or an address (s3://bucket/x).",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Everything that the service has: it wants a selection, or this.",
)
@click.option(
    "--ids",
    multiple=True,
    type=LocalPath(),
    help="File of PMCIDs to take, one a line, as PMC1234567: PMIDs are refused. Repeatable.",
)
@settings_options(Selection, {}, without=("ids",))
@click.option(
    "--dry-run", is_flag=True, help="Say how many articles, bytes and hours it would be; keep nothing."
)
@_asking_options
@quiet_option
def fetch(
    out: Path,
    source: str,
    everything: bool,
    ids: tuple[Path, ...],
    dry_run: bool,
    endpoint: tuple[str, ...],
    in_flight: int,
    contact: str | None,
    quiet: bool,
    **settings: Any,
) -> None:
    """Bring papers into the store --out: what is selected, verified, with what the service says of each.

    Stopped by anything, the same command goes on where it was. What a store has is not fetched again. What could not
    be had is named in the store's report.json.

    The selection is for pmc. Files of europepmc and pubmed hold thousands of papers: --sample takes so many files,
    --pmcids the bundles of europepmc that may hold them. A folder is taken whole. `biolm corpus build` selects.

    --query and --published ask ESearch: three times a second, ten times with NCBI's API key in $NCBI_API_KEY.
    """
    from biolm.papers.fetch import fetch_papers
    from biolm.papers.selection import read_pmcids

    chosen = given(settings)
    if ids:
        chosen["ids"] = read_pmcids(ids)
    selection = Selection(**chosen)
    fetching, progress = _fetching(endpoint, in_flight, contact), progress_for(quiet)
    if everything and not selection.is_everything:
        raise click.UsageError("--all is everything; give it without a selection")
    if dry_run:
        from biolm.papers.estimate import estimate_fetch

        estimate = estimate_fetch(out, source, selection, fetching, progress, everything=everything)
        for line in estimate.lines("articles" if source == "pmc" else "files"):
            click.echo(line)
        return
    with _interruptible(out):
        outcome = fetch_papers(out, source, selection, fetching, progress, everything=everything)
    _say(outcome, out, quiet)


@papers.command(short_help="Bring a store up to date.")
@click.argument("store", metavar="STORE", type=LocalPath())
@_asking_options
@quiet_option
def update(store: Path, endpoint: tuple[str, ...], in_flight: int, contact: str | None, quiet: bool) -> None:
    """Bring what is new or changed since, by the selections that STORE was fetched with.

    What was withdrawn or retracted is marked: it stays in the store, and the next corpus drops it and counts it.
    """
    from biolm.papers.fetch import update_papers

    fetching, progress = _fetching(endpoint, in_flight, contact), progress_for(quiet)
    with _interruptible(store):
        outcome = update_papers(store, fetching, progress)
    _say(outcome, store, quiet)


@papers.command(short_help="Say what a store holds.")
@click.argument("store", metavar="STORE", type=LocalPath())
@click.option("--verify", is_flag=True, help="Read everything, and compare it with its checksums.")
@click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
@quiet_option
def show(store: Path, verify: bool, as_json: bool, quiet: bool) -> None:
    """Say what STORE holds: papers by source, licence, year, journal and type, and how fresh they are."""
    from biolm.cli.paper_tables import counted, print_store, printable
    from biolm.papers.contents import store_facts
    from biolm.papers.store import open_store
    from biolm.papers.verify import verify_store

    opened = open_store(store)
    facts = store_facts(opened)
    if verify:
        damage = verify_store(opened, progress_for(quiet))
        facts["damaged"] = dict(damage)
    if as_json:
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print_store(facts, _console(100))
        if verify and not damage:
            click.echo(f"verified: {facts['papers'] + facts['files']:,} papers and files, nothing damaged")
    if verify and damage:
        from biolm.errors import ArtifactError

        names = printable(", ".join(name for name, _ in damage[:5]))
        raise ArtifactError(
            f"{counted(len(damage), 'part')} of {store} {'is' if len(damage) == 1 else 'are'} damaged ({names}); "
            "remove the shards and files that are named, and "
            "run the same `biolm papers fetch` again: what lay in them is fetched anew"
        )


@papers.command(short_help="Papers of a store as plain files.")
@click.argument("store", metavar="STORE", type=LocalPath())
@click.argument("out", metavar="DIR", type=LocalPath())
@click.argument("ids", metavar="[PMCID]...", nargs=-1)
@click.option(
    "--versions",
    type=click.Choice(("preferred", "all")),
    default="preferred",
    show_default=True,
    help="Of several versions of an article: published before manuscript, then the latest; or all.",
)
@quiet_option
def export(store: Path, out: Path, ids: tuple[str, ...], versions: str, quiet: bool) -> None:
    """Write papers of STORE, all or some, as XML files with their metadata into the new folder DIR."""
    from biolm.papers.export import export_papers
    from biolm.papers.store import open_store

    progress = progress_for(quiet)
    export_papers(open_store(store), out, ids, every_version=versions == "all", progress=progress)


@papers.command(short_help="List the services, with licence and terms.")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def sources(as_json: bool) -> None:
    """List the services that papers come from: what each has, under what licence and terms."""
    import dataclasses

    from biolm.papers.services import SERVICES

    if as_json:
        found = {name: dataclasses.asdict(service) for name, service in SERVICES.items()}
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    from biolm.cli.paper_tables import print_services

    print_services(_console(110))


def _console(columns: int) -> "Console":
    """In a pipe so many columns wide, or as wide as $COLUMNS says."""
    from biolm.cli.tables import wide_console

    said = os.environ.get("COLUMNS", "")
    return wide_console(int(said) if said.isdecimal() and int(said) > 0 else columns)


@contextmanager
def _interruptible(store: Path) -> Iterator[None]:
    """Ctrl-C is answered with what becomes of the work so far."""
    try:
        yield
    except KeyboardInterrupt:
        if not (store / "manifest.json").is_file():  # nothing came, and nothing was left
            raise
        click.echo(f"\nwhat was fetched is kept in {store}; the same command goes on from there", err=True)
        raise click.Abort from None  # click would put an empty line between this one and the last


def _say(outcome: "Outcome", store: Path, quiet: bool) -> None:
    from biolm.cli.paper_tables import outcome_lines, printable
    from biolm.errors import InputError

    if not quiet:
        for line in outcome.report.lines():
            click.echo(printable(line))
        if outcome.again:
            said = ", ".join(f"{count:,} {why}" for why, count in outcome.again.most_common())
            click.echo(f"requests made again: {printable(said)}")
        for line in outcome_lines(outcome.counts, outcome.report.marks):
            click.echo(line)
    if unanswered := outcome.report.counts["unanswered"]:
        raise InputError(
            f"{unanswered:,} got no answer, named in {store / 'report.json'}; run the same command again for them"
        )
    if not quiet:
        click.echo(f"look at it with: biolm papers show {store}")
        click.echo(f"build a corpus of it with: biolm corpus build {store} --out corpus")
