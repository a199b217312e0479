"""Models of different tokenizers on the same hidden words, in bits a character.

A word is here what stands between spaces, which tokens seldom go across. 15 % of the words are hidden, drawn from the
passage's number and the word's, each with all its tokens shown as the mask token. A word costs the sum of its tokens'
losses, all predicted at once, divided by its characters. Left out, for all models, are words that one of the
tokenizers cannot spell (its unknown token), does not keep apart from their neighbours, or drops characters of
(combining marks aside).

What stays unequal: a model sees how many tokens a hidden word has, and those depend on its tokenizer; one that
puts everything in lower case, or takes accents away, leaves its model less to predict.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biolm.batches.counters import raw_draws, uniforms
from biolm.batches.packing import pack_lengths
from biolm.evaluation.quantities import quantities
from biolm.evaluation.tally import ByDocument, Group, Sums, differences, estimates
from biolm.model.device import resolve_row_tokens
from biolm.model.families import token_limit
from biolm.model.masked_lm import AskedRow, score_row
from biolm.model.memory import keep_large_blocks
from biolm.progress import Progress
from biolm.tokens.tokenizer import Tokenizer
from biolm.tokens.words import word_table_or_none

RATE = 0.15
SEED = 0
PASSAGES_AT_ONCE = 128
METRICS = ("bits_per_character", "whole_word_recall")
"""Of all metrics, those that mean the same under every tokenizer."""
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Contender:
    """A model from `load_model` with its own tokenizer."""

    model: Any
    tokenizer: Tokenizer

    @property
    def room(self) -> int:
        """Tokens of a window, those around it not counted."""
        return token_limit(self.model.config) - self.tokenizer.vocabulary.around


@dataclass(frozen=True, slots=True)
class HiddenWords:
    """What the models did."""

    groups: dict[str, Group]
    """By the contenders' names."""
    left_out: int
    """Words that were drawn and could not be hidden from all models alike."""

    def as_json(self, names: Mapping[str, str | None]) -> dict[str, Any]:
        """The first model, and the others with their paired `difference` (the first − it), called by `names`."""
        first = next(iter(self.groups.values()))
        models = []
        for name, group in self.groups.items():
            measured = estimates(group.sums, group.documents)
            model: dict[str, Any] = {
                "model": names[name],
                **{metric: measured[metric] for metric in METRICS},
                "tokens": group.sums.of("tokens"),
            }
            if group is not first:
                difference = differences(first.sums, group.sums, group.documents)
                model["difference"] = {metric: difference[metric] for metric in METRICS}
            models.append(model)
        return {
            "rate": RATE,
            "seed": SEED,
            "words": first.sums.of("words"),
            "characters": first.sums.of("characters"),
            "documents": first.documents,
            "left_out": self.left_out,
            "models": models,
        }


def evaluate_hidden_words(
    contenders: Mapping[str, Contender],
    passages: Iterable[tuple[int, str]],
    progress: Progress,
    *,
    count: int | None = None,
    max_row_tokens: int | None = None,
) -> HiddenWords:
    """Hide the same words of (document, text) from all models, in one pass. Memory grows by a number a document.

    Passages longer than one of the models takes are measured in windows, the same for all. `count`: passages to come.
    """
    keep_large_blocks()
    sums = {name: Sums() for name in contenders}
    documents: set[int] = set()
    left_out = done = 0
    characters = {}
    for name, contender in contenders.items():
        contender.model.eval()
        table = word_table_or_none(contender.tokenizer)
        characters[name] = None if table is None else table.characters()
    progress.start("hidden words", count, "passages")
    passages = iter(passages)
    while block := list(islice(passages, PASSAGES_AT_ONCE)):
        texts = [text for _, text in block]
        cuts = {
            name: _cut(contender.tokenizer, characters[name], texts) for name, contender in contenders.items()
        }
        windows: dict[str, list[_Window]] = {name: [] for name in contenders}
        for place, (document, text) in enumerate(block):
            words = np.array([found.span() for found in _WORD.finditer(text)], np.int64).reshape(-1, 2)
            own = {name: cut[place].by_word(words) for name, cut in cuts.items()}
            drawn = (
                uniforms(raw_draws(len(words), purpose="hidden words", seed=SEED, passage=done + place))
                < RATE
            )
            hidden = np.logical_and.reduce([drawn, *(passage.whole for passage in own.values())])
            found = list(_windows([(own[name], contenders[name].room) for name in contenders]))
            for begin, end in found:
                if hidden[begin:end].any():
                    documents.add(document)
                    for name, passage in own.items():
                        windows[name].append(passage.window(begin, end, hidden, words, document))
            shown = sum(int(hidden[begin:end].sum()) for begin, end in found)
            left_out += int(drawn.sum()) - shown
        for name, contender in contenders.items():
            budget = resolve_row_tokens(max_row_tokens, contender.model.device)
            _score(contender, windows[name], budget, sums[name])
        done += len(block)
        progress.update(done)
    progress.finish(f"{left_out:,} words could not be hidden from all models alike")
    return HiddenWords({name: Group(own, len(documents)) for name, own in sums.items()}, left_out)


@dataclass(frozen=True, slots=True)
class _Window:
    """A stretch of a passage under one tokenizer."""

    ids: NDArray[np.int64]
    hidden: NDArray[np.int64]
    """(masked,) places in `ids`."""
    word: NDArray[np.int64]
    """(masked,) which word each is of."""
    characters: NDArray[np.int64]
    """(masked,) those of the word, at its first token."""
    document: int


@dataclass(frozen=True, slots=True)
class _ByWord:
    """A passage's tokens, in the order of its words."""

    ids: NDArray[np.int64]
    ends: NDArray[np.int64]
    """(words + 1,): before which token each word begins, and the last one ends."""
    whole: NDArray[np.bool_]
    """(words,): whether its tokens are its own, and none is unknown."""

    def window(
        self, begin: int, end: int, hidden: NDArray[np.bool_], words: NDArray[np.int64], document: int
    ) -> _Window:
        """Words `begin` to `end`, with the hidden ones of them."""
        sizes = np.diff(self.ends[begin : end + 1])
        word = np.repeat(np.arange(begin, end), sizes)
        place = np.flatnonzero(hidden[word])
        first = np.append(True, word[place][1:] != word[place][:-1])
        lengths = words[word[place], 1] - words[word[place], 0]
        ids = self.ids[self.ends[begin] : self.ends[end]]
        return _Window(ids, place, word[place], np.where(first, lengths, 0), document)


@dataclass(frozen=True, slots=True)
class _Cut:
    """A passage's tokens as the tokenizer gives them."""

    ids: NDArray[np.int64]
    spans: NDArray[np.int64]
    unknown: int | None
    spelled: NDArray[np.int64] | None
    """(tokens,) characters that each spells, where that can be told."""
    text: str

    def by_word(self, words: NDArray[np.int64]) -> _ByWord:
        """Sorted into the words (words, 2) of the text; tokens behind the last one are of none."""
        count = len(words)
        # A space before a word, where the tokenizer has it in the word's token, is behind the end of the last one.
        first = np.searchsorted(words[:, 1], self.spans[:, 0], side="right")
        last = np.searchsorted(words[:, 0], self.spans[:, 1], side="left") - 1
        inside = first < count
        whole = np.ones(count + 1, bool)
        across = (last > first) & inside
        # Words between the two have no token of their own, and so are not whole either.
        whole[first[across]] = whole[last[across]] = False
        if self.unknown is not None:
            whole[first[self.ids == self.unknown]] = False
        sizes = np.bincount(first[inside], minlength=count)
        whole[:count] &= sizes > 0
        if self.spelled is not None:
            letters = np.array([not unicodedata.category(one).startswith("M") for one in self.text] + [False])
            before = np.concatenate([[0], np.cumsum(letters)])
            spelled = np.bincount(first[inside], weights=self.spelled[inside], minlength=count)
            whole[:count] &= spelled >= before[words[:, 1]] - before[words[:, 0]]
        return _ByWord(self.ids, np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), whole[:count])


def _cut(tokenizer: Tokenizer, characters: NDArray[np.int64] | None, texts: Sequence[str]) -> list[_Cut]:
    unknown = tokenizer.stock.unk_token_id
    return [
        _Cut(own.ids, own.spans, unknown, None if characters is None else characters[own.ids], text)
        for own, text in zip(tokenizer.encode_aligned(texts), texts, strict=True)
    ]


def _windows(passages: Sequence[tuple[_ByWord, int]]) -> Iterator[tuple[int, int]]:
    """Stretches of words that every model has room for; a word that one has no room for is in none."""
    count, begin = len(passages[0][0].whole), 0
    while begin < count:
        end = min(
            int(np.searchsorted(passage.ends, passage.ends[begin] + room, side="right")) - 1
            for passage, room in passages
        )
        if end > begin:
            yield begin, end
        begin = max(end, begin + 1)


def _score(contender: Contender, windows: Sequence[_Window], max_row_tokens: int, sums: Sums) -> None:
    vocabulary = contender.tokenizer.vocabulary
    prefix, suffix = (np.array(part, np.int64) for part in (vocabulary.prefix, vocabulary.suffix))
    lengths = [len(window.ids) + vocabulary.around for window in windows]
    for group in pack_lengths(lengths, max_row_tokens):
        own = [windows[place] for place in group]
        sizes = np.array([lengths[place] for place in group], np.int64)
        begins = np.cumsum(sizes) - sizes + len(prefix)
        ids = np.concatenate([part for window in own for part in (prefix, window.ids, suffix)])
        at = np.concatenate([window.hidden + begin for window, begin in zip(own, begins, strict=True)])
        labels = ids[at]
        ids[at] = vocabulary.mask_id
        counts = [len(window.hidden) for window in own]
        scores = score_row(contender.model, AskedRow(ids, sizes, at), labels)
        values = quantities(
            scores,
            shown_as_mask=np.ones(len(at), bool),
            # Words of two windows may have one number, and yet stand side by side.
            words=np.concatenate([window.word for window in own])
            + np.repeat(np.arange(len(own)) << 32, counts),
            characters=np.concatenate([window.characters for window in own]),
        )
        by = ByDocument.of(np.repeat([window.document for window in own], counts))
        sums.add(by.of_document @ values, by.weights)
