"""Fetching from a served replica of PMC, and what it and a store hold, in a form to compare."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from replica import Replica

from biolm.papers.answers import HttpConfig
from biolm.papers.fetch import fetch_papers, update_papers
from biolm.papers.runs import Fetching, Outcome
from biolm.papers.selection import Selection
from biolm.papers.store import open_store
from biolm.progress import Silent

DAY = "2026-11-25"
"""Of the inventory that the fixture `replica` has."""
BUCKET = f"/{Replica.bucket}"
FAST = HttpConfig(in_flight=32, backoff_seconds=0.01, backoff_most_seconds=0.05, silence_seconds=2)
CODES = ("CC BY", "CC BY-NC", "CC0", "CC BY-SA", "CC BY-ND", "CC BY-NC-SA", "CC BY-NC-ND", "TDM", "other")
"""What PMC writes as `license_code`, and something else."""


def fetching(url: str, http: HttpConfig = FAST, **more: Any) -> Fetching:
    """How the served replica is asked."""
    return Fetching(endpoints=(f"pmc={url}/{Replica.bucket}", f"eutils={url}/eutils"), http=http, **more)


def fetch(out: Path, url: str, selection: Selection | None = None, **more: Any) -> Outcome:
    """Fetch a selection, or everything, from the served replica."""
    return fetch_papers(
        out, "pmc", selection or Selection(), fetching(url, **more), Silent(), everything=selection is None
    )


def update(store: Path, url: str, **more: Any) -> Outcome:
    """Update a store from the served replica."""
    return update_papers(store, fetching(url, **more), Silent())


def truth(replica: Replica) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Name → XML and metadata of every article that the replica has whole."""
    found = {}
    stored = dict(replica._stored)
    for path, metadata in stored.items():
        if path.startswith(f"/{replica.bucket}/metadata/"):
            name = path.rpartition("/")[2].removesuffix(".json")
            if xml := stored.get(f"/{replica.bucket}/{name}/{name}.xml"):
                found[name] = (xml.body, json.loads(metadata.body))
    return found


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Name → row of the index, of all that a store knows, withdrawn or not."""
    return {row["id"]: row for row in open_store(folder).index().to_pylist()}


def log_rows(folder: Path) -> int:
    """Rows in all shards of a store: what was ever written."""
    return sum(pq.read_metadata(path).num_rows for path in (folder / "shards").glob("*.parquet"))


def held(folder: Path) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Name → XML and metadata of every paper of a store that is not withdrawn."""
    store = open_store(folder)
    found = {}
    for name, row in rows(folder).items():
        if row["state"] in ("article", "facts"):
            ((_, xml),) = store.column("xml", row["xml_shard"], [row["xml_row"]])
            ((_, metadata),) = store.column("metadata", row["facts_shard"], [row["facts_row"]])
            found[name] = (xml, json.loads(metadata))
    return found


def asked(replica: Replica, since: int = 0) -> list[str]:
    """Paths of the bucket's articles that were asked for, from a place in the log on."""
    prefix = f"/{replica.bucket}/"
    return [
        entry.path.removeprefix(prefix)
        for entry in replica.log[since:]
        if entry.path.startswith((f"{prefix}metadata/PMC", f"{prefix}PMC"))
    ]
