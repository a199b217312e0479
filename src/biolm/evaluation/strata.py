"""Groups into which masked tokens fall: section, how frequent the word is, into how many pieces it is cut.

A stratum gives every masked token of a row one of a few labels; `biolm.evaluation.masked` keeps sums for each.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.batches.examples import Examples
from biolm.batches.packing import PackedRow
from biolm.corpus.holdout import NER_PAPERS, read_held_out
from biolm.corpus.minhash import mixed
from biolm.corpus.reader import Corpus, open_corpus
from biolm.errors import InputError
from biolm.tokens.store import SECTIONS, TokenSplit
from biolm.tokens.words import WordTable

COMMONEST = 15
"""Values of a column that have a group of their own."""
UNKNOWN, OTHERS = "unknown", "others"
BANDS = (0, 1, 10, 100, 1_000, 10_000)
"""Least occurrences in the training split of the words of each frequency band."""
BLOCK_TOKENS = 1 << 22
"""Tokens whose words are counted at a time."""


@dataclass(frozen=True, slots=True)
class RowWords:
    """The words of a row's masked tokens; every array is (masked,)."""

    number: NDArray[np.int64]
    """Which word of the row; ascending."""
    pieces: NDArray[np.int64]
    """Tokens of the whole word."""
    key: NDArray[np.uint64]
    """What tells one word from another, case and the space before it aside."""


_COUNTED = np.ones(256, bool)
_COUNTED[list(b" \0\1")] = False  # spaces, and the marks that biolm.tokens.words puts around words
_SMALL = np.arange(256, dtype=np.uint64)
_SMALL[65:91] += np.uint64(32)


class WordKeys:
    """Words told from ids: a hash of each word's letters, whatever it is cut into, "A" to "Z" as "a" to "z"."""

    def __init__(self, table: WordTable) -> None:
        self.table = table
        marks = np.flatnonzero(table.text[table.offsets[:-1]] == 1)
        self._apart = int(marks[0])
        """A special token: what stands between windows, so that no word depends on its neighbours in the row."""

    def words(
        self, content: NDArray[np.int64], begins: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Where words start in ids (tokens,) of windows that begin at `begins`, and each word's key: (words,) both."""
        if not len(content):
            return np.empty(0, np.int64), np.empty(0, np.uint64)
        begins = np.unique(begins[begins < len(content)])
        starts = self.table.starts(np.insert(content, begins, self._apart))
        starts = np.delete(starts, begins + np.arange(len(begins)))
        starts[begins] = True
        first = np.flatnonzero(starts)
        text, begin_of = self.table.spelled(content)
        begin = begin_of[first]
        counted = _COUNTED[text]
        before = np.cumsum(counted) - counted  # letters in front of each byte
        sizes = np.diff(begin, append=len(text))
        place = (before - np.repeat(before[begin], sizes)).astype(np.uint64)
        letters = np.where(counted, mixed(_SMALL[text] + (place << np.uint64(8))), np.uint64(0))
        return first, np.add.reduceat(letters, begin)

    def of_row(self, row: PackedRow, examples: Examples) -> RowWords:
        """The words of a row's masked tokens, as the text has them and not as they are shown."""
        contents = [examples.content(int(index)) for index in row.examples]
        sizes = np.array([len(content) for content in contents], np.int64)
        begins = np.cumsum(sizes) - sizes
        first, keys = self.words(np.concatenate(contents), begins)
        window, place = row.masked_places(len(examples.vocabulary.prefix))
        number = np.searchsorted(first, begins[window] + place, side="right") - 1
        pieces = np.diff(first, append=int(sizes.sum()))
        return RowWords(number, pieces[number], keys[number])


@dataclass(frozen=True, slots=True)
class MaskedTokens:
    """Where the masked tokens of a row stand; every array is (masked,)."""

    passage: NDArray[np.int64]
    """Of the split."""
    token: NDArray[np.int64]
    """Place in the split's ids."""
    words: RowWords | None
    """Where the tokenizer's words can be told."""

    @classmethod
    def of(
        cls, row: PackedRow, examples: Examples, data: TokenSplit, words: RowWords | None
    ) -> "MaskedTokens":
        """Those of a row of windows of a split."""
        window, place = row.masked_places(len(examples.vocabulary.prefix))
        passage = examples.passages[row.examples][window]
        token = data.offsets[passage] + examples.starts[row.examples][window] + place
        return cls(passage.astype(np.int64), token, words)


class Stratum(Protocol):
    """One way of dividing masked tokens."""

    name: str

    @property
    def labels(self) -> tuple[str, ...]:
        """What they are divided into."""

    def codes(self, masked: MaskedTokens) -> NDArray[np.int64]:
        """(masked,) places in `labels`, of which there are at most 64."""


class Section:
    """By the section of the passage."""

    name = "section"
    labels: tuple[str, ...] = SECTIONS

    def __init__(self, data: TokenSplit) -> None:
        self._sections = data.sections

    def codes(self, masked: MaskedTokens) -> NDArray[np.int64]:
        """By passage."""
        return self._sections[masked.passage].astype(np.int64)


class Column:
    """By a column of the corpus ("year", "journal"): its commonest values, and what is left."""

    def __init__(self, name: str, values: Iterable[str | None]) -> None:
        """`values`: of the split's passages, in order; None where it is not known."""
        self.name = name
        known: dict[str, int] = {}
        codes = array(
            "q", (known.setdefault(UNKNOWN if value is None else value, len(known)) for value in values)
        )
        found = np.array(codes, np.int64)
        names, counts = list(known), np.bincount(found, minlength=len(known))
        common = sorted(np.argsort(-counts, kind="stable")[:COMMONEST].tolist(), key=lambda code: names[code])
        place = np.full(len(names), len(common))
        place[common] = np.arange(len(common))
        self.labels: tuple[str, ...] = tuple(names[code] for code in common)
        if len(names) > len(common):
            self.labels += (OTHERS,)
        self._codes = place[found]

    def codes(self, masked: MaskedTokens) -> NDArray[np.int64]:
        """By passage."""
        return self._codes[masked.passage]


def columns_of(corpus: Corpus, split: str, names: Sequence[str]) -> list[Column]:
    """A stratum for each column of a corpus. Raises ArtifactError for one that it does not have."""

    def values(name: str) -> Iterator[str | None]:
        for batch in corpus.iter_batches(split, [name]):
            for value in batch.column(0).to_pylist():
                yield None if value is None else str(value)

    return [Column(name, values(name)) for name in names]


IDS = ("pmid", "pmcid", "doi")
"""Columns that name a paper."""


class SeenDocument:
    """By whether the paper is one of those that a model was trained on; a paper without ids may be any."""

    name = "seen_in_training"
    labels: tuple[str, ...] = ("unseen", "seen", UNKNOWN)

    def __init__(self, corpus: Corpus, split: str, trained_on: str) -> None:
        """`trained_on`: a text file of ids, one a line, @ner, or a corpus, whose training split is read once.

        Memory: the ids of the measured split. Raises InputError, ArtifactError.
        """
        own = list(paper_ids(corpus, split))
        seen = seen_of({one for ids in own for one in ids}, trained_on)
        self._codes = np.array([2 if not ids else int(not seen.isdisjoint(ids)) for ids in own], np.int64)

    def codes(self, masked: MaskedTokens) -> NDArray[np.int64]:
        """By passage."""
        return self._codes[masked.passage]


def paper_ids(corpus: Corpus, split: str) -> Iterator[tuple[str, ...]]:
    """The ids ("pmid:1", ...) of the paper that each passage of a split is of, in order."""
    for batch in corpus.iter_batches(split, IDS):
        for row in batch.to_pylist():
            yield tuple(f"{kind}:{row[kind]}" for kind in IDS if row[kind] is not None)


def seen_of(wanted: set[str], trained_on: str) -> set[str]:
    """Those of some ids that a text file names, or that the training split of a corpus has."""
    if Path(trained_on).is_file() or trained_on.lower() == NER_PAPERS:
        return wanted.intersection(read_held_out(Path(trained_on), "--seen"))
    if "://" not in trained_on and not Path(trained_on).exists():
        raise InputError(
            f"--seen {trained_on} does not exist; give a text file of ids, a corpus, or {NER_PAPERS}"
        )
    return {one for ids in paper_ids(open_corpus(trained_on), "train") for one in wanted.intersection(ids)}


def texts_of(corpus: Corpus, split: str) -> Iterator[str]:
    """The texts of a split, in order."""
    for batch in corpus.iter_batches(split, ["text"]):
        yield from batch.column(0).to_pylist()


class PiecesPerWord:
    """By the number of tokens into which the word is cut."""

    name = "pieces_per_word"
    labels: tuple[str, ...] = ("1", "2", "3", "4 or more")

    def codes(self, masked: MaskedTokens) -> NDArray[np.int64]:
        """By word."""
        assert masked.words is not None
        return np.minimum(masked.words.pieces, len(self.labels)) - 1


class WordFrequency:
    """By how often the word occurs in the training split."""

    name = "word_frequency"
    labels: tuple[str, ...] = (
        *(f"{low:,}" if low == high - 1 else f"{low:,}–{high - 1:,}" for low, high in pairwise(BANDS)),
        f"{BANDS[-1]:,} or more",
    )

    def __init__(self, keys: WordKeys, measured: TokenSplit, training: TokenSplit) -> None:
        """Count in `training` the words of `measured`: one pass over each, in blocks."""
        known = np.empty(0, np.uint64)
        for content, offsets in blocks_of(measured):
            known = np.union1d(known, keys.words(content, offsets[:-1])[1])
        self._known, self._counts = known, np.zeros(len(known), np.int64)
        for content, offsets in blocks_of(training) if len(known) else ():
            found = keys.words(content, offsets[:-1])[1]
            place = np.minimum(np.searchsorted(known, found), len(known) - 1)
            self._counts += np.bincount(place[known[place] == found], minlength=len(known))

    def counts(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """(n,) occurrences in the training split of words of the measured one; 0 for what a window has cut."""
        if not len(self._known):
            return np.zeros(len(keys), np.int64)
        place = np.minimum(np.searchsorted(self._known, keys), len(self._known) - 1)
        return np.where(self._known[place] == keys, self._counts[place], 0)

    def codes(self, masked: MaskedTokens) -> NDArray[np.int64]:
        """By word."""
        assert masked.words is not None
        return np.searchsorted(BANDS, self.counts(masked.words.key), side="right") - 1


STRATA_BY_WORD = (PiecesPerWord.name, WordFrequency.name)
"""Those that are always given where words can be told."""


def blocks_of(data: TokenSplit) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """A split in blocks, in order: ids (tokens,), and where in them each passage begins and the last one ends."""
    first = 0
    while first < len(data):
        limit = data.offsets[first] + BLOCK_TOKENS
        last = max(first + 1, int(np.searchsorted(data.offsets, limit, side="right")) - 1)
        begin, end = int(data.offsets[first]), int(data.offsets[last])
        yield (
            np.asarray(data.ids[begin:end], np.int64),
            np.asarray(data.offsets[first : last + 1], np.int64) - begin,
        )
        first = last
