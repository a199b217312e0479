"""Options that several commands share."""

import logging
import sys
from collections.abc import Callable
from typing import Any

import click

from biolm.progress import Bar, Lines, Progress, Silent


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
