"""Options that several commands share."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from biolm.progress import Bar, Lines, Progress, Silent


class CorpusPlace(click.ParamType):
    """A corpus, or data of others: a path here, an address that fsspec knows, or hf://datasets/OWNER/NAME."""

    name = "dir"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A Path, or the address as it is."""
        from biolm.corpus.places import place_of

        return place_of(value)


class LocalPath(click.Path):
    """A path here, for what cannot be written to a store or read from one."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A Path; an address is refused."""
        if "://" in str(value):
            from biolm.sources.remote import is_url, shown

            if is_url(str(value)):
                self.fail(f"{shown(str(value))} is an address, and this must be a path here", param, ctx)
        return super().convert(value, param, ctx)


def column_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--text-column` and `--document-column`: handed on as `text_column` and `document_column`."""
    text = click.option(
        "--text-column",
        default=None,
        metavar="NAME",
        help="Column of the texts, where CORPUS is no corpus of biolm's.  [default: text]",
    )
    document = click.option(
        "--document-column",
        default=None,
        metavar="NAME",
        help="Column that says which document a text is of; else each is a document of its own.",
    )
    return text(document(command))


def quiet_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--quiet`: handed on as the argument `quiet`."""
    return click.option("--quiet", is_flag=True, help="Say nothing while working.")(command)


def progress_for(quiet: bool) -> Progress:
    """A bar on a terminal, plain lines elsewhere, silence when asked; the log goes to standard error likewise."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("biolm").setLevel(logging.WARNING if quiet else logging.INFO)
    if quiet:
        return Silent()
    if not sys.stderr.isatty():
        return Lines()
    bar = Bar()
    click.get_current_context().call_on_close(bar.close)  # an error must not leave the cursor hidden
    return bar
