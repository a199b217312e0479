"""A fetch and an update that are killed again and again end with the store of one that was left alone."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from replica import Replica, invented_article, serving

from biolm.corpus.build import Running, build_corpus
from biolm.corpus.config import CorpusConfig
from biolm.corpus.split import parse_shares
from biolm.papers.store import open_store, resolved, shard_facts, shard_numbers, shard_path
from biolm.papers.verify import verify_store
from biolm.progress import Silent

ARTICLES = 2000
FETCH_KILLS, UPDATE_KILLS = 18, 14
CONFIG = CorpusConfig(shares=parse_shares("8/1/1"), near_duplicates=None, detect_language=False)
# `python -m biolm` with shards and batches so small that there is always one being closed.
BIOLM = """
import sys
from biolm.papers import writer
writer.BATCH_BYTES, writer.BATCH_SECONDS, writer.ROW_GROUP_BYTES = 20_000, 0.05, 40_000
writer.StoreWriter.__init__.__kwdefaults__["shard_bytes"] = 200_000
from biolm.cli import main
main(sys.argv[1:])
"""


def start(*words: str, cache: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", BIOLM, "papers", *words, "--in-flight", "16", "--quiet"],
        env={**os.environ, "BIOLM_CACHE": str(cache)},
        start_new_session=True,
    )


def kill_at_work(replica: Replica, process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Kill a process some seconds after it asked for its first article; False where it ended before."""
    before = len(replica.log)
    asked: list[str] = []
    while process.poll() is None and not asked:
        time.sleep(0.005)
        asked = [entry.path for entry in replica.log[before:] if "/PMC" in entry.path]
    time.sleep(seconds)
    process.kill()
    return process.wait() == -9


def change_much(replica: Replica) -> None:
    """A quarter of the articles changed somehow, some are gone, some are new, and there is an inventory of it."""
    for number in range(1, ARTICLES, 9):
        replica.put_article(f"PMC{number}.1", invented_article(number, paragraphs=1, seed=1))
    for number in range(2, ARTICLES, 19):
        replica.change(f"PMC{number}.1", is_retracted=True)
    for number in range(3, ARTICLES, 23):
        replica.change(f"PMC{number}.1", license_code="CC BY-NC")
    for number in range(4, ARTICLES, 21):
        replica.remove_article(f"PMC{number}.1")
    for number in range(ARTICLES + 1, ARTICLES + 150):
        replica.put_article(f"PMC{number}.1", invented_article(number, paragraphs=1))
    replica.take_inventory("2026-11-26")


def log(store: Path) -> list[dict[str, Any]]:
    """All rows of all shards without when they were fetched, in an order of their own."""
    rows = [
        row for number in shard_numbers(store) for row in pq.read_table(shard_path(store, number)).to_pylist()
    ]
    for row in rows:
        del row["fetched"]
    return sorted(rows, key=lambda row: (row["id"], row["state"], row["etag"], row["note"] or ""))


@pytest.mark.slow
def test_thirty_kills_change_nothing_in_the_store_and_in_its_corpus(tmp_path: Path):
    replica = Replica()
    for number in range(1, ARTICLES + 1):
        replica.put_article(f"PMC{number}.1", invented_article(number, paragraphs=1))
    replica.take_inventory("2026-11-25")
    whole, killed = tmp_path / "whole" / "store", tmp_path / "killed" / "store"
    delays = random.Random(11)
    kills = 0
    with serving(replica) as url:
        fetch = ("fetch", "--all", "--endpoint", f"{url}/{replica.bucket}", "--out")
        assert start(*fetch, str(whole), cache=tmp_path / "whole").wait() == 0
        replica.faults.latency_seconds = 0.04
        for _ in range(FETCH_KILLS):
            process = start(*fetch, str(killed), cache=tmp_path / "killed")
            kills += kill_at_work(replica, process, delays.uniform(0, 0.6))
        replica.faults.latency_seconds = 0
        assert start(*fetch, str(killed), cache=tmp_path / "killed").wait() == 0
        assert log(killed) == log(whole)
        change_much(replica)
        assert start("update", str(whole), cache=tmp_path / "whole").wait() == 0
        replica.faults.latency_seconds = 0.05
        for _ in range(UPDATE_KILLS):
            process = start("update", str(killed), cache=tmp_path / "killed")
            kills += kill_at_work(replica, process, delays.uniform(0, 0.3))
        replica.faults.latency_seconds = 0
        assert start("update", str(killed), cache=tmp_path / "killed").wait() == 0
    assert kills >= 30

    rows = log(killed)
    assert rows == log(whole)
    assert len({(row["id"], row["state"], row["etag"]) for row in rows}) == len(rows)  # nothing twice
    assert {row["state"] for row in rows} == {"article", "facts", "withdrawn"}
    assert len(rows) > ARTICLES + 500
    assert verify_store(open_store(killed), Silent()) == []
    assert not list(killed.glob("spool/*"))
    shards = [shard_facts(shard_path(killed, number), number) for number in shard_numbers(killed)]
    assert len(shards) > 10
    assert open_store(killed).index().equals(resolved(shards))
    assert open_store(killed).sources == open_store(whole).sources

    for store in (whole, killed):
        running = Running(workers=2, work=str(store.parent / "work"))
        build_corpus([store], store.parent / "corpus", CONFIG, Silent(), running)
    made = [
        {path.name: path.read_bytes() for path in (store.parent / "corpus").glob("*.parquet")}
        for store in (whole, killed)
    ]
    assert made[0] == made[1]
    assert any(name.startswith("train-") for name in made[0])
