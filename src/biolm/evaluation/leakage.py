"""How much of what a model is tested on stood in what it was trained on: whole passages, and runs of 13 words.

A run of 13 words that two texts share is the measure of Brown et al. 2020 (Language Models are Few-Shot Learners,
appendix C); a passage of which half the runs occur elsewhere is a near duplicate. Words are compared as
`biolm.evaluation.strata.WordKeys` tells them, so spaces, capitals and pieces do not matter.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.corpus.minhash import run_hashes
from biolm.corpus.reader import Corpus
from biolm.corpus.text_files import pmids_of, texts_of
from biolm.errors import InputError
from biolm.evaluation.strata import WordKeys, blocks_of, paper_ids
from biolm.tokens.store import TokenSplit, TokenStore
from biolm.tokens.tokenizer import Tokenizer
from biolm.tokens.words import word_table

RUN = 13
NEAR = 0.5
"""Share of its runs that make a passage a near duplicate."""
_TEXTS = 1024


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many of some passages occur elsewhere."""

    passages: int
    exact: int
    """Word for word, as a whole passage."""
    near: int
    """At least NEAR of their runs; the exact ones are among them."""
    touched: int
    """At least one run, or exact."""

    def as_json(self) -> dict[str, Any]:
        """With the share of near duplicates."""
        share = self.near / self.passages if self.passages else None
        return {
            "passages": self.passages,
            "exact": self.exact,
            "near": self.near,
            "touched": self.touched,
            "near_share": share,
        }


def leakage_json(
    store: TokenStore,
    split: str,
    tokenizer: Tokenizer,
    benchmarks: Sequence[Path] = (),
    corpus: Corpus | None = None,
) -> dict[str, Any]:
    """`training`: the overlap of `split` with the training split (None where it is that, or there is none).

    `benchmarks`: file → split ("train", and `split`) → the overlap of the file's texts with it. `papers`: file → how
    many papers it names by PMID, and split → how many of them have passages there; of files that name any, where the
    `corpus` of the store is given. Each split is read once, and its ids once. Raises InputError for a file that is
    not read, ModelError for a tokenizer whose words cannot be told.
    """
    keys = WordKeys(word_table(tokenizer))
    sought = {}
    for path in benchmarks:
        texts = [text for text in texts_of(path, "--benchmark") if text.strip()]
        if not texts:
            raise InputError(f"--benchmark {path} has no text")
        sought[str(path)] = Sought(hashed_texts(keys, tokenizer, texts))
    found: dict[str, dict[str, Any]] = {name: {} for name in sought}
    training = None
    for where in dict.fromkeys(("train", split)):
        looked_for = dict(sought)
        if where == "train" != split:
            looked_for[""] = Sought(hashed_split(keys, store.split(split)))
        if where not in store.splits or not looked_for:
            continue
        overlaps = found_in(looked_for, hashed_split(keys, store.split(where)))
        training = overlaps.pop("").as_json() if "" in overlaps else training
        for name, overlap in overlaps.items():
            found[name][where] = overlap.as_json()
    places = [where for where in dict.fromkeys(("train", split)) if where in store.splits]
    papers = {}
    named = {str(path): pmids_of(path) for path in benchmarks}
    if corpus is not None and any(named.values()):
        wanted = {f"pmid:{pmid}" for pmids in named.values() for pmid in pmids}
        there = {
            where: {own for ids in paper_ids(corpus, where) for own in wanted.intersection(ids)}
            for where in places
        }
        for name, pmids in named.items():
            own = {f"pmid:{pmid}" for pmid in pmids}
            if own:
                papers[name] = {
                    "named": len(own),
                    **{where: len(own & known) for where, known in there.items()},
                }
    return {"run_words": RUN, "near": NEAR, "training": training, "benchmarks": found, "papers": papers}


@dataclass(frozen=True, slots=True)
class Hashed:
    """Some passages: their words' keys end to end."""

    words: NDArray[np.uint64]
    ends: NDArray[np.int64]
    """(passages,): where in `words` each ends."""

    def whole(self) -> NDArray[np.uint64]:
        """(passages,) a hash of each; 0 of one without words."""
        sizes = np.diff(self.ends, prepend=0)
        begins = self.ends - sizes
        place = np.arange(len(self.words)) - np.repeat(begins, sizes)
        # Odd factors keep the order of the words in the sum.
        ordered = self.words * (2 * place + 1).astype(np.uint64)
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(ordered, dtype=np.uint64)])
        return sums[self.ends] - sums[begins]

    def runs(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Hashes of all runs of RUN words inside a passage, and the passage of each."""
        if len(self.words) < RUN:
            return np.empty(0, np.uint64), np.empty(0, np.int64)
        hashes = run_hashes(self.words, RUN)
        begins = np.arange(len(hashes))
        passage = np.searchsorted(self.ends, begins, side="right")
        inside = begins + RUN <= self.ends[np.minimum(passage, len(self.ends) - 1)]
        return hashes[inside], passage[inside]


def hashed_split(keys: WordKeys, data: TokenSplit) -> Iterator[Hashed]:
    """A split in blocks, in order."""
    for content, offsets in blocks_of(data):
        yield _hashed(keys, content, offsets)


def hashed_texts(keys: WordKeys, tokenizer: Tokenizer, texts: Iterable[str]) -> Iterator[Hashed]:
    """Texts, each a passage."""
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _TEXTS:
            yield _encoded(keys, tokenizer, batch)
            batch = []
    if batch:
        yield _encoded(keys, tokenizer, batch)


class Sought:
    """Passages that are looked for. Memory: some 50 bytes for each of their words."""

    def __init__(self, passages: Iterable[Hashed]) -> None:
        wholes, runs, owners, count = [], [], [], 0
        for block in passages:
            hashes, passage = block.runs()
            wholes.append(block.whole())
            runs.append(hashes)
            owners.append(passage + count)
            count += len(block.ends)
        nothing = np.empty(0, np.uint64)
        self.count = count
        self.whole, self._run = np.concatenate([nothing, *wholes]), np.concatenate([nothing, *runs])
        self._owner = np.concatenate([np.empty(0, np.int64), *owners])
        self.known_wholes, self.known_runs = np.unique(self.whole), np.unique(self._run)

    def overlap(self, whole_seen: NDArray[np.bool_], run_seen: NDArray[np.bool_]) -> Overlap:
        """From which of `known_wholes` and of `known_runs` were found."""
        exact = whole_seen[np.searchsorted(self.known_wholes, self.whole)] & (self.whole != 0)
        seen = run_seen[np.searchsorted(self.known_runs, self._run)]
        shared = np.bincount(self._owner, weights=seen, minlength=self.count)
        share = shared / np.maximum(np.bincount(self._owner, minlength=self.count), 1)
        near, touched = exact | (share >= NEAR), exact | (shared > 0)
        return Overlap(self.count, int(exact.sum()), int(near.sum()), int(touched.sum()))


def found_in(sought: Mapping[str, Sought], places: Iterable[Hashed]) -> dict[str, Overlap]:
    """How much of each is found in `places`, which are read once."""
    seen = {
        name: (np.zeros(len(each.known_wholes), bool), np.zeros(len(each.known_runs), bool))
        for name, each in sought.items()
    }
    for block in places:
        wholes, runs = block.whole(), block.runs()[0]
        for name, each in sought.items():
            _mark(each.known_wholes, seen[name][0], wholes)
            _mark(each.known_runs, seen[name][1], runs)
    return {name: each.overlap(*seen[name]) for name, each in sought.items()}


def _mark(known: NDArray[np.uint64], seen: NDArray[np.bool_], found: NDArray[np.uint64]) -> None:
    if len(known):
        place = np.minimum(np.searchsorted(known, found), len(known) - 1)
        seen[place[known[place] == found]] = True


def _encoded(keys: WordKeys, tokenizer: Tokenizer, texts: Sequence[str]) -> Hashed:
    encoded = tokenizer.encode(texts)
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in encoded])]).astype(np.int64)
    return _hashed(keys, np.concatenate([np.asarray(ids, np.int64) for ids in encoded]), offsets)


def _hashed(keys: WordKeys, content: NDArray[np.int64], offsets: NDArray[np.int64]) -> Hashed:
    first, found = keys.words(content, offsets[:-1])
    return Hashed(found, np.searchsorted(first, offsets[1:]).astype(np.int64))
