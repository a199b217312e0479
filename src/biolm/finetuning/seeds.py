"""One tagger, or one for each of several seeds, measured: what a run's folder tells of them together."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from biolm.artifacts import MANIFEST, sha256_json, write_json
from biolm.errors import ConfigError
from biolm.finetuning.config import FinetuneConfig
from biolm.finetuning.measure import Spread, measure
from biolm.finetuning.run import FINETUNING, TaggerData, dev_f1, finetune
from biolm.model.folder import read_model_manifest
from biolm.progress import Progress
from biolm.tagging.report import Report
from biolm.tagging.seen import names_in
from biolm.tagging.tagger import Tagger
from biolm.tagging.tasks import Example
from biolm.training.ranks import Ranks
from biolm.training.run_folder import RunKind

SCORES = "scores.json"
SEVERAL = RunKind("fine-tunings", 1, "biolm finetune TRAIN --seeds N", FinetuneConfig)
"""The folder of several seeds' runs."""


@dataclass(frozen=True, slots=True)
class SeedResult:
    """One seed's tagger."""

    seed: int
    run: Path
    model: Path
    dev_f1: float | None
    """None without dev documents."""
    scores: dict[str, Any] | None
    """`Report.as_dict()` on the test documents, where there are any."""


def finetune_seeds(
    data: TaggerData,
    test: Sequence[Example],
    base: str,
    out: Path,
    config: FinetuneConfig,
    seeds: Sequence[int],
    progress: Progress,
    *,
    resume: bool,
    ranks: Ranks,
    tokenizer: str | None = None,
    facts: dict[str, Any] | None = None,
) -> list[SeedResult]:
    """Train and measure a tagger for each seed: in `out` itself where there is one, else in `out/seed-N`.

    Of several, `out/model` becomes a copy of `best_of` them. `out/scores.json` gets each one's test scores, their mean
    and standard deviation. Ranks other than the first only train. Raises as `finetune`.
    """
    check_out(out, len(seeds), resume=resume)
    if len(seeds) > 1:
        ranks.wait_for_all()  # each has looked
        if ranks.first:
            out.mkdir(parents=True, exist_ok=True)
            started = {"kind": SEVERAL.name, "version": SEVERAL.version, "seeds": list(seeds)}
            if SEVERAL.is_run(out) and SEVERAL.read(out) != started:
                raise ConfigError(f"{out} was started with other seeds; choose another --out")
            write_json(out / "config.json", started)
    found = []
    for seed in seeds:
        run = out if len(seeds) == 1 else out / f"seed-{seed}"
        model = finetune(
            data,
            base,
            run,
            dataclasses.replace(config, seed=seed),
            progress,
            resume=resume,
            ranks=ranks,
            tokenizer=tokenizer,
            facts=facts,
        )
        if ranks.first:
            found.append(
                SeedResult(
                    seed, run, model, dev_f1(run, model), _scores(data, test, run, model, config, progress)
                )
            )
    if ranks.first:
        reports = [result.scores for result in found if result.scores is not None]
        if len(seeds) > 1:
            _put_best(found, out)
        if reports:
            write_json(out / SCORES, summary(found))
    return found


def check_out(out: Path, seeds: int, *, resume: bool) -> None:
    """Raise ArtifactError unless the runs of so many seeds may be started at `out`, or with `resume` gone on with."""
    (FINETUNING if seeds == 1 else SEVERAL).check_out(out, resume=resume)


def summary(results: Sequence[SeedResult]) -> dict[str, Any]:
    """What `scores.json` holds: figures over the seeds, and each seed's report."""
    rows = [_figures(result.scores) for result in results if result.scores is not None]
    return {
        "seeds": [result.seed for result in results],
        "dev_f1": [result.dev_f1 for result in results],
        "test": {
            name: Spread(tuple(row[name] for row in rows)).as_dict() for name in (rows[0] if rows else ())
        },
        "reports": [result.scores for result in results],
    }


def _figures(report: dict[str, Any]) -> dict[str, float]:
    strict = report["strict"]
    return {
        **{name: strict["micro"][name] or 0.0 for name in ("precision", "recall", "f1")},
        "macro_f1": strict["macro_f1"] or 0.0,
    }


def _scores(
    data: TaggerData,
    test: Sequence[Example],
    run: Path,
    model: Path,
    config: FinetuneConfig,
    progress: Progress,
) -> dict[str, Any] | None:
    """Test scores, kept in the run beside the identity of what was measured on what."""
    if not test:
        return None
    identity = sha256_json(
        {
            "model": read_model_manifest(model)["files"],
            "test": dataclasses.replace(data, train=test, dev=()).fingerprint(),
        }
    )
    path = run / "test.json"
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["identity"] == identity:
            return dict(before["report"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    progress.start("measure", len(test), "documents")
    tagger = Tagger.load(str(model), device=config.device)
    report: Report = measure(tagger, test, known=names_in(example.document for example in data.train))
    found = report.as_dict()
    write_json(path, {"identity": identity, "report": found})
    progress.finish(f"test F1 {100 * (report.strict.micro.f1 or 0):.2f}")
    return found


def best_of(results: Sequence[SeedResult]) -> SeedResult:
    """The one of the highest dev F1; without dev documents the first. Test documents never decide."""
    return max(results, key=lambda each: -1.0 if each.dev_f1 is None else each.dev_f1)


def _put_best(results: Sequence[SeedResult], out: Path) -> None:
    """Copy the model of the best seed to `out/model`, unless it is that one already."""
    best, target = best_of(results), out / "model"
    if target.is_dir() and (target / MANIFEST).read_bytes() == (best.model / MANIFEST).read_bytes():
        return
    partial = out / ".model.partial"
    for old in (partial, target):
        if old.exists():
            shutil.rmtree(old)
    shutil.copytree(best.model, partial)
    partial.rename(target)
