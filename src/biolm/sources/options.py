"""How the text of papers is written out: what is a matter of taste, by option."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class TextOptions:
    """What is kept of a paper's text, and how it is written."""

    citations: Literal["drop", "keep"] = "drop"
    """Numbers and names that point into the reference list."""
    cross_references: Literal["keep", "drop"] = "keep"
    """Words that point to a figure, table, section or supplement ("Fig. 2")."""
    addresses: Literal["keep", "drop"] = "keep"
    """Bare web addresses in the text; the words of a link are kept in any case."""
    characters: Literal["normalize", "keep"] = "normalize"
    """Whether characters that look alike become alike (docs/text.md has the table)."""
    supplementary: bool = False
    """Whether legends of supplementary material and media are read too."""
    sub_articles: bool = False
    """Whether figures of sub-articles (decision letters, responses) are read too."""
