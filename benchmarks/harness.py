"""What every benchmark shares: cells on disk, the machine's description, the table and the last line."""

import dataclasses
import hashlib
import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from biolm.artifacts import write_manifest
from biolm.tokens.store import KIND, VERSION
from biolm.tokens.tokenizer import Vocabulary

HERE = Path(__file__).parent


def cell(
    benchmark: str, name: str, settings: dict[str, Any], work: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The result of `work`, from `benchmarks/cells/` where an earlier, interrupted run of the same day left it.

    One file for each cell of the grid, so a stopped benchmark goes on where it was. Its name holds a hash of the
    settings, the script and the code it measures, the packages' versions and the day.
    """
    code = [HERE / f"{benchmark}.py", *sorted((HERE.parent / "src").rglob("*.py"))]
    sources = hashlib.sha256(b"".join(path.read_bytes() for path in code)).hexdigest()
    versions = [version(package) for package in ("torch", "transformers")]
    identity = json.dumps([settings, sources, versions, datetime.now(UTC).date().isoformat()], sort_keys=True)
    key = hashlib.sha256(identity.encode()).hexdigest()[:12]
    return stored(HERE / "cells" / benchmark / f"{name}-{key}.json", work)


def stored(path: Path, work: Callable[[], Any]) -> Any:
    """The result of `work`, from a file of JSON where an earlier run left it, else computed and left there."""
    if path.is_file():
        return json.loads(path.read_text())
    result = work()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result))
    partial.rename(path)
    return result


def median(values: list[float]) -> float:
    """Median, to be quoted."""
    return statistics.median(values)


def memory_mib(line: str = "VmHWM") -> float:
    """A line of /proc/self/status in MiB: the most that this process has held ("VmRSS": what it holds).

    ru_maxrss would begin at the peak of the process that started it.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{line}:")[2].split()[0]) / 1024


def machine() -> dict[str, Any]:
    """Processor, cores and memory, as the system tells them."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "system": platform.platform(),
    }


def finish(name: str, result: dict[str, Any], packages: tuple[str, ...], *, save: bool) -> None:
    """Print the result as the last line; with `save`, also write `benchmarks/results/NAME.json`."""
    if save:
        (HERE / "results").mkdir(exist_ok=True)
        facts = {
            **result,
            "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
            "machine": machine(),
            "date": datetime.now(UTC).date().isoformat(),
        }
        (HERE / "results" / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(result))


def write_store(folder: Path, vocabulary: Vocabulary, splits: Mapping[str, Sequence[Any]]) -> None:
    """A token store of passages (ids of each) that are documents of their own, under uint16; every id as frequent."""
    facts = {}
    for split, passages in splits.items():
        lengths, count = [len(ids) for ids in passages], len(passages)
        np.concatenate([np.asarray(ids, "<u2") for ids in passages]).tofile(folder / f"{split}.ids")
        np.concatenate([[0], np.cumsum(lengths)]).astype("<i8").tofile(folder / f"{split}.offsets")
        np.arange(count, dtype="<i4").tofile(folder / f"{split}.documents")
        np.zeros(count, np.uint8).tofile(folder / f"{split}.sections")
        facts[split] = {"passages": count, "tokens": sum(lengths), "documents": count}
    np.ones(vocabulary.size, "<i8").tofile(folder / "unigram.counts")
    write_manifest(
        folder,
        kind=KIND,
        version=VERSION,
        corpus={},
        dtype="uint16",
        vocabulary=dataclasses.asdict(vocabulary),
        splits=facts,
    )
