"""The exceptions that biolm raises on purpose.

Every one carries one line: what is wrong, where, and the next step. The command line prints that line
and exits with code 2; anything else that escapes is a bug and keeps its traceback.
"""


class BiolmError(Exception):
    """Root of the tree: something that a user can put right."""

    exit_code = 2
    """With which the command line ends."""


class InputError(BiolmError):
    """A path, file or text that was given cannot be used."""


class ArtifactError(BiolmError):
    """A folder of ours (corpus, tokens, run, model) is missing, damaged or in the way."""


class ConfigError(BiolmError):
    """A setting is unknown, impossible, or contradicts another."""


class ModelError(BiolmError):
    """A model or tokenizer cannot be loaded, or the two do not belong together."""


class Stopped(BiolmError):  # noqa: N818  nothing went wrong
    """A run was asked to stop (SIGTERM, Ctrl-C): it saved and can be resumed."""

    exit_code = 75
    """EX_TEMPFAIL of sysexits.h: the same command with --resume goes on."""


class RankError(BiolmError):
    """A process of a training on several ranks died or lost the others."""

    exit_code = 1


def first_line(error: Exception) -> str:
    """What somebody else's exception says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
