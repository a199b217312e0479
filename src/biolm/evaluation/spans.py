"""Strata by what stands in the text: parts of speech, entities, or anything else that spans of characters say."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ArtifactError, ConfigError, InputError, ModelError, first_line
from biolm.evaluation.strata import MaskedTokens
from biolm.tokens.store import TokenSplit
from biolm.tokens.tokenizer import Tokenizer

OUTSIDE = "outside"
MOST_LABELS = 64
Span = tuple[int, int, str]
"""First character, the one behind the last, label."""
_AT_ONCE = 256


class Spans(Protocol):
    """What knows the spans of a split's passages."""

    def of(self, first: int, texts: Sequence[str]) -> list[list[Span]]:
        """Those of passages `first`, `first` + 1, ... Where they overlap, the later one counts."""


class SpanLabels:
    """By the label of the span in which a token's first letter lies, or OUTSIDE. A byte for each token of the split."""

    def __init__(self, name: str, tokens: int) -> None:
        self.name = name
        self._known = {OUTSIDE: 0}
        self._codes = np.zeros(tokens, np.uint8)

    @property
    def labels(self) -> tuple[str, ...]:
        """In the order in which they were met."""
        return tuple(self._known)

    def add(self, begin: int, text: str, tokens: NDArray[np.int64], spans: Sequence[Span]) -> None:
        """A passage, whose tokens (tokens, 2), first character and end of each, begin at `begin` of the split's.

        Raises ConfigError for more than 63 labels.
        """
        of_character = np.zeros(len(text) + 1, np.int64)
        for first, last, label in spans:
            of_character[first:last] = self._known.setdefault(label, len(self._known))
        if len(self._known) > MOST_LABELS:
            raise ConfigError(
                f"{self.name} has more than {MOST_LABELS - 1} labels ({', '.join(self.labels[1:6])}, ...); "
                "join some, or leave some out"
            )
        space = np.array([character.isspace() for character in text] + [False])
        letters = np.flatnonzero(~space)  # the end of the text is one of them
        letter = letters[np.searchsorted(letters, tokens[:, 0])]
        letter = np.minimum(letter, np.maximum(tokens[:, 1] - 1, tokens[:, 0]))
        self._codes[begin : begin + len(tokens)] = of_character[letter]

    def codes(self, masked: MaskedTokens) -> NDArray[np.int64]:
        """By token."""
        return self._codes[masked.token].astype(np.int64)


def span_strata(
    data: TokenSplit, tokenizer: Tokenizer, texts: Iterable[str], sources: Mapping[str, Spans]
) -> list[SpanLabels]:
    """A stratum for each of `sources`, in one pass over the texts of the split's passages (or of the first of them).

    Raises ArtifactError where the texts are not those of the tokens, and what `SpanLabels.add` raises.
    """
    strata = [SpanLabels(name, int(data.offsets[-1])) for name in sources]
    number, texts = 0, iter(texts)
    while block := list(islice(texts, _AT_ONCE)):
        found = [source.of(number, block) for source in sources.values()]
        for place, cut in enumerate(tokenizer.encode_aligned(block)):
            begin, end = int(data.offsets[number]), int(data.offsets[number + 1])
            if not np.array_equal(cut.ids, data.ids[begin:end]):
                raise ArtifactError(
                    f"passage {number} of the {data.name} split has other tokens than its text; "
                    "give the corpus that the tokens were made of"
                )
            for stratum, spans in zip(strata, found, strict=True):
                stratum.add(begin, block[place], cut.spans, spans[place])
            number += 1
    return strata


class SpanFile:
    """Spans from a file of JSON lines, held in memory: some 200 bytes for each."""

    def __init__(self, path: Path, passages: int) -> None:
        """A line is {"passage": row of the split from 0, "spans": [[first, last, "label"], ...]}; passages without a
        line have none. `passages`: of the split. Raises InputError, with the line's number, for anything else.
        """
        self._path = path
        self._lines: dict[int, tuple[int, list[Span]]] = {}
        try:
            with path.open(encoding="utf-8-sig", newline="\n") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        passage, spans = _of_line(line, where := f"{path}, line {number}")
                        if passage >= passages:
                            raise InputError(
                                f"{where}: there is no passage {passage} in the split, which has {passages:,}"
                            )
                        if passage in self._lines:
                            raise InputError(
                                f"{where}: passage {passage} was on line {self._lines[passage][0]} already"
                            )
                        self._lines[passage] = number, spans
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--spans {path} cannot be read: {error}; give JSON lines") from None

    def of(self, first: int, texts: Sequence[str]) -> list[list[Span]]:
        """Raises InputError for a span that is not in its passage."""
        found = []
        for passage, text in enumerate(texts, first):
            number, spans = self._lines.get(passage, (0, []))
            for begin, end, _ in spans:
                if end > len(text):
                    raise InputError(
                        f"{self._path}, line {number}: {begin} to {end} is not in passage {passage}, which has "
                        f"{len(text)} characters"
                    )
            found.append(spans)
        return found


def _of_line(line: str, where: str) -> tuple[int, list[Span]]:
    wanted = 'give {"passage": 0, "spans": [[first, last, "label"], ...]}'
    try:
        row = json.loads(line)
        passage = row["passage"]
        spans = [(first, last, label) for first, last, label in row["spans"]]
        for *_, label in spans:
            label.encode()  # half a character cannot be written again
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{where}: no passage with spans; {wanted}") from None
    whole = all(type(n) is int for span in spans for n in span[:2]) and type(passage) is int
    if not whole or passage < 0 or not all(0 <= first < last for first, last, _ in spans):
        raise InputError(f"{where}: passage or spans are no numbers from 0; {wanted}")
    return passage, spans


class PartsOfSpeech:
    """The universal part of speech of each word, by a spaCy pipeline (name or folder)."""

    def __init__(self, pipeline: str) -> None:
        """Raises ModelError where spaCy or the pipeline are absent."""
        try:
            import spacy
        except ImportError:
            raise ModelError("--pos needs spaCy; install it with `pip install 'biolm[pos]'`") from None
        self._pipeline, self._said = pipeline, False
        try:
            self._nlp: Any = spacy.load(pipeline, exclude=["parser", "ner", "lemmatizer"])
        except (OSError, ValueError) as error:
            raise ModelError(f"the spaCy pipeline {pipeline} cannot be loaded: {first_line(error)}") from None
        self._nlp.max_length = 1 << 31  # what a parser would need memory for

    def of(self, first: int, texts: Sequence[str]) -> list[list[Span]]:
        """Raises ModelError where the pipeline fails, or says no part of speech in the first texts."""
        try:
            documents = list(self._nlp.pipe(texts))
        except ValueError as error:
            raise ModelError(f"the spaCy pipeline {self._pipeline} fails: {first_line(error)}") from None
        found = [
            [
                (word.idx, word.idx + len(word), word.pos_)
                for word in document
                if word.pos_ and not word.is_space
            ]
            for document in documents
        ]
        self._said = self._said or any(found)
        if not self._said:
            raise ModelError(
                f"the spaCy pipeline {self._pipeline} gives no part of speech; choose one with a tagger"
            )
        return found
