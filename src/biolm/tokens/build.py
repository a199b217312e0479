"""Passages to a token store, in batches, with flat memory."""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from biolm.artifacts import kind_of, new_folder, write_manifest
from biolm.corpus.hashes import HashTable, hash64
from biolm.errors import ArtifactError, InputError
from biolm.progress import Progress
from biolm.tokens.foreign import open_source
from biolm.tokens.source import Batch, Source, TextColumns
from biolm.tokens.store import KIND, SECTIONS, VERSION, TokenStore, open_tokens
from biolm.tokens.tokenizer import Tokenizer

PARTS = ("ids", "offsets", "documents", "sections")
"""The files of a split."""


def build_tokens(
    data: str | Path,
    tokenizer: Tokenizer,
    out: Path,
    progress: Progress,
    *,
    columns: TextColumns | None = None,
) -> TokenStore:
    """Tokenize every split of a corpus, or of what others wrote, into `out`; the same work is opened, not repeated.

    `data` is anything that `open_source` takes. Raises ArtifactError when `out` holds anything else, and InputError
    or ModelError for data that cannot be used.
    """
    return store_tokens(open_source(data, columns or TextColumns(), progress), tokenizer, out, progress)


def store_tokens(source: Source, tokenizer: Tokenizer, out: Path, progress: Progress) -> TokenStore:
    """`build_tokens` of an opened source."""
    if kind_of(out) == KIND:
        try:
            store = open_tokens(out)
        except ArtifactError as error:
            raise ArtifactError(f"{error}, after removing {out}") from None
        if _same_work(store, source, tokenizer):
            return store
        raise ArtifactError(
            f"{out} holds the tokens of another corpus or tokenizer; choose another --out or remove it"
        )
    with new_folder(out, kind=KIND) as folder:
        _write(source, tokenizer, folder, progress)
    return open_tokens(out)


def _same_work(store: TokenStore, source: Source, tokenizer: Tokenizer) -> bool:
    return (
        store.manifest["corpus"]["fingerprint"] == source.fingerprint
        and store.vocabulary.hash == tokenizer.vocabulary.hash
    )


def _write(source: Source, tokenizer: Tokenizer, folder: Path, progress: Progress) -> None:
    vocabulary = tokenizer.vocabulary
    dtype = "uint16" if vocabulary.size <= 1 << 16 else "uint32"
    unigrams: dict[str, NDArray[np.int64]] = {}
    splits: dict[str, dict[str, int]] = {}
    left_out: Counter[str] = Counter()
    done = 0.0
    progress.start("tokenize", source.total, source.unit)
    for split in source.splits:
        unigrams[split] = np.zeros(vocabulary.size, np.int64)
        with ExitStack() as files:
            writer = _SplitWriter(
                {part: files.enter_context((folder / f"{split}.{part}").open("wb")) for part in PARTS}, dtype
            )
            for batch in source.batches(split, tokenizer):
                writer.write(batch)
                unigrams[split] += np.bincount(batch.ids, minlength=vocabulary.size)
                left_out.update(batch.left_out)
                done += batch.amount
                progress.update(done)
        if writer.counts["passages"]:
            splits[split] = writer.counts
        else:  # of others' data that is known only now
            for part in PARTS:
                (folder / f"{split}.{part}").unlink()
    said = ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items()) if count)
    if not splits:
        raise InputError(f"there is no passage to tokenize ({said or 'no rows'}); give other data")
    counted = unigrams["train"] if "train" in splits else sum(unigrams.values())
    (folder / "unigram.counts").write_bytes(np.asarray(counted, "<i8").tobytes())
    write_manifest(
        folder,
        kind=KIND,
        version=VERSION,
        corpus=source.facts(splits, left_out),
        dtype=dtype,
        vocabulary=asdict(vocabulary),
        splits=splits,
    )
    passages, tokens = _sum(splits, "passages"), _sum(splits, "tokens")
    progress.finish(f"{passages:,} passages, {tokens:,} tokens" + (f"; left out: {said}" if said else ""))


class _SplitWriter:
    """Appends batches to the four files of a split."""

    def __init__(self, files: Mapping[str, BinaryIO], dtype: str) -> None:
        self._files = files
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._documents = HashTable()
        self.counts = {"passages": 0, "tokens": 0, "documents": 0}
        files["offsets"].write(np.zeros(1, "<i8").tobytes())

    def write(self, batch: Batch) -> None:
        """Add the passages of a batch."""
        counts, passages = self.counts, len(batch.lengths)
        self._files["ids"].write(batch.ids.astype(self._dtype).tobytes())
        self._files["offsets"].write((counts["tokens"] + np.cumsum(batch.lengths)).astype("<i8").tobytes())
        self._files["sections"].write(bytes(SECTIONS.index(section) for section in batch.sections))
        if batch.documents is None:
            numbers = list(range(counts["documents"], counts["documents"] + passages))
            counts["documents"] += passages
        else:
            numbers = [self._number(document) for document in batch.documents]
            counts["documents"] = len(self._documents)
        self._files["documents"].write(np.array(numbers, "<i4").tobytes())
        counts["passages"] += passages
        counts["tokens"] += len(batch.ids)

    def _number(self, document: str) -> int:
        key, number = hash64(document), len(self._documents)
        self._documents.add(key, number)
        found = self._documents.get(key)
        return number if found is None else found


def _sum(splits: Mapping[str, Mapping[str, int]], count: str) -> int:
    return sum(facts[count] for facts in splits.values())
