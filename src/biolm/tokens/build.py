"""Corpus text to a token store, in batches, with flat memory."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from biolm.artifacts import kind_of, new_folder, write_manifest
from biolm.corpus.hashes import HashTable, hash64
from biolm.corpus.reader import Corpus, open_corpus
from biolm.errors import ArtifactError
from biolm.progress import Progress
from biolm.tokens.store import KIND, SECTIONS, VERSION, TokenStore, open_tokens
from biolm.tokens.tokenizer import Tokenizer

BATCH_PASSAGES = 2048


def build_tokens(
    corpus_folder: str | Path, tokenizer: Tokenizer, out: Path, progress: Progress
) -> TokenStore:
    """Tokenize every split of a corpus into `out`, or open what is there when it is the same work.

    The corpus lies here or at an address. Raises ArtifactError when `out` holds anything else.
    """
    corpus = open_corpus(corpus_folder)
    if kind_of(out) == KIND:
        try:
            store = open_tokens(out)
        except ArtifactError as error:
            raise ArtifactError(f"{error}, after removing {out}") from None
        if _same_work(store, corpus, tokenizer):
            return store
        raise ArtifactError(
            f"{out} holds the tokens of another corpus or tokenizer; choose another --out or remove it"
        )
    with new_folder(out, kind=KIND) as folder:
        _write(corpus, tokenizer, folder, progress)
    return open_tokens(out)


def _same_work(store: TokenStore, corpus: Corpus, tokenizer: Tokenizer) -> bool:
    return (
        store.manifest["corpus"]["fingerprint"] == corpus.fingerprint
        and store.vocabulary.hash == tokenizer.vocabulary.hash
    )


def _write(corpus: Corpus, tokenizer: Tokenizer, folder: Path, progress: Progress) -> None:
    vocabulary = tokenizer.vocabulary
    dtype = "uint16" if vocabulary.size <= 1 << 16 else "uint32"
    unigram = np.zeros(vocabulary.size, np.int64)
    counted_split = "train" if "train" in corpus.splits else None
    splits: dict[str, dict[str, int]] = {}
    passages_done = 0
    progress.start("tokenize", corpus.passages, "passages")
    for split in corpus.splits:
        documents = HashTable()
        tokens = passages = 0
        with ExitStack() as files:
            out: dict[str, BinaryIO] = {
                part: files.enter_context((folder / f"{split}.{part}").open("wb"))
                for part in ("ids", "offsets", "documents", "sections")
            }
            out["offsets"].write(np.zeros(1, "<i8").tobytes())
            for texts, sections, works in _batches(corpus, split):
                encoded = tokenizer.encode(texts)
                lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
                flat = np.fromiter(_flatten(encoded), np.int64, int(lengths.sum()))
                out["ids"].write(flat.astype(np.dtype(dtype).newbyteorder("<")).tobytes())
                out["offsets"].write((tokens + np.cumsum(lengths)).astype("<i8").tobytes())
                index = [_number(documents, work) for work in works]
                out["documents"].write(np.array(index, "<i4").tobytes())
                out["sections"].write(bytes(SECTIONS.index(section) for section in sections))
                if counted_split in (split, None):
                    unigram += np.bincount(flat, minlength=vocabulary.size)
                tokens += len(flat)
                passages += len(texts)
                passages_done += len(texts)
                progress.update(passages_done)
        splits[split] = {"passages": passages, "tokens": tokens, "documents": len(documents)}
    (folder / "unigram.counts").write_bytes(unigram.astype("<i8").tobytes())
    total = sum(facts["tokens"] for facts in splits.values())
    write_manifest(
        folder,
        kind=KIND,
        version=VERSION,
        corpus={
            "fingerprint": corpus.fingerprint,
            **{
                part: corpus.manifest[part]
                for part in ("sources", "settings", "counts", "splits", "licences", "languages")
            },
        },
        dtype=dtype,
        vocabulary=asdict(vocabulary),
        splits=splits,
    )
    progress.finish(f"{passages_done:,} passages, {total:,} tokens")


def _batches(corpus: Corpus, split: str) -> Iterator[tuple[list[str], list[str], list[str]]]:
    batches: Iterable[Any] = corpus.iter_batches(
        split, columns=("text", "section", "document"), batch_rows=BATCH_PASSAGES
    )
    for batch in batches:
        columns = batch.to_pydict()
        yield columns["text"], columns["section"], columns["document"]


def _number(documents: HashTable, work: str) -> int:
    key, number = hash64(work), len(documents)
    documents.add(key, number)
    found = documents.get(key)
    return number if found is None else found


def _flatten(lists: list[list[int]]) -> Iterator[int]:
    for inner in lists:
        yield from inner
