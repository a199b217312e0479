"""The command line: joins the stages. Each command lives in a module of its own and is imported when used."""

import errno
import importlib
import os
import sys
import time
from typing import Any

import click

from biolm import __version__
from biolm.errors import BiolmError, RankError, Stopped

COMMANDS = {
    "sample": "biolm.cli.sample:sample",
    "papers": "biolm.cli.papers:papers",
    "corpus": "biolm.cli.corpus:corpus",
    "tokenize": "biolm.cli.tokenize:tokenize",
    "pretrain": "biolm.cli.pretrain:pretrain",
    "recipes": "biolm.cli.recipes:recipes",
    "evaluate": "biolm.cli.evaluate:evaluate",
    "score": "biolm.cli.score:score",
    "cloze": "biolm.cli.cloze:cloze",
    "fill-mask": "biolm.cli.fill_mask:fill_mask",
    "finetune": "biolm.cli.finetune:finetune",
    "tag": "biolm.cli.tag:tag",
    "score-mentions": "biolm.cli.score_mentions:score_mentions",
    "demo": "biolm.cli.demo:demo",
}
SUMMARIES = {
    "sample": "Fetch and list the embedded sample: real PubMed and PMC records.",
    "papers": "Fetch the open-access literature, and keep it up to date.",
    "corpus": "Build a corpus of passages from papers, or show one.",
    "tokenize": "Turn a corpus into a memory-mapped token store.",
    "pretrain": "Further-train a masked language model on a corpus.",
    "recipes": "Show whole configurations for pretraining, with the reason for each value.",
    "evaluate": "Measure a masked language model on a corpus.",
    "score": "Give each line of a file its pseudo-log-likelihood.",
    "cloze": "Count how often a model fills blanks with the right answers.",
    "fill-mask": "Fill the mask of a sentence.",
    "finetune": "Make a tagger of a base model: entities, roles, panels.",
    "tag": "Find the mentions in texts, papers and corpora.",
    "score-mentions": "Score predicted mentions against gold ones.",
    "demo": "Papers to a measured model, on the embedded sample.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called: `biolm --help` loads none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the work, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module that holds the command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from `SUMMARIES`."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SUMMARIES.items()))


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="biolm")
def app() -> None:
    """Papers to a language model that life scientists can use."""


def main(arguments: list[str] | None = None) -> None:
    """Run `biolm`; exits with 0, with 2 after one line about wrong input, with 130 after Ctrl-C.

    A training that was asked to stop and saved ends with 75.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        result: Any = app.main(given, prog_name="biolm", standalone_mode=False, obj=tuple(given))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        sys.exit(2)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "biolm"
        message = error.format_message().replace("\n", " ").rstrip(".")
        _fail(f"{message}; see `{command} --help`")
    except click.ClickException as error:
        _fail(error.format_message())
    except Stopped as error:
        if os.environ.get("RANK", "0") != "0":
            sys.exit(error.exit_code)  # the first rank speaks
        _fail(str(error), error.exit_code)
    except BiolmError as error:
        if isinstance(error, RankError) and "RANK" in os.environ:
            time.sleep(_HOLD_BACK)
        _fail(str(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("biolm: interrupted", err=True)
        sys.exit(130)
    except OSError as error:
        if error.filename is not None:
            _fail(f"{error.filename}: {error.strerror}; check the path and the disk")
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        _fail(f"{error.strerror}; check the disk")  # of a write, which does not know its file
    sys.exit(result if isinstance(result, int) else 0)


_HOLD_BACK = 3.0
"""Seconds for which a rank does not speak that may have nothing to add: to the first one, which says the same, or to
whoever started the ranks and ends them all when one is gone."""


def _fail(message: str, code: int = 2) -> None:
    line = "".join(
        letter if letter.isprintable() else " " for letter in message
    )  # a paper's id may be anything
    rank = os.environ.get("RANK", "0")  # of a training on several ranks
    if rank != "0":
        time.sleep(_HOLD_BACK)
    click.echo("biolm: " + f"rank {rank}: " * (rank != "0") + " ".join(line.split()), err=True)
    sys.exit(code)
