"""What a tagger's folder says beside the stock files: `tagger.json`."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from biolm.annotations.tagged_words import SPACINGS
from biolm.errors import ModelError
from biolm.tagging.tasks import TASKS

FILE = "tagger.json"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggerSettings:
    """How texts are cut for a model, and what its labels mean. Of a stranger's model the defaults are taken."""

    task: str = "any"
    """One of `biolm.tagging.tasks.TASKS`."""
    max_tokens: int | None = None
    """Longest window in tokens, special tokens included; none: the model's limit."""
    overlap: int = 128
    """Tokens that neighbouring windows of a long text share; at most half a window."""
    scheme: str = "any"
    """IOB2: a mention begins with B- and never otherwise. any: it may begin with I- too, as in IOB1."""
    spacing: str = "reconstructed"
    """How words that come apart are joined for it, as in training: `biolm.annotations.iter_documents` has the ways."""

    def __post_init__(self) -> None:
        """Raise ModelError for what cannot be."""
        if self.task not in TASKS:
            raise ModelError(f"there is no task {self.task!r}; biolm knows {', '.join(TASKS)}")
        if self.scheme not in ("any", "IOB2"):
            raise ModelError(f"the scheme {self.scheme!r} is not known; biolm knows any and IOB2")
        if self.spacing not in SPACINGS:
            raise ModelError(
                f"the spacing {self.spacing!r} is not known; biolm knows {' and '.join(SPACINGS)}"
            )
        for name, least in (("max_tokens", 8), ("overlap", 0)):
            number = getattr(self, name)
            if number is None and name == "max_tokens":
                continue
            if type(number) is not int or number < least:
                raise ModelError(f"{name} is {number!r}; a number of tokens from {least} on is wanted")

    def content(self, limit: int, around: int) -> tuple[int, int]:
        """(tokens of a window, tokens that two share), special tokens not counted, under a model's `limit`.

        `around`: how many special tokens stand around a window.
        """
        content = min(self.max_tokens or limit, limit) - around
        return content, min(self.overlap, content // 2)


def write_settings(folder: Path, settings: TaggerSettings) -> None:
    """Write `tagger.json` into a folder that is being made."""
    value = {"version": VERSION, **dataclasses.asdict(settings)}
    (folder / FILE).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_settings(folder: Path) -> TaggerSettings:
    """Those of a model folder, the defaults where it has none. Raises ModelError for what cannot be read."""
    path = folder / FILE
    if not path.exists():
        return TaggerSettings()
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        version = value.pop("version")
        if version != VERSION:
            raise ModelError(f"{path} is of version {version}, and this biolm reads {VERSION}; update biolm")
        return TaggerSettings(**value)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ModelError) as error:
        raise ModelError(f"{path} cannot be used ({error}); remove it, or train the model again") from None
