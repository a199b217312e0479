"""Papers to a corpus folder: Parquet splits, dataset card, manifest and a report of what was unreadable."""

import json
import shlex
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import biolm
from biolm.artifacts import check_free, kind_of, new_folder, write_manifest, write_text
from biolm.corpus.card import render_card
from biolm.corpus.counts import Counts
from biolm.corpus.documents import Documents
from biolm.corpus.inputs import resolve_input
from biolm.corpus.passages import Reason, Sieve
from biolm.corpus.reader import KIND, VERSION, open_corpus
from biolm.corpus.split import SPLITS, Shares, split_of
from biolm.corpus.writer import SplitWriter
from biolm.errors import ArtifactError, ConfigError, InputError
from biolm.progress import Progress
from biolm.records import Article, Passage, Unreadable

REPORT = "report.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusConfig:
    """How articles become a corpus."""

    min_chars: int = 80
    """Shorter passages are dropped: "Figure 1" and "No abstract available" teach nothing. At least 1."""
    max_chars: int | None = None
    """Longer passages are dropped; None keeps all: how much of one a model reads is decided later."""
    shares: Shares = field(default_factory=Shares)
    """How much of the papers each split gets."""
    seed: int = 0
    """Chooses which papers each split gets."""
    passages_per_file: int = 200_000
    """A Parquet file ends before the article that would exceed this many passages (about 110 MB)."""

    def __post_init__(self) -> None:
        if self.min_chars < 1:
            raise ConfigError(f"the minimum is {self.min_chars} characters; give 1 or more")
        if self.max_chars is not None and self.max_chars < self.min_chars:
            raise ConfigError(
                f"the maximum of {self.max_chars} characters is below the minimum of {self.min_chars}"
            )
        if self.passages_per_file < 1:
            raise ConfigError(f"a file of {self.passages_per_file} passages is impossible; give 1 or more")

    def settings(self) -> dict[str, Any]:
        """The settings as the manifest records them."""
        return {
            "min_chars": self.min_chars,
            "max_chars": self.max_chars,
            "split": str(self.shares),
            "seed": self.seed,
            "passages_per_file": self.passages_per_file,
        }


def build_corpus(
    sources: Sequence[Path], out: Path, config: CorpusConfig, progress: Progress
) -> dict[str, Any]:
    """Read papers, write the corpus folder `out`, and return its manifest.

    A source is a file or folder that `read_source` reads, or `@sample`. Where `out` holds the corpus of the
    same sources, settings and biolm version already, its manifest is returned and nothing is done. The same
    sources give the same bytes. Raises InputError where a source cannot be used or no passage is kept, and
    ArtifactError where `out` holds anything else.
    """
    if not sources:
        raise InputError("no source given; give files or folders of papers, or @sample")
    if kind_of(out) != KIND:
        check_free(out)
    inputs = [resolve_input(source, progress) for source in sources]
    for source in inputs:
        if source.path.is_dir() and out.absolute().resolve().is_relative_to(source.path.resolve()):
            raise InputError(f"{out} lies inside the source {source.path}; choose another --out")
    made_from = {
        "settings": config.settings(),
        "sources": [source.facts() for source in inputs],
        "command": _command([source.name for source in inputs], config),
    }
    if kind_of(out) == KIND:
        return _reuse(out, made_from, progress)
    with new_folder(out, kind=KIND) as folder:
        progress.start("build corpus", None, "articles")
        articles = (article for source in inputs for article in source.articles())
        counts = write_passages(articles, folder, config, progress)
        if not counts.passages_kept:
            raise InputError(_nothing_kept([str(source) for source in sources], counts))
        facts = {**counts.facts(), **made_from}
        write_text(folder / "README.md", render_card(facts))
        manifest = write_manifest(folder, kind=KIND, version=VERSION, **facts)
    progress.finish(
        f"{counts.passages_kept:,} passages of {counts.articles_read:,} articles in {out}"
        + (f", {counts.articles_failed:,} unreadable (see {out / REPORT})" if counts.articles_failed else "")
    )
    return manifest


def write_passages(
    records: Iterable[Article | Unreadable], folder: Path, config: CorpusConfig, progress: Progress
) -> Counts:
    """Write the Parquet files and `report.json` of a stream of articles into `folder`, and count.

    Memory grows by about 120 bytes a paper and 25 a passage, whatever the length of the texts.
    """
    counts, documents = Counts(), Documents()
    sieve = Sieve(min_chars=config.min_chars, max_chars=config.max_chars)
    with ExitStack() as files:
        report = files.enter_context((folder / REPORT).open("w", encoding="utf-8"))
        report.write('{"unreadable": [')
        writers = {
            split: files.enter_context(SplitWriter(folder, split, config.passages_per_file))
            for split in SPLITS
        }
        for record in records:
            if isinstance(record, Unreadable):
                report.write(",\n" if counts.articles_failed else "\n")
                failure = {"source": record.source, "reason": record.reason}
                report.write(json.dumps(failure, ensure_ascii=False))
                counts.articles_failed += 1
                counts.first_failure = counts.first_failure or f"{record.source}: {record.reason}"
                continue
            counts.articles_read += 1
            number = documents.number_of(record)
            document = documents.name(number)
            kept: list[Passage] = []
            for found in sieve.sift(record, document):
                counts.passages_found += 1
                if isinstance(found, Passage):
                    kept.append(found)
                else:
                    counts.dropped[found] += 1
            if kept:
                split = split_of(document, config.shares, config.seed)
                writers[split].add(kept)
                counts.keep(kept, split, number)
            if counts.articles_read % 256 == 0:
                progress.update(counts.articles_read, f"{counts.passages_kept:,} passages")
        for writer in writers.values():
            writer.finish()
        report.write("\n]}\n" if counts.articles_failed else "]}\n")
    return counts


def _reuse(out: Path, made_from: dict[str, Any], progress: Progress) -> dict[str, Any]:
    try:
        manifest = open_corpus(out).manifest
    except ArtifactError as error:
        raise ArtifactError(f"{error}, after removing {out}") from None
    expected = {"biolm": biolm.__version__, **made_from}
    compared = ("biolm", "settings", "sources")  # the command follows from the last two
    differing = [name for name in compared if manifest.get(name) != expected[name]]
    if differing:
        raise ArtifactError(
            f"{out} holds a corpus built with other {' and '.join(differing)}; "
            "choose another --out or remove it"
        )
    progress.start("build corpus", None, "articles")
    progress.finish(f"{out} holds this corpus already; nothing to do")
    return manifest


def _command(names: list[str], config: CorpusConfig) -> str:
    words = ["biolm", "corpus", "build", *names, "--min-chars", str(config.min_chars)]
    if config.max_chars is not None:
        words += ["--max-chars", str(config.max_chars)]
    return shlex.join([*words, "--split", str(config.shares), "--seed", str(config.seed), "--out", "corpus"])


def _nothing_kept(sources: list[str], counts: Counts) -> str:
    read = f"{counts.articles_read:,} articles read, {counts.articles_failed:,} files unreadable"
    if counts.first_failure:
        read += f": {counts.first_failure.rstrip('.')}"
    dropped: list[tuple[Reason, int]] = counts.dropped.most_common()
    if dropped:
        remedy = "dropped " + ", ".join(f"{count:,} {reason}" for reason, count in dropped)
        remedy += "; lower --min-chars" if counts.dropped["too_short"] else ""
    else:
        remedy = "give JATS or PubMed XML, as files, folders or archives"
    return f"no passages kept from {', '.join(sources)} ({read}); {remedy}"
