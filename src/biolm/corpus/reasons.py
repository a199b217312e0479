"""Why a passage is not in the corpus: the first reason of this list that applies."""

from typing import Literal, get_args

Reason = Literal[
    "deleted",
    "older_version",
    "retracted",
    "article_type",
    "licence",
    "other_abstract",
    "no_text",
    "too_short",
    "too_long",
    "boilerplate",
    "symbols",
    "language",
    "other_record",
    "held_out",
    "duplicate",
    "near_duplicate",
]
REASONS: tuple[Reason, ...] = get_args(Reason)
KEPT = 0
CODE: dict[Reason, int] = {reason: number for number, reason in enumerate(REASONS, 1)}
"""A passage's fate as a number; KEPT for those that are in the corpus."""
MEANING: dict[Reason, str] = {
    "deleted": "of a record that a later PubMed file or its paper store withdraws",
    "older_version": "of a record that a newer version of itself replaces",
    "retracted": "of a retracted paper",
    "article_type": "of a correction, retraction notice or other type of article that was not asked for",
    "licence": "of a paper whose licence is not among those asked for",
    "other_abstract": "a graphical, plain-language or other abstract beside the main one",
    "no_text": "an abstract or figure without any text",
    "too_short": "fewer characters than the minimum",
    "too_long": "more characters than the maximum",
    "boilerplate": 'says only that there is nothing, or where it is ("No abstract available")',
    "symbols": "mostly numbers or symbols",
    "language": "stated or detected to be in a language that was not asked for",
    "other_record": "of another record of a paper whose abstract or legends are taken from a better one",
    "held_out": "of a paper that is held out, or with nearly its text",
    "duplicate": "the same words as another passage",
    "near_duplicate": "nearly the same words as another passage",
}
