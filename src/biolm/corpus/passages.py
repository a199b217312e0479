"""The texts of an article that enter a corpus, and the reason of each that does not."""

from collections.abc import Iterator
from typing import Literal, get_args

from biolm.corpus.hashes import HashTable, hash64
from biolm.records import Article, Passage, Section

Reason = Literal["no_text", "too_short", "too_long", "other_abstract", "duplicate"]
REASONS: tuple[Reason, ...] = get_args(Reason)
MEANING: dict[Reason, str] = {
    "no_text": "an abstract or figure without any text",
    "too_short": "fewer characters than the minimum",
    "too_long": "more characters than the maximum",
    "other_abstract": "a graphical, plain-language or other abstract beside the main one",
    "duplicate": "a second abstract of the same paper, or the same legend again",
}


class Sieve:
    """Finds the passages of articles one after another, and remembers those it let through.

    A paper's first main abstract is kept; the abstract of the same paper from another source is a
    duplicate even where its wording differs. A legend is a duplicate of one with the same text in the
    same paper. Memory: 18 to 36 bytes a passage kept.
    """

    def __init__(self, *, min_chars: int, max_chars: int | None) -> None:
        self._min_chars = min_chars
        self._max_chars = max_chars
        self._kept = HashTable()

    def sift(self, article: Article, document: str) -> Iterator[Passage | Reason]:
        """Each abstract and each figure legend of the article: the passage, or why it is dropped."""
        for abstract in article.abstracts:
            if abstract.kind is not None:
                yield "other_abstract"
                continue
            text = abstract.text.strip()
            language = abstract.language or article.language
            yield self._drop(text, document, "abstract", "") or _passage(
                article, document, text=text, section="abstract", label="", language=language
            )
        for figure in article.figures:
            text = " ".join(part for part in (figure.title.strip(), figure.caption.strip()) if part)
            yield self._drop(text, document, "figure_legend", text) or _passage(
                article,
                document,
                text=text,
                section="figure_legend",
                label=figure.label,
                language=article.language,
            )

    def _drop(self, text: str, document: str, section: Section, once: str) -> Reason | None:
        """Why a text is dropped; `once` is what may be kept one time only in this section of the paper."""
        if not text:
            return "no_text"
        if len(text) < self._min_chars:
            return "too_short"
        if self._max_chars is not None and len(text) > self._max_chars:
            return "too_long"
        if not self._kept.add(hash64(document, section, once)):
            return "duplicate"
        return None


def _passage(
    article: Article, document: str, *, text: str, section: Section, label: str, language: str | None
) -> Passage:
    return Passage(
        text=text,
        section=section,
        label=label,
        document=document,
        title=article.title,
        pmid=article.pmid,
        pmcid=article.pmcid,
        doi=article.doi,
        journal=article.journal,
        year=article.year,
        licence=article.licence,
        language=language,
        source=article.source,
    )
