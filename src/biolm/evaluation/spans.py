"""Strata by what stands in the text: parts of speech, entities, or anything else that spans of characters say."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ArtifactError, ConfigError, InputError, ModelError
from biolm.evaluation.strata import MaskedTokens
from biolm.tokens.store import TokenSplit
from biolm.tokens.tokenizer import Tokenizer

OUTSIDE = "outside"
MOST_LABELS = 64
Span = tuple[int, int, str]
"""First character, the one behind the last, label."""
_AT_ONCE = 256


class SpanLabels:
    """By the label of the span in which a token's first letter lies, or OUTSIDE. A byte for each token of the split."""

    def __init__(
        self,
        name: str,
        data: TokenSplit,
        tokenizer: Tokenizer,
        texts: Iterable[str],
        spans: Iterable[Sequence[Span]],
    ) -> None:
        """`texts` and `spans`: of the split's passages, in order. Where spans overlap, the later one counts.

        Raises ArtifactError where the texts are not those of the tokens, ConfigError for more than 63 labels.
        """
        self.name = name
        known = {OUTSIDE: 0}
        self._codes = np.zeros(int(data.offsets[-1]), np.uint8)
        number = 0
        pairs = zip(texts, spans, strict=True)
        while block := list(islice(pairs, _AT_ONCE)):
            aligned = tokenizer.encode_aligned([text for text, _ in block])
            for (text, own), cut in zip(block, aligned, strict=True):
                begin, end = int(data.offsets[number]), int(data.offsets[number + 1])
                if not np.array_equal(cut.ids, data.ids[begin:end]):
                    raise ArtifactError(
                        f"passage {number} of the {data.name} split has other tokens than its text; "
                        "give the corpus that the tokens were made of"
                    )
                self._codes[begin:end] = _codes(text, cut.spans, own, known)
                number += 1
            if len(known) > MOST_LABELS:
                raise ConfigError(
                    f"{name} has more than {MOST_LABELS - 1} labels ({', '.join(list(known)[1:6])}, ...); "
                    "join some, or leave some out"
                )
        self.labels: tuple[str, ...] = tuple(known)

    def codes(self, masked: MaskedTokens) -> NDArray[np.int64]:
        """By token."""
        return self._codes[masked.token].astype(np.int64)


def _codes(
    text: str, tokens: NDArray[np.int64], spans: Sequence[Span], known: dict[str, int]
) -> NDArray[np.int64]:
    """(tokens,) for tokens (tokens, 2) of a text; labels that are new get the next number."""
    of_character = np.zeros(len(text) + 1, np.int64)
    for first, last, label in spans:
        of_character[first:last] = known.setdefault(label, len(known))
    space = np.array([character.isspace() for character in text] + [False])
    letters = np.flatnonzero(~space)  # the end of the text is one of them
    letter = letters[np.searchsorted(letters, tokens[:, 0])]
    return of_character[np.minimum(letter, np.maximum(tokens[:, 1] - 1, tokens[:, 0]))]


def read_spans(path: Path, texts: Iterable[str]) -> Iterator[list[Span]]:
    """The spans of a JSON-lines file, for each of a split's passages in order, whose `texts` they must lie in.

    A line is {"passage": row of the split from 0, "spans": [[first, last, "label"], ...]}; passages without a line have
    none. Raises InputError, with the line's number, for anything else.
    """
    found: dict[int, list[Span]] = {}
    where: dict[int, int] = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--spans {path} cannot be read: {error}; give JSON lines") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            passage, spans = _of_line(line, f"{path}, line {number}")
            if passage in found:
                raise InputError(
                    f"{path}, line {number}: passage {passage} was on line {where[passage]} already"
                )
            found[passage], where[passage] = spans, number
    number = -1
    for number, text in enumerate(texts):
        spans = found.pop(number, [])
        for first, last, _ in spans:
            if last > len(text):
                raise InputError(
                    f"{path}, line {where[number]}: {first} to {last} is not in passage {number}, which has "
                    f"{len(text)} characters"
                )
        yield spans
    if found:
        missing = min(found)
        raise InputError(
            f"{path}, line {where[missing]}: there is no passage {missing} in the split, which has {number + 1}"
        )


def _of_line(line: str, where: str) -> tuple[int, list[Span]]:
    wanted = 'give {"passage": 0, "spans": [[first, last, "label"], ...]}'
    try:
        row = json.loads(line)
        passage = row["passage"]
        spans = [(first, last, label) for first, last, label in row["spans"]]
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{where}: no passage with spans; {wanted}") from None
    whole = all(type(n) is int for span in spans for n in span[:2]) and type(passage) is int
    if not whole or passage < 0 or not all(0 <= a < b and isinstance(label, str) for a, b, label in spans):
        raise InputError(f"{where}: passage or spans are no numbers from 0, or no label; {wanted}")
    return passage, spans


def parts_of_speech(pipeline: str, texts: Iterable[str]) -> Iterator[list[Span]]:
    """The universal part of speech of each word of each text, by a spaCy pipeline (name or folder).

    Raises ModelError where spaCy, the pipeline, or its parts of speech are absent.
    """
    try:
        import spacy
    except ImportError:
        raise ModelError("--pos needs spaCy; install it with `pip install 'biolm[pos]'`") from None
    try:
        nlp: Any = spacy.load(pipeline, exclude=["parser", "ner", "lemmatizer"])
    except (OSError, ValueError) as error:
        first = (str(error).strip().splitlines() or ["?"])[0]
        raise ModelError(f"the spaCy pipeline {pipeline} cannot be loaded: {first}") from None
    said = False
    for document in nlp.pipe(texts):
        spans = [(word.idx, word.idx + len(word), word.pos_) for word in document if word.pos_]
        said = said or bool(spans)
        yield spans
    if not said:
        raise ModelError(f"the spaCy pipeline {pipeline} gives no part of speech; choose one with a tagger")
