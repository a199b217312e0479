"""MinHash signatures of texts: the share of equal slots estimates how many word triples two texts share.

Broder, On the resemblance and containment of documents, 1997. Words are runs of letters and digits, without
case; a text is the set of its runs of SHINGLE words. Everything is integer arithmetic on BLAKE2b hashes, so a
text has the same signature in every process and on every machine.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

SHINGLE = 3
"""Words a shingle. One changed word changes three: a text of 200 words with one word of 20 changed keeps 0.74."""
MIN_WORDS = 12
"""Shorter texts get no signature: two of them share too few shingles to tell. Equal ones are found by `text_key`."""
BANDS, ROWS = 21, 6
"""Slots of a signature, by band: with similarity s two texts are compared with probability 1 − (1 − s⁶)²¹, which is
0.998 at 0.8 and 0.28 at 0.5 (Leskovec, Mining of Massive Datasets, §3.4)."""
SLOTS = BANDS * ROWS
SIGNATURE_BYTES = 2 * SLOTS

_WORDS = re.compile(r"[^\W_]+")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_ASCII_MARKS = bytes(byte for byte in range(128) if not chr(byte).isalnum())
_LOWER = bytes(range(256)).lower()
_RANDOM = np.random.Generator(np.random.Philox(key=20261123))
_FACTORS = _RANDOM.integers(0, 1 << 32, SLOTS, dtype=np.uint64) << np.uint64(1) | np.uint64(1)
_TERMS = _RANDOM.integers(0, 1 << 63, SLOTS, dtype=np.uint64)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_MOST_CACHED = 1 << 20
_BLOCK_SHINGLES = 1 << 15


def words_of(text: str) -> list[str]:
    """The words of a text as duplicates are told by: letters and digits, NFC, case-folded."""
    return _WORDS.findall((text if text.isascii() else unicodedata.normalize("NFC", text)).casefold())


def text_key(text: str) -> int:
    """8 bytes of BLAKE2b over the text's words without anything between them: equal for equal words."""
    if not text.isascii():
        text = _NOT_ASCII.sub(lambda found: _folded(found[0]), unicodedata.normalize("NFC", text))
    letters = text.encode().translate(_LOWER, _ASCII_MARKS)
    return int.from_bytes(blake2b(letters, digest_size=8).digest(), "little")


@lru_cache(maxsize=4096)
def _folded(characters: str) -> str:
    """Characters beyond ASCII as words have them."""
    return "".join(one for one in characters.casefold() if one.isalnum())


class _WordHashes(dict[str, int]):
    def __missing__(self, word: str) -> int:
        if len(self) >= _MOST_CACHED:
            self.clear()
        value = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")
        self[word] = value
        return value


_hash_of = _WordHashes()


def signatures(texts: Sequence[str]) -> NDArray[np.uint16]:
    """(texts, SLOTS) uint16; all zero for a text of fewer than MIN_WORDS words."""
    made = np.zeros((len(texts), SLOTS), np.uint16)
    block: list[int] = []
    rows, lengths = [], []  # type: list[int], list[int]
    for row, text in enumerate(texts):
        words = words_of(text)
        if len(words) >= MIN_WORDS:
            block += [_hash_of[word] for word in words]
            rows.append(row)
            lengths.append(len(words))
        if len(block) >= _BLOCK_SHINGLES:
            made[rows] = _slots(np.array(block, np.uint64), np.array(lengths))
            block, rows, lengths = [], [], []
    if block:
        made[rows] = _slots(np.array(block, np.uint64), np.array(lengths))
    return made


def similarity(left: NDArray[np.uint16], right: NDArray[np.uint16]) -> NDArray[np.float32]:
    """(n,) estimated Jaccard similarity of two (n, SLOTS) signatures; its standard error is √(s(1 − s) / SLOTS)."""
    return np.mean(left == right, axis=1, dtype=np.float32)


def band_keys(signature: NDArray[np.uint16]) -> NDArray[np.uint64]:
    """(BANDS, n) one number for each band of (n, SLOTS) signatures: equal where all slots of the band are."""
    parts = signature.reshape(len(signature), BANDS, ROWS).astype(np.uint64)
    key = np.zeros((len(signature), BANDS), np.uint64)
    for slot in range(ROWS):
        key = mixed(key * _MIX + parts[:, :, slot] + np.uint64(1))
    return np.ascontiguousarray(key.T)


def word_hashes(words: Sequence[str]) -> NDArray[np.uint64]:
    """(words,) a hash of each word."""
    return np.array([_hash_of[word] for word in words], np.uint64)


def run_hashes(words: NDArray[np.uint64], length: int) -> NDArray[np.uint64]:
    """(words − length + 1,) a hash of each run of `length` consecutive words, given as (words,) hashes."""
    last = max(len(words) - length + 1, 0)
    combined = words[:last].copy()
    for place in range(1, length):
        combined = combined * _MIX + words[place : last + place]
    return mixed(combined)


def _slots(words: NDArray[np.uint64], lengths: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Signatures of texts given as the hashes of their words end to end."""
    runs = run_hashes(words, SHINGLE)
    ends = np.cumsum(lengths)
    inside = np.ones(len(words), bool)
    for back in range(1, SHINGLE):
        inside[ends - back] = False  # begins a shingle that would reach into the next text
    shingles = runs[inside[: len(runs)]]
    begins = np.concatenate([[0], np.cumsum(lengths - SHINGLE + 1)[:-1]])
    out = np.empty((len(lengths), SLOTS), np.uint16)
    for slot in range(SLOTS):
        lowest = np.minimum.reduceat(shingles * _FACTORS[slot] + _TERMS[slot], begins)
        out[:, slot] = mixed(lowest) >> np.uint64(48)
    return out


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Every bit of the result depends on every bit of the value (the finalizer of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
