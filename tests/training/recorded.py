"""`biolm` whose training steps write down what they were given; and many starts of it for the price of one import.

python recorded.py LOG pretrain ...    is `biolm pretrain ...`
python recorded.py --serve             is told such starts by a Forks, and forks for each
"""

import hashlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

IMPORTS = (
    "biolm.publishing.results",
    "biolm.training.run",
    "tensorboard.summary.writer.record_writer",
    "transformers.models.roberta.modeling_roberta",
)
"""What takes long to import."""
Windows = list[tuple[int, str]]
"""The number of each window, and a hash of what of it was shown and asked."""


@contextmanager
def recorded(log: Path) -> Iterator[None]:
    """Within it, each training step appends a line to `log` just before it is done."""
    from biolm.training.step import Trainer

    original = Trainer.step

    def step(self: Any, number: int, rows: Any, **rest: Any) -> Any:
        line = json.dumps({"step": number, "rank": self.ranks.rank, "windows": windows_of(rows)}) + "\n"
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(handle, line.encode())
        os.close(handle)
        return original(self, number, rows, **rest)

    Trainer.step = step
    try:
        yield
    finally:
        Trainer.step = original


def windows_of(rows: Sequence[Any]) -> Windows:
    """What packed rows hold, window by window, in their order."""
    found = []
    for row in rows:
        begin = masked = 0
        for example, length, count in zip(row.examples, row.lengths, row.masked_per_window, strict=True):
            positions = row.masked_positions[masked : masked + count] - begin
            seen = (row.input_ids[begin : begin + length], positions, row.labels[masked : masked + count])
            digest = hashlib.sha256(b"|".join(part.astype("<i8").tobytes() for part in seen))
            found.append((int(example), digest.hexdigest()[:16]))
            begin, masked = begin + int(length), masked + int(count)
    return found


def read_log(log: Path) -> dict[int, Windows]:
    """Step → its windows over all ranks, in order. A step that was done again must have been done alike."""
    found: dict[tuple[int, int], Windows] = {}
    for line in log.read_text().splitlines():
        said = json.loads(line)
        windows = [(example, digest) for example, digest in said["windows"]]
        assert found.setdefault((said["step"], said["rank"]), windows) == windows, said["step"]
    steps: dict[int, Windows] = {}
    for step, rank in sorted(found):
        steps[step] = sorted(steps.get(step, []) + found[step, rank])
    return steps


class Started:
    """A `biolm` that a server has forked."""

    def __init__(self, pid: int, server: "Forks", errors: Path) -> None:
        self.pid = pid
        self._server, self._errors = server, errors
        self.code: int | None = None
        """Its exit code once it has ended, negative for a signal."""

    def ended(self) -> bool:
        """Whether it has ended by now."""
        if self.code is None:
            self.code = self._server.ask({"ended": self.pid})
        return self.code is not None

    def wait(self) -> int:
        """Its exit code."""
        if self.code is None:
            self.code = self._server.ask({"wait": self.pid})
        assert self.code is not None
        return self.code

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def fill_disk(self, free: int) -> None:
        """Let no file that it writes grow beyond `free` bytes."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (free, free))

    @property
    def said(self) -> str:
        """What it wrote to standard output and error."""
        return self._errors.read_text()


class Forks:
    """A process that has imported everything, and forks for each `biolm` that is started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.kill()
        self._server.communicate()

    def start(self, log: Path, *words: str) -> Started:
        """Start `biolm WORDS`, its steps recorded in `log`."""
        self._count += 1
        errors = self._folder / f"said-{self._count}"
        return Started(self.ask({"start": words, "log": str(log), "said": str(errors)}), self, errors)

    def ask(self, question: dict[str, Any]) -> Any:
        """One question, one answer."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(question) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())


def serve() -> None:
    """Answer questions of a Forks, until there are no more."""
    for name in IMPORTS:
        importlib.import_module(name)
    spare_the_peak()
    while question := sys.stdin.readline():
        asked = json.loads(question)
        if "start" in asked:
            answer: int | None = os.fork()
            if not answer:
                said = os.open(asked["said"], os.O_WRONLY | os.O_CREAT)
                os.dup2(said, 1)
                os.dup2(said, 2)
                run(Path(asked["log"]), asked["start"])
        elif "wait" in asked:
            answer = os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])
        else:
            pid, status = os.waitpid(asked["ended"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        print(json.dumps(answer), flush=True)


def run(log: Path, words: list[str]) -> None:
    """Be `biolm WORDS`."""
    from biolm.cli import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    with recorded(log):
        main(words)


def spare_the_peak() -> None:
    """No half second for the device's matrix product: nothing here is about speed."""
    from biolm.training import speed

    speed.matmul_peak = lambda *_, seconds: 1e11


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve()
    else:
        run(Path(sys.argv[1]), sys.argv[2:])
