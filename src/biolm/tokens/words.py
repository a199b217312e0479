"""Which tokens are one word, told from a tokenizer's spellings: "p53", "IL-6", "TNF-α", "0.05" are one each.

A word is a run of letters, digits and marks of any script. A hyphen or underscore between two of them belongs
to the word ("HLA-DR", "NM_000546"), a point or comma between digits ("0.05", "1,000"), an apostrophe inside
("Crohn's"). Every other token (punctuation, symbols) is a word of its own; a lone space belongs to the word after it.

WordPiece ids (BERT) do not tell "IL-6" from "IL - 6": there a hyphen between two words joins them, whatever the
spaces were; points, commas and apostrophes do not, for "0.05" would be no different from "in 2015 . 30 mice".
"""

import functools
import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from biolm.errors import ModelError

if TYPE_CHECKING:
    from biolm.tokens.tokenizer import Tokenizer

_OTHER, _LETTER, _DIGIT, _HYPHEN, _DECIMAL, _APOSTROPHE, _SPACE, _GAP, _SPECIAL = range(9)
_JOINERS = {
    _HYPHEN: "-_\u00ad\u2010\u2011\u2012\u2013",  # soft, Unicode and non-breaking hyphen, figure and en dash
    _DECIMAL: ".,\u00b7",  # the middle dot: The Lancet
    _APOSTROPHE: "'\u2019",
}
_GAP_MARK = "\0"
"""Before a WordPiece that starts a word: a space or none, nobody knows."""
_SPECIAL_MARK = "\1"


@dataclass(frozen=True, slots=True)
class WordTable:
    """The spelling of every id, from which word boundaries are read."""

    text: NDArray[np.uint8]
    """(bytes,): UTF-8 of all ids end to end, with the spaces that they hold. A byte-level id may hold a part of
    a character only; special tokens are a mark that ends every word."""
    offsets: NDArray[np.int64]
    """(vocabulary + 1,): id i is text[offsets[i]:offsets[i + 1]]; none is empty."""

    def starts(self, content: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) for ids (n,): True where a token starts a word, False where it goes on with the one before it."""
        if not len(content):
            return np.empty(0, bool)
        text, first = self.spelled(content)
        if text.max() < 0x80:
            return ~_goes_on(_classes()[text])[first]
        lead = (text & 0xC0) != 0x80
        lead[0] = True
        goes_on = _goes_on(_character_classes(text, np.flatnonzero(lead)))
        return lead[first] & ~goes_on[(np.cumsum(lead) - 1)[first]]

    def spelled(self, content: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The text of ids (n,), at least one, end to end (bytes,), and where in it each begins (n,)."""
        begin = self.offsets[content]
        sizes = self.offsets[content + 1] - begin
        first = np.cumsum(sizes) - sizes
        return self.text[np.arange(first[-1] + sizes[-1]) + np.repeat(begin - first, sizes)], first

    def characters(self) -> NDArray[np.int64]:
        """(vocabulary,) characters that each id spells, white space not counted.

        Of a character that several byte-level ids make up, the one that begins it counts.
        """
        lead = (self.text & 0xC0) != 0x80
        place = np.flatnonzero(lead)
        seen = np.zeros(len(self.text) + 1, np.int64)
        classes = _character_classes(self.text, place)
        seen[place + 1] = (classes != _SPACE) & (classes != _GAP) & (classes != _SPECIAL)
        return np.diff(np.cumsum(seen)[self.offsets])


def word_table(tokenizer: "Tokenizer") -> WordTable:
    """The table of a byte-level, WordPiece or Metaspace tokenizer.

    Raises ModelError for another kind, whose ids do not show where words begin.
    """
    state = json.loads(tokenizer.stock.backend_tokenizer.to_str())
    spell = _speller(state, tokenizer.name)
    added = {token["id"]: token["content"] for token in state.get("added_tokens") or []}
    vocabulary = tokenizer.vocabulary
    spellings = [spell(piece or "") for piece in tokenizer.pieces(range(vocabulary.size))]
    gap = _GAP_MARK if state["model"].get("continuing_subword_prefix") else ""
    for token, content in added.items():
        spellings[token] = (gap + content).encode()
    for token in vocabulary.special_ids:
        spellings[token] = _SPECIAL_MARK.encode()
    spellings = [spelling or _SPECIAL_MARK.encode() for spelling in spellings]
    offsets = np.concatenate([[0], np.cumsum([len(spelling) for spelling in spellings])]).astype(np.int64)
    return WordTable(np.frombuffer(b"".join(spellings), np.uint8), offsets)


def word_table_or_none(tokenizer: "Tokenizer") -> WordTable | None:
    """The table, or None for a tokenizer whose words cannot be told."""
    try:
        return word_table(tokenizer)
    except ModelError:
        return None


def _speller(state: dict, name: str) -> Callable[[str], bytes]:
    """What turns the vocabulary's spelling of a piece ("Ġcell", "##ase", "▁cell") into bytes of text."""
    prefix = state["model"].get("continuing_subword_prefix")
    rules = json.dumps(
        [state.get(part) for part in ("normalizer", "pre_tokenizer", "decoder")], ensure_ascii=False
    )
    if prefix:
        return lambda piece: (
            piece.removeprefix(prefix) if piece.startswith(prefix) else _GAP_MARK + piece
        ).encode()
    if '"ByteLevel"' in rules:
        byte_of = _byte_alphabet()
        return lambda piece: b"".join(byte_of.get(letter) or letter.encode() for letter in piece)
    if "▁" in rules:
        bytes_of = {f"<0x{byte:02X}>": bytes([byte]) for byte in range(256)}
        return lambda piece: bytes_of.get(piece) or piece.replace("▁", " ").encode()
    raise ModelError(
        f"the tokenizer {name} is neither byte-level nor WordPiece nor Metaspace, so its words cannot be told; "
        "use --mask-unit token"
    )


def _byte_alphabet() -> dict[str, bytes]:
    """The letters that byte-level BPE writes bytes with (Radford 2019, GPT-2's encoder.py)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = sorted(set(range(0x100)) - set(plain))
    alphabet = {chr(byte): bytes([byte]) for byte in plain}
    return alphabet | {chr(0x100 + i): bytes([byte]) for i, byte in enumerate(others)}


@functools.cache
def _classes() -> NDArray[np.uint8]:
    """(65536,) the class of each character of Unicode's first plane. 20 ms, once a process."""
    found = np.zeros(1 << 16, np.uint8)
    for code in range(1 << 16):
        category = unicodedata.category(chr(code))
        if chr(code).isspace():
            found[code] = _SPACE
        elif category[0] in "LNM":
            found[code] = _DIGIT if category == "Nd" else _LETTER
    for joiner, characters in _JOINERS.items():
        found[[ord(character) for character in characters]] = joiner
    found[[ord(_GAP_MARK), ord(_SPECIAL_MARK)]] = _GAP, _SPECIAL
    return found


_WIDTHS = np.zeros(256, np.int64)
"""Bytes of the character that a byte begins; 0 where none begins with it."""
_WIDTHS[:0x80], _WIDTHS[0xC2:0xE0], _WIDTHS[0xE0:0xF0], _WIDTHS[0xF0:0xF5] = 1, 2, 3, 4


def _character_classes(text: NDArray[np.uint8], place: NDArray[np.int64]) -> NDArray[np.uint8]:
    """(characters,) of UTF-8 `text` (bytes,) with characters beginning at `place`.

    Letters: parts of characters (a window may begin or end inside one), and all beyond the first plane.
    """
    one, two, three = (np.pad(text, (0, 2))[place + i].astype(np.int64) for i in range(3))
    width = _WIDTHS[one]
    code = np.where(
        width == 2,
        (one & 0x1F) << 6 | two & 0x3F,
        (one & 0x0F) << 12 | (two & 0x3F) << 6 | three & 0x3F,
    )
    code = np.where(width == 1, one, code)
    whole = (np.diff(place, append=len(text)) == width) & (width < 4)
    return np.where(whole, _classes()[code], np.uint8(_LETTER))


def _goes_on(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(characters,): True where a character and the one before it are of the same word."""
    padded = np.pad(classes, 2)
    before, after = padded[1:-3], padded[3:-1]
    member = (classes == _LETTER) | (classes == _DIGIT)
    member |= (classes == _DECIMAL) & (before == _DIGIT) & (after == _DIGIT)
    member |= (classes == _APOSTROPHE) & _in_word(before) & _in_word(after)
    # A gap (WordPiece) beside a hyphen counts as no space.
    hyphens = (classes == _HYPHEN) & _in_word(np.where(before == _GAP, padded[:-4], before))
    hyphens &= _in_word(np.where(after == _GAP, padded[4:], after))
    member |= hyphens
    beside = np.pad(hyphens, 1)
    member |= (classes == _GAP) & (beside[:-2] | beside[2:])
    found = np.zeros(len(classes), bool)
    found[1:] = member[1:] & member[:-1] | (classes[:-1] == _SPACE) & (classes[1:] != _SPECIAL)
    return found


def _in_word(classes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return (classes == _LETTER) | (classes == _DIGIT)
