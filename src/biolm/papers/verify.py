"""Comparing a paper store with its checksums."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from biolm.errors import ArtifactError
from biolm.papers.checksums import md5_of, md5_of_file
from biolm.papers.store import ROWS, Store, kept_path, missing_shards, rows_of, shard_numbers
from biolm.progress import Progress


def verify_store(store: Store, progress: Progress) -> list[tuple[str, str]]:
    """What is damaged: the paper, file or shard, and how. Reads everything once, a row group at a time."""
    damage = [
        (f"shards/{store.shard(number).name}", "the shard is missing")
        for number in missing_shards(store.folder)
    ]
    numbers = shard_numbers(store.folder)
    progress.start("verify", len(numbers), "shards")
    for done, number in enumerate(numbers, 1):
        damage += _damage_of_shard(store, number)
        progress.update(done)
    damage += _damage_of_files(store)
    progress.finish(f"{len(damage):,} damaged")
    return damage


def _damage_of_shard(store: Store, number: int) -> list[tuple[str, str]]:
    """Every column is read, so that the checksum of every page is compared; and the MD5 of each XML."""
    shard = store.shard(number)
    damage = []
    name_at, md5_at, xml_at = (ROWS.names.index(name) + 1 for name in ("id", "md5", "xml"))
    try:
        for values in rows_of(shard, ROWS.names, range(pq.read_metadata(shard).num_rows)):
            xml = values[xml_at]
            if xml is not None and md5_of(xml) != values[md5_at]:
                damage.append((values[name_at], f"another MD5 than the shard {shard.name} states"))
    except (ArtifactError, OSError, pa.ArrowException) as error:
        damage.append((f"shards/{shard.name}", " ".join(str(error).split())))
    return damage


def _damage_of_files(store: Store) -> list[tuple[str, str]]:
    damage = []
    index = store.index().select(["source", "id", "state", "md5"])
    for row in index.filter(pc.equal(index["state"], "file")).to_pylist():
        try:
            path = kept_path(store.folder, row["source"], row["id"], row["md5"] or "")
        except ArtifactError as error:
            damage.append((row["id"], str(error)))
            continue
        if not path.is_file():
            damage.append((row["id"], "the file is missing"))
            continue
        if md5_of_file(path) != row["md5"]:
            damage.append((row["id"], "another MD5 than the store states"))
    return damage
