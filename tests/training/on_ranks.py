"""What one of several ranks does: runs, one after the other, as a JSON list of them on standard input says.

Each is {"base", "tokens", "out", "log", "settings", "stop", "copy_of"}; "{rank}" in `out` stands for the rank.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from recorded import recorded

from biolm.errors import BiolmError
from biolm.progress import Silent
from biolm.tokens.store import open_tokens
from biolm.tokens.tokenizer import load_tokenizer
from biolm.training import speed
from biolm.training.config import PretrainConfig
from biolm.training.ranks import Ranks, join_ranks
from biolm.training.run import pretrain


class Stop(Exception):  # noqa: N818
    pass


class StopAt(Silent):
    def __init__(self, step: int | None) -> None:
        self._step = step

    def update(self, done: float, note: str = "", *, before: bool = False) -> None:
        if done == self._step:
            raise Stop


def do(asked: dict[str, Any], ranks: Ranks) -> str:
    """How a run ended."""
    out = Path(asked["out"].format(rank=ranks.rank))
    if ranks.first and asked.get("copy_of"):
        shutil.copytree(asked["copy_of"], out)
    ranks.wait_for_all()
    tokenizer, config = load_tokenizer(asked["base"]), PretrainConfig(**asked["settings"])
    with recorded(Path(asked["log"])):
        try:
            pretrain(
                open_tokens(Path(asked["tokens"])),
                tokenizer,
                asked["base"],
                out,
                config,
                StopAt(asked.get("stop")),
                resume=True,
                ranks=ranks,
            )
        except Stop:
            return "stopped"
        except BiolmError as error:
            return f"{type(error).__name__}: {error}"
    return "finished"


def main() -> None:
    """Print a JSON list of how the runs ended."""
    speed.matmul_peak = lambda *_, seconds: 1e11
    asked = json.load(sys.stdin)
    with join_ranks("cpu") as ranks:
        print(json.dumps([do(run, ranks) for run in asked]))


if __name__ == "__main__":
    main()
