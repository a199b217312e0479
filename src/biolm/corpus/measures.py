"""What a filter needs to know of a passage, for whole columns at once."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_BOILERPLATE = re.compile(
    r"\W*+(?:"
    r"no (?:abstract|summary|caption|legend|title|description|image)s?(?: is| was| were)?(?: available| provided|)"
    r"|(?:abstract|caption|legend|summary) (?:is )?not (?:available|provided)"
    r"|n\W?a|none|not applicable|unknown|null|tbd"
    r"|\[?(?:figure|image|photo|table)s?:? see text\]?"
    r"|(?:image|picture|graphic|photo|illustration|figure)s?\W*+(?:\d+|[ivx]+)?"
    r"|\[?(?:this|the following) (?:corrects?|retracts?|article corrects) .{0,300}"
    r"|\[?(?:this|the) (?:article|paper) has been (?:retracted|withdrawn|corrected).{0,300}"
    r"|(?:the )?(?:online|electronic) version (?:of this article )?contains supplementary.{0,300}"
    r"|(?:please )?(?:see|click) (?:here|the (?:full )?text|text|full text|pdf|article|below)\b.{0,120}"
    r")\W*+",
    re.IGNORECASE,
)
"""Passages that say only that there is nothing here, or where it is."""


def _is_letter(byte: int) -> bool:
    """Whether a byte is a letter, or the first of one: of U+00C0 and up, without U+2000 to U+2FFF (symbols)."""
    return chr(byte).isalpha() if byte < 0x80 else 0xC3 <= byte < 0xF5 and byte != 0xE2


_NO_LETTERS = bytes(byte for byte in range(256) if not _is_letter(byte))


def letter_shares(texts: Sequence[str]) -> NDArray[np.float32]:
    """(texts,) each text's share of letters among its characters other than spaces; 0 where it has none.

    By the first byte of each character in UTF-8, which takes × and ÷ for letters and little else.
    """
    letters = [len(text.encode().translate(None, _NO_LETTERS)) for text in texts]
    characters = [len(text) - text.count(" ") for text in texts]
    return (np.array(letters) / np.maximum(characters, 1)).astype(np.float32)


def is_boilerplate(texts: Sequence[str]) -> list[bool]:
    """Whether each text says only that there is nothing here, or where it is."""
    return [_BOILERPLATE.fullmatch(text) is not None for text in texts]
