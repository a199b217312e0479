"""The exceptions that biolm raises on purpose.

Every one carries one line: what is wrong, where, and the next step. The command line prints that line
and exits with code 2; anything else that escapes is a bug and keeps its traceback.
"""


class BiolmError(Exception):
    """Root of the tree: something that a user can put right."""


class InputError(BiolmError):
    """A path, file or text that was given cannot be used."""


class ArtifactError(BiolmError):
    """A folder of ours (corpus, tokens, run, model) is missing, damaged or in the way."""


class ConfigError(BiolmError):
    """A setting is unknown, impossible, or contradicts another."""


class ModelError(BiolmError):
    """A model or tokenizer cannot be loaded, or the two do not belong together."""
