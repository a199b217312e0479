"""What a tagger's folder says beside the stock files: `tagger.json`."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from biolm.errors import ModelError

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
        settings = TaggerSettings(**value)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path} cannot be read ({error}); remove it, or train the model again") from None
    for name in ("overlap", "max_tokens"):
        number = getattr(settings, name)
        if number is not None and (not isinstance(number, int) or number < 0):
            raise ModelError(f"{path}: {name} is {number!r}; give a number of tokens")
    return settings
