"""The first stage: every shard of the sources to its extract, unless it is there already."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from biolm.corpus.config import ExtractConfig
from biolm.corpus.engines import Engine, run
from biolm.corpus.extract import extract_key, write_extract
from biolm.corpus.work import Tick
from biolm.corpus.workspace import TABLES, Workspace
from biolm.progress import Progress
from biolm.sources.shards import Shard, identity, read_shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """One shard's extract."""

    key: str
    """Its name in the workspace."""
    identity: str
    """SHA-256 of the shard."""
    articles: int
    passages: int
    failed: int
    """Files and records that gave no article."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractShard:
    """Makes the extract of a shard: the function that every engine calls."""

    workspace: str
    config: ExtractConfig

    def __call__(self, shard: Shard, tick: Tick) -> Extracted:
        """Find the shard's extract in the workspace, or make it."""
        workspace, what = Workspace(self.workspace), identity(shard)
        key = extract_key(what, self.config)
        facts = workspace.facts(key)
        if facts is not None and not facts.transient:
            tick(facts.articles)
        else:
            with workspace.draft() as draft:
                tables = {name: draft / f"{name}.parquet" for name in TABLES}
                records = read_shard(shard, self.config.text)
                facts = write_extract(records, tables["articles"], tables["passages"], self.config, tick)
                workspace.keep(key, facts, tables)
        return Extracted(
            key=key,
            identity=what,
            articles=facts.articles,
            passages=facts.passages,
            failed=len(facts.unreadable),
        )


def extract_all(
    shards: Sequence[Shard],
    work: ExtractShard,
    *,
    workers: int,
    progress: Progress,
    engine: Engine = "local",
) -> list[Extracted]:
    """The extracts of all shards, in their order. Raises InputError where a source cannot be used."""
    sizes = [shard.size for shard in shards]
    results: dict[int, Extracted] = {}
    done = articles = 0
    started = time.monotonic()

    def say(more: int = 0) -> None:
        nonlocal articles
        articles += more
        seconds = max(time.monotonic() - started, 1e-3)
        progress.update(
            done / 1e6,
            f"{articles:,} articles, {articles / seconds:,.0f}/s, {done / 1e6 / seconds:,.1f} MB/s",
        )

    progress.start("read papers", sum(sizes) / 1e6, "MB")
    largest_first = sorted(range(len(shards)), key=lambda index: (-sizes[index], index))
    for index, result in run(work, shards, largest_first, workers=workers, engine=engine, tick=say):
        results[index] = result
        done += sizes[index]
        say()
    failed = sum(result.failed for result in results.values())
    passages = sum(result.passages for result in results.values())
    progress.finish(
        f"{sum(result.articles for result in results.values()):,} articles, {passages:,} passages"
        + (f", {failed:,} unreadable" if failed else "")
    )
    return [results[index] for index in range(len(shards))]
