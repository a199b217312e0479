"""Texts that must not occur in a corpus: those that a model is to be tested on.

A passage has a text in it if it has any run of RUN consecutive words of it (Brown et al., Language Models are
Few-Shot Learners, 2020, appendix C, call a 13-gram overlap contamination); a shorter text, if it has all of it.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biolm.corpus.minhash import run_hashes, words_of
from biolm.errors import InputError

RUN = 13
SHORTEST = 6
"""Texts of fewer words are passed over: "Case report" is in many papers."""
_PUBTATOR = re.compile(r"\d+\|[ta]\|(.*)")


class HeldOutTexts:
    """The runs of words of texts in files: plain text, one a line; PubTator; or CoNLL, a token a line.

    Raises InputError where a file cannot be read or has no text of SHORTEST words.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        hashes: dict[int, list[NDArray[np.uint64]]] = {}
        for path in paths:
            found = 0
            for words in map(words_of, _texts(path)):
                if len(words) >= SHORTEST:
                    found += 1
                    length = min(len(words), RUN)
                    hashes.setdefault(length, []).append(run_hashes(words, length))
            if not found:
                raise InputError(f"--hold-out-text {path} has no text of {SHORTEST} words or more")
        self._runs = {length: np.unique(np.concatenate(found)) for length, found in sorted(hashes.items())}

    def matches(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """(texts,) whether each has a held-out text in it."""
        return np.array([self._is_in(words_of(text)) for text in texts], bool)

    def _is_in(self, words: list[str]) -> bool:
        for length, runs in self._runs.items():
            if len(words) >= length:
                mine = run_hashes(words, length)
                place = np.minimum(np.searchsorted(runs, mine), len(runs) - 1)
                if (runs[place] == mine).any():
                    return True
        return False


def _texts(path: Path) -> Iterator[str]:
    """The texts of a file, whose lines tell its layout."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--hold-out-text {path} cannot be read: {error}; give a text file") from None
    titles = [found[1] for line in lines if (found := _PUBTATOR.fullmatch(line))]
    if titles:
        yield from titles
    elif any("\t" in line for line in lines) and not any(" " in line.partition("\t")[0] for line in lines):
        sentence: list[str] = []
        for line in [*lines, ""]:
            if line.strip():
                sentence.append(line.partition("\t")[0])
            elif sentence:
                yield " ".join(sentence)
                sentence = []
    else:
        yield from lines
