"""The filters that look at one passage and its paper, on columns of all passages at once."""

from collections.abc import Collection, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from biolm.corpus.config import CorpusConfig
from biolm.corpus.documents import Documents, Rows, coded
from biolm.corpus.language import MIN_CERTAINTY, MIN_CHARACTERS
from biolm.corpus.reasons import CODE, KEPT, Reason
from biolm.licences import allows
from biolm.sources.pubmed import LANGUAGES


def filter_passages(
    article: Rows, documents: Documents, passages: pa.Table, config: CorpusConfig
) -> NDArray[np.int8]:
    """(passages,) KEPT, or the CODE of the first filter that drops the passage.

    `article`: (passages,) row of each passage's article; `passages`: the columns of the extracts.
    """
    fate = documents.fate[article].copy()

    def drop(mask: NDArray[np.bool_], reason: Reason) -> None:
        fate[mask & (fate == KEPT)] = CODE[reason]

    if not config.retracted:
        drop(documents.retracted[article], "retracted")
    unwanted = [not _wanted_type(types, config) for types in documents.all_types]
    drop(_look_up(unwanted, documents.types)[article], "article_type")
    refused = [not allows(licence, config.licence) for licence in documents.licences]
    drop(_look_up(refused, documents.licence)[article], "licence")
    kinds, kind = coded(passages["kind"])
    if "all" not in config.abstracts:
        drop(_look_up([name not in config.abstracts for name in kinds], kind), "other_abstract")
    characters = passages["characters"].to_numpy()
    drop(characters == 0, "no_text")
    drop(characters < config.min_chars, "too_short")
    if config.max_chars is not None:
        drop(characters > config.max_chars, "too_long")
    drop(passages["boilerplate"].to_numpy(), "boilerplate")
    drop(passages["letters"].to_numpy() < config.min_letters, "symbols")
    if config.languages is not None:
        drop(_other_language(passages, config.languages), "language")
    return fate


def _wanted_type(types: Sequence[str], config: CorpusConfig) -> bool:
    if config.article_types is not None and not set(types) & set(config.article_types):
        return False
    return not set(types) & set(config.without_types)


def _other_language(passages: pa.Table, wanted: Collection[str]) -> NDArray[np.bool_]:
    """Stated to be in another language, or whatever is stated detected with certainty to be."""
    stated, code = coded(passages["language"])
    wanted = frozenset(map(_plain_code, wanted))
    other = _look_up([_plain_code(name) not in wanted for name in stated], code)
    if "detected" in passages.column_names:
        detected, code = coded(passages["detected"])
        other |= (
            _look_up([name not in wanted for name in detected], code)
            & (passages["certainty"].to_numpy() >= np.float32(MIN_CERTAINTY))
            & (passages["characters"].to_numpy() >= MIN_CHARACTERS)
        )
    return other


def _plain_code(language: str) -> str:
    """ "en-GB", "EN" and "eng" as "en"."""
    code = language.lower().replace("_", "-").partition("-")[0]
    return LANGUAGES.get(code, code)


def _look_up(truths: Sequence[bool], codes: NDArray[np.int32]) -> NDArray[np.bool_]:
    """The truth of each code; False for −1, which stands for no value."""
    return np.array([*truths, False], bool)[codes]
