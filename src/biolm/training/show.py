"""A masked passage as a person wants to see it before hours of training: what is hidden, and what stands there."""

import unicodedata
from collections.abc import Iterator
from itertools import pairwise

from biolm.batches.packing import PackedRow
from biolm.tokens.tokenizer import Tokenizer

SHOWN_CHARACTERS = 600
"""About how long a passage is shown, marks included."""
SHOWN_TOKENS = 512
"""How many tokens are looked at: enough for that many characters, and every beginning of them is decoded once."""


def masked_passage(row: PackedRow, tokenizer: Tokenizer) -> str:
    """The first window of a row, decoded, with each position to predict as `[what was there→what is shown]`.

    "Mutations in the [tumor→<mask>] suppressor [p53→in] cause [cancer→cancer]": without "[", "→…]" that is the
    passage as the tokenizer spells it. Tokens that only together are a character share a mark. Control
    characters are escaped as in Python; a long passage ends in "…" after about SHOWN_CHARACTERS.
    """
    if not len(row.lengths):
        return ""
    length, masked = int(row.lengths[0]), int(row.masked_per_window[0])
    shown = row.input_ids[:length].tolist()
    there = list(shown)
    places = row.masked_positions[:masked].tolist()
    for place, label in zip(places, row.labels[:masked].tolist(), strict=True):
        there[place] = label
    prefix, suffix = len(tokenizer.vocabulary.prefix), len(tokenizer.vocabulary.suffix)
    begin, end = prefix, min(length - suffix, prefix + SHOWN_TOKENS)
    hidden = set(places)
    text = ""
    for first, last, piece in _pieces(there, begin, end, tokenizer):
        if hidden.isdisjoint(range(first, last)):
            marked = _escaped(piece)
        else:
            marked = _marked(piece, there[first:last], shown[first:last], tokenizer)
        if text and len(text) + len(marked) > SHOWN_CHARACTERS:
            return text + "…"
        text += marked
    return text + "…" * (end < length - suffix)


def _pieces(ids: list[int], begin: int, end: int, tokenizer: Tokenizer) -> Iterator[tuple[int, int, str]]:
    """Runs of tokens with their texts, which add up to the whole: cut wherever a beginning of the ids decodes to a
    beginning of the text, as it does not between the bytes of a character."""
    whole = _decoded(ids[begin:end], tokenizer)
    cuts = [(begin, 0)]
    for at in range(begin + 1, end):
        part = _decoded(ids[begin:at], tokenizer)
        if whole.startswith(part) and len(part) >= cuts[-1][1]:
            cuts.append((at, len(part)))
    if end > begin:
        cuts.append((end, len(whole)))
    for (first, start), (last, stop) in pairwise(cuts):
        yield first, last, whole[start:stop]


def _marked(piece: str, there: list[int], shown: list[int], tokenizer: Tokenizer) -> str:
    core = piece.lstrip(" ") or piece
    before = piece[: len(piece) - len(core)]
    if there == shown:
        instead = core
    else:
        mask_id, mask = tokenizer.vocabulary.mask_id, tokenizer.stock.mask_token
        instead = "".join(mask if i == mask_id else _decoded([i], tokenizer).strip(" ") for i in shown)
    return f"{before}[{_escaped(core)}→{_escaped(instead)}]"


def _decoded(ids: list[int], tokenizer: Tokenizer) -> str:
    text: str = tokenizer.stock.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text


def _escaped(text: str) -> str:
    return "".join(
        letter.encode("unicode_escape").decode()
        if unicodedata.category(letter)[0] == "C" or letter in "\u2028\u2029"
        else letter
        for letter in text
    )
