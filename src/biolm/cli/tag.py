"""`biolm tag`: texts and papers in; the mentions in them out, coloured or in any layout of annotated documents."""

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from biolm.cli.options import LocalPath, progress_for
from biolm.errors import ConfigError

if TYPE_CHECKING:
    from biolm.mentions import Document, Mention
    from biolm.progress import Progress
    from biolm.tagging.chain import Chain

logger = logging.getLogger(__name__)


@click.command()
@click.argument("model")
@click.argument("texts", nargs=-1, metavar="[TEXT|FILE]...")
@click.option(
    "--panels", default=None, metavar="MODEL", help="Find the panels of figure legends first, by this model."
)
@click.option(
    "--roles",
    multiple=True,
    metavar="MODEL",
    help="Tell the roles of the entities too, by this model; repeatable.",
)
@click.option(
    "--to",
    "form",
    type=click.Choice(["text", "jsonl", "pubtator", "bioc", "brat", "conll"]),
    default=None,
    help="Layout of the result.  [default: what OUT's ending names; text on a terminal, else jsonl]",
)
@click.option(
    "--out",
    type=LocalPath(),
    default=None,
    help="File (for brat: folder) to write.  [default: standard output]",
)
@click.option(
    "--resume", is_flag=True, help="Go on behind the documents that an earlier call for --out has tagged."
)
@click.option("--lines", is_flag=True, help="Each line of a text file is a document of its own.")
@click.option(
    "--from",
    "given",
    default=None,
    metavar="FORM",
    help="Form of annotated files, where it is not told by content.",
)
@click.option("--split", default=None, help="Split of a corpus or a folder of annotated files.")
@click.option(
    "--min-score",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Leave out mentions and roles less sure than this.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: CUDA where there is one.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    help="auto: half precision on a GPU and on a CPU with matrix units (AMX), else fp32.",
)
@click.option(
    "--max-row-tokens",
    type=click.IntRange(min=1),
    default=None,
    help="Tokens computed at once; bounds memory, changes no mention.",
)
@click.option("--quiet", is_flag=True, help="Say nothing while working.")
def tag(
    model: str,
    texts: tuple[str, ...],
    panels: str | None,
    roles: tuple[str, ...],
    form: str | None,
    out: Path | None,
    resume: bool,
    lines: bool,
    given: str | None,
    split: str | None,
    min_score: float,
    device: str,
    precision: str,
    max_row_tokens: int | None,
    quiet: bool,
) -> None:
    """Find the mentions in texts: words on the command line, text files, JATS or PubMed XML, corpora, annotated files.

    Of papers the title, the main abstract and the figure legends are read.

    MODEL is a token-classification folder (`biolm finetune` makes one) or a Hub name. With --panels and --roles, a
    legend's panels are found first, then the entities in each, then their roles. Without texts, standard input is read.
    """
    from biolm.cli.tag_inputs import Inputs, said
    from biolm.tagging.chain import Chain
    from biolm.tagging.tagger import Tagger

    form = form or _form_for(out)
    if form == "text" and out is not None:
        raise ConfigError("--to text is for the terminal; give another layout with --out, such as --to jsonl")
    if out is not None and (not out.name or (out.is_dir() and form != "brat")):
        raise ConfigError(f"--out {out} is a folder, and {form} is one file; name the file")
    if resume and out is None:
        raise ConfigError("--resume goes on with what is written to --out; name that file")
    documents = Inputs(texts or ("-",), lines=lines, form=given, split=split)
    progress = progress_for(quiet)
    taggers = [
        Tagger.load(name, device=device, precision=precision, max_row_tokens=max_row_tokens)
        for name in (model, *([panels] if panels else []), *roles)
    ]
    documents.spacing = taggers[0].settings.spacing
    if panels and not taggers[1].task.starts_only:
        raise ConfigError(f"--panels {panels} finds no panels: its task is {taggers[1].task.name}")
    for name, tagger in zip(roles, taggers[len(taggers) - len(roles) :], strict=True):
        if not tagger.task.hidden:
            raise ConfigError(f"--roles {name} tells no roles: its task is {tagger.task.name}")
    together = Chain(taggers)
    taken: Iterable[Document] = documents
    if together.needs_entities:
        taken = _with_entities(taken, taggers[0].task.hidden)
    if out is not None:
        _into_file(together, taken, out, form, resume=resume, min_score=min_score, progress=progress)
    elif form == "text":
        from biolm.cli.tag_terminal import print_documents

        print_documents(_sure(together.tag(taken), min_score))
    else:
        from biolm.annotations.write import write_documents

        _say_lost(write_documents(_sure(together.tag(taken), min_score), sys.stdout, form))
    _say_left_out(said(documents.counts.items()))


def _into_file(
    together: "Chain",
    documents: "Iterable[Document]",
    out: Path,
    form: str,
    *,
    resume: bool,
    min_score: float,
    progress: "Progress",
) -> None:
    from biolm.annotations.write import write_documents
    from biolm.tagging.journal import open_journal, tagger_identity

    identity = [tagger_identity(tagger) for tagger in together.taggers]
    with open_journal(out, identity, resume=resume) as journal:
        if journal.done:
            logger.info("going on behind %s documents that are tagged", f"{journal.done:,}")
        found = _sure(journal.tag(together, documents), min_score)
        _say_lost(write_documents(_counted(found, progress, before=journal.done), out, form))


def _say_lost(counts: "Mapping[str, int]") -> None:
    for why, count in counts.items():
        logger.warning("%s: %s", why, f"{count:,}")


def _form_for(out: Path | None) -> str:
    """The layout that a file's ending names; on a terminal text, else JSON lines."""
    if out is None:
        return "text" if sys.stdout.isatty() else "jsonl"
    from biolm.annotations.forms import plain_suffix

    named = {".pubtator": "pubtator", ".conll": "conll", ".tsv": "conll", ".json": "bioc"}
    return named.get(plain_suffix(out), "jsonl")


def _say_left_out(words: str) -> None:
    if words:
        logger.warning("of the input: %s", words)


_LOOKED_AT = 1000
"""Documents among which there must be one with mentions, where roles of given mentions are asked for."""


def _with_entities(documents: "Iterable[Document]", types: tuple[str, ...]) -> "Iterator[Document]":
    """Documents with entities whose roles can be told. Raises ConfigError where the first thousand have no mentions."""
    waiting = iter(documents)
    first = list(islice(waiting, _LOOKED_AT))
    if first and not any(document.mentions for document in first):
        raise ConfigError(
            f"the model tells roles of {', '.join(types)}, and {first[0].id} comes without mentions; give "
            "annotated documents, or a model of entities first and this one with --roles"
        )
    yield from chain(first, waiting)


def _sure(documents: "Iterable[Document]", least: float) -> "Iterator[Document]":
    from dataclasses import replace

    for document in documents:
        kept = tuple(each for each in document.mentions if each.score is None or each.score >= least)
        yield replace(document, mentions=tuple(_with_sure_role(each, least) for each in kept))


def _with_sure_role(mention: "Mention", least: float) -> "Mention":
    """The mention, without a role that is less sure."""
    from biolm.tagging.chain import ROLE_SCORE, without_role

    told = mention.attributes.get(ROLE_SCORE)
    return mention if told is None or float(told) >= least else without_role(mention)


def _counted(documents: "Iterable[Document]", progress: "Progress", *, before: int) -> "Iterator[Document]":
    """The documents, and how far they are; `before` of them were tagged by an earlier call."""
    count = mentions = 0
    progress.start("tag", None, "documents")
    if before:
        progress.update(before, before=True)
    for document in documents:
        yield document
        count, mentions = count + 1, mentions + len(document.mentions)
        if count > before:
            progress.update(count)
    progress.finish(f"{count:,} documents, {mentions:,} mentions")
