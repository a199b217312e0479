"""The whole way on the embedded sample: papers → corpus → tokens → pretraining → evaluation → a model in use."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from biolm.artifacts import cache_folder, kind_of, write_json
from biolm.corpus.build import build_corpus
from biolm.corpus.config import CorpusConfig
from biolm.corpus.reader import KIND
from biolm.corpus.split import Shares
from biolm.errors import ArtifactError
from biolm.hub import resolve_folder
from biolm.model.loading import load_model
from biolm.progress import Progress
from biolm.publishing.curves import loss_curve
from biolm.publishing.results import describe_run
from biolm.recipes import demo, facts_for_run
from biolm.serving.fill_mask import FillMask
from biolm.sources.sample import SAMPLE, sample_model
from biolm.tokens.build import build_tokens
from biolm.tokens.tokenizer import load_tokenizer
from biolm.training.metrics import read_metrics
from biolm.training.run import pretrain

CORPUS = CorpusConfig(shares=Shares(train=97, validation=1, test=2), seed=5643)
"""Of the sample's 33 thousand papers only eight have figures; this seed, chosen for that alone, puts three of them into
the test split, so that figure legends are measured too."""
PARTS = frozenset({"corpus", "tokens", "run", "model", "loss.png", "results.json"})
"""What a demo's folder holds."""
SENTENCES = (
    "Mutations in the tumor suppressor <mask> cause cancer.",
    "The patients were randomly assigned to treatment or <mask>.",
    "Western blot analysis showed increased protein <mask> in treated cells.",
    "Expression of the gene was measured by quantitative <mask>.",
    "Mice were infected with the <mask> and survival was monitored.",
)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo leaves, for printing."""

    out: Path
    results: dict[str, dict[str, Any]]
    """`unigram`, `base`, `trained`, as in results.json."""
    fills: list[tuple[str, list[str], list[str]]]
    """(sentence, the base's likeliest words, the trained model's)."""


def run_demo(out: Path, base: str | None, steps: int | None, progress: Progress) -> DemoResult:
    """Run every stage into `out`, reusing what is finished there. `base`: None for the embedded MiniLM; `steps`: None
    for the recipe's.

    Raises BiolmError, for instance when `out` holds another demo (other steps or base).
    """
    _check_out(out)
    base = base or str(sample_model(cache_folder(), progress))
    tokenizer = load_tokenizer(str(resolve_folder(base, weights=True)))
    build_corpus([Path(SAMPLE)], out / "corpus", CORPUS, progress)
    store = build_tokens(out / "corpus", tokenizer, out / "tokens", progress)
    run = out / "run"
    recipe = demo()
    config = replace(recipe.config, max_steps=steps or recipe.config.max_steps)
    model = pretrain(
        store, tokenizer, base, run, config, progress, resume=True, recipe=facts_for_run(recipe, config)
    )
    loss_curve(read_metrics(run), out / "loss.png")
    measured = describe_run(run, base, store, "test", progress)
    assert measured is not None
    results = {
        "unigram": _groups(measured["unigram"]),
        "base": _groups(measured["compare"][0]),
        "trained": _groups(measured),
    }
    write_json(out / "results.json", results)
    link = out / "model"
    if not link.is_symlink():
        link.symlink_to(model.relative_to(out), target_is_directory=True)
    before = FillMask(
        load_model(resolve_folder(base, weights=True), unigram_counts=store.unigram_counts()), tokenizer
    )
    after = FillMask.load(str(model))
    fills = [(sentence, _words(before, sentence), _words(after, sentence)) for sentence in SENTENCES]
    return DemoResult(out, results, fills)


def _check_out(out: Path) -> None:
    """Raise ArtifactError unless `out` is new or holds nothing but an earlier demo."""
    if out.exists() and not out.is_dir():
        raise ArtifactError(f"{out} is a file; choose another --out")
    found = {path.name for path in out.iterdir() if not path.name.startswith(".")} if out.is_dir() else set()
    if found - PARTS or (found and kind_of(out / "corpus") != KIND):
        raise ArtifactError(f"{out} holds other files than a demo's; choose another --out")
    if "model" in found and not (out / "model").is_symlink():
        raise ArtifactError(f"{out / 'model'} is no link of a demo's; choose another --out")


def _groups(measured: dict[str, Any]) -> dict[str, Any]:
    """`overall` and `sections`, with the counts of the whole beside them as in `evaluate --json`."""
    counts = {part: measured["overall"][part] for part in ("masked_tokens", "documents")}
    return {**counts, **{part: measured[part] for part in ("overall", "sections")}}


def _words(model: FillMask, sentence: str) -> list[str]:
    return [f"{fill.token_str.strip()} {fill.score:.2f}" for fill in model(sentence, top_k=3)[0]]
