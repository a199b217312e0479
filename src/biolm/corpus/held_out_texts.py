"""Texts that must not occur in a corpus: those that a model is to be tested on.

A passage has a text in it if it has any run of RUN consecutive words of it (Brown et al., Language Models are
Few-Shot Learners, 2020, appendix C); a shorter text, if it has all of it. 13-grams that were in more than 10 of
their documents Brown et al. passed over; here any run counts: of 46,625 real passages one was held out for a stock
phrase ("the aim of this study was to evaluate the efficacy and tolerability of").
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biolm.corpus.minhash import run_hashes, word_hashes, words_of
from biolm.corpus.text_files import texts_of
from biolm.errors import InputError

_log = logging.getLogger(__name__)
RUN = 13
SHORTEST = 8
"""Texts of fewer words are passed over (the least N of Brown et al., "due to spurious collisions at lower values"): at
6, "no serious adverse events were observed", a sentence of BC5CDR, held out whatever abstract says so."""
BLOCK_WORDS = 1 << 15
"""Words that are hashed together: small enough for the cache, enough to make calls cheap."""


class HeldOutTexts:
    """The runs of words of texts in files, see `texts_of`.

    Memory: 16 to 24 bytes a run; a text has about as many runs as words.
    Raises InputError where a file cannot be read or has no text of SHORTEST words.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        hashes: dict[int, list[NDArray[np.uint64]]] = {}
        for path in paths:
            found = shorter = 0
            for words in map(words_of, texts_of(path)):
                if words and len(words) < SHORTEST:
                    shorter += 1
                elif words:
                    found += 1
                    length = min(len(words), RUN)
                    hashes.setdefault(length, []).append(run_hashes(word_hashes(words), length))
            if not found:
                raise InputError(f"--hold-out-text {path} has no text of {SHORTEST} words or more")
            passed = f"; {shorter:,} of fewer words are passed over" if shorter else ""
            _log.info(
                "%s: %s texts of %d words or more must not occur%s", path, f"{found:,}", SHORTEST, passed
            )
        self._runs = {length: np.unique(np.concatenate(found)) for length, found in sorted(hashes.items())}
        bits = 3 + sum(map(len, self._runs.values())).bit_length()
        self._shift = np.uint64(64 - bits)
        self._likely = np.zeros(1 << bits, bool)  # by the first bits of a hash: spares 7 of 8 binary searches
        for runs in self._runs.values():
            self._likely[runs >> self._shift] = True

    def matches(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """(texts,) whether each has a held-out text in it. About 90 µs a passage, most of it finding the words."""
        found = np.zeros(len(texts), bool)
        block: list[str] = []
        ends: list[int] = []
        first = 0
        for row, text in enumerate(texts):
            block += words_of(text)
            ends.append(len(block))
            if len(block) >= BLOCK_WORDS or row + 1 == len(texts):
                found[first : row + 1] = self._matches(word_hashes(block), np.array(ends))
                first, block, ends = row + 1, [], []
        return found

    def _matches(self, words: NDArray[np.uint64], ends: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(texts,) for texts given as the hashes of their words end to end, and where each ends."""
        found = np.zeros(len(ends), bool)
        for length, runs in self._runs.items():
            mine = run_hashes(words, length)
            begins = np.flatnonzero(self._likely[mine >> self._shift])
            place = np.minimum(np.searchsorted(runs, mine[begins]), len(runs) - 1)
            begins = begins[runs[place] == mine[begins]]
            text = np.searchsorted(ends, begins, side="right")
            found[text[begins + length <= ends[text]]] = True  # else the run reaches into the next text
        return found
