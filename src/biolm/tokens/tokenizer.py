"""Any fast Hugging Face tokenizer, with what biolm must know of it: its special tokens and its hash."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from biolm.artifacts import MANIFEST, sha256_json
from biolm.errors import ModelError, first_line
from biolm.hub import TOKENIZER_FILES, read_config, resolve_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray


_DESCRIBED = ("config.json", "tokenizer_config.json", "tokenizer.json")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What packing and masking need of a tokenizer."""

    size: int
    """Ids run from 0 to size − 1, added tokens included."""
    prefix: tuple[int, ...]
    """Ids before every passage: `<s>` or `[CLS]`."""
    suffix: tuple[int, ...]
    """Ids after every passage: `</s>` or `[SEP]`."""
    mask_id: int
    special_ids: tuple[int, ...]
    """Never masked, never put in as a random token: padding, unknown and mask among them."""
    hash: str
    """SHA-256 of what decides how text becomes ids."""

    @property
    def around(self) -> int:
        """How many ids stand around every passage, before and after it."""
        return len(self.prefix) + len(self.suffix)


@dataclass(frozen=True, slots=True)
class Aligned:
    """One text's tokens, without special ones around it."""

    ids: "NDArray[np.int64]"
    """(tokens,)."""
    spans: "NDArray[np.int64]"
    """(tokens, 2): the token's characters, from and before; pieces of one character share it."""
    words: "NDArray[np.int64]"
    """(tokens,): the number of the word that the tokenizer itself divided into this and other tokens; ascending."""


class Tokenizer:
    """A fast tokenizer that cuts text as it stands: no truncation, no padding, and a passage that spells
    "<mask>" or "[SEP]" holds those characters, not those tokens."""

    def __init__(self, stock: Any, name: str) -> None:
        self.stock = stock
        """The transformers tokenizer, for saving and for people."""
        self.name = name
        self._backend = stock.backend_tokenizer
        self._backend.no_truncation()
        self._backend.no_padding()
        self.vocabulary = _vocabulary(stock, name)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without the special tokens around it. Batched over all cores."""
        self._backend.encode_special_tokens = True
        try:
            encodings = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        finally:
            self._backend.encode_special_tokens = False
        return [encoding.ids for encoding in encodings]

    def encode_aligned(self, texts: Sequence[str]) -> "list[Aligned]":
        """What `encode` gives, with the characters and the word that each token is of."""
        self._backend.encode_special_tokens = True
        try:
            encodings = self._backend.encode_batch(list(texts), add_special_tokens=False)
        finally:
            self._backend.encode_special_tokens = False
        return [
            Aligned(
                np.array(encoding.ids, np.int64),
                np.array(encoding.offsets, np.int64).reshape(-1, 2),
                np.array(encoding.word_ids, np.int64),
            )
            for encoding in encodings
        ]

    def encode_with_mask(self, text: str) -> list[int]:
        """Ids of one text in which the mask token's spelling is the mask, special tokens around it included."""
        inner: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return [*self.vocabulary.prefix, *inner, *self.vocabulary.suffix]

    def pieces(self, ids: "Sequence[int] | NDArray[Any]") -> list[str]:
        """The vocabulary's spelling of each id ("Ġcell", "##ase")."""
        found: list[str] = self.stock.convert_ids_to_tokens([int(token) for token in ids])
        return found


def load_tokenizer(name: str) -> Tokenizer:
    """The tokenizer of a folder or Hub name. Raises ModelError where there is none that biolm can use."""
    from transformers import AddedToken, AutoTokenizer, RobertaTokenizerFast

    folder = resolve_folder(name, weights=False)
    if not any((folder / file).is_file() for file in TOKENIZER_FILES):
        raise ModelError(f"{folder} holds no tokenizer (no tokenizer.json or vocab file)")
    # A bare vocab.json + merges.txt, as roberta-base was first published, names no class of its own.
    bare = not any((folder / file).is_file() for file in _DESCRIBED) and (folder / "merges.txt").is_file()
    try:
        if bare:
            mask = AddedToken("<mask>", lstrip=True, special=True)  # as in roberta-base's tokenizer.json
            stock = RobertaTokenizerFast.from_pretrained(folder, mask_token=mask, local_files_only=True)
        else:
            stock = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # whatever a stranger's files make the reader raise
        raise ModelError(f"the tokenizer in {folder} cannot be loaded: {first_line(error)}") from None
    if not getattr(stock, "is_fast", False):
        raise ModelError(f"{name} has only a slow tokenizer; convert it to tokenizer.json first")
    return Tokenizer(stock, name)


def resolve_model(
    name: str, tokenizer: str | None = None, *, instead: bool = False
) -> tuple[Path, Tokenizer]:
    """The folder of a model (folder or Hub name), and `tokenizer` or its own, which must belong to it (ModelError).

    `instead`: its own goes first, and `tokenizer` is for a folder that holds none.
    """
    folder = resolve_folder(name, weights=True)
    if instead and any((folder / file).is_file() for file in TOKENIZER_FILES):
        tokenizer = None
    own = load_tokenizer(tokenizer or str(folder))
    check_belongs(own, folder)
    return folder, own


def check_belongs(tokenizer: Tokenizer, model_folder: Path) -> None:
    """Raise ModelError unless `tokenizer` is the one that the model in `model_folder` was trained with.

    A model that biolm wrote, or a folder with a tokenizer beside its weights, is compared by hash: another
    vocabulary of the same size passes every other test. Otherwise sizes and special ids must agree.
    """
    known = _known_hash(model_folder, tokenizer)
    if known is not None and known != tokenizer.vocabulary.hash:
        raise ModelError(
            f"the tokenizer {tokenizer.name} is not the one that {model_folder} was trained with "
            f"(hash {tokenizer.vocabulary.hash[:12]}, expected {known[:12]}); use the model's own"
        )
    config = read_config(model_folder)
    rows = config.get("vocab_size")
    if isinstance(rows, int) and tokenizer.vocabulary.size > rows:
        raise ModelError(
            f"the tokenizer {tokenizer.name} has {tokenizer.vocabulary.size} tokens, the model {model_folder} "
            f"has {rows} embeddings; use the model's own tokenizer"
        )
    padding = config.get("pad_token_id")
    if isinstance(padding, int) and padding != tokenizer.stock.pad_token_id:
        raise ModelError(
            f"the tokenizer {tokenizer.name} pads with {tokenizer.stock.pad_token_id}, the model {model_folder} "
            f"with {padding}; use the model's own tokenizer"
        )


def tokenizer_hash(stock: Any) -> str:
    """SHA-256 over what decides how text becomes ids: the vocabulary, merges, normalization, pre-tokenization
    and special ids; not over truncation, padding, names or the file's layout."""
    state = json.loads(stock.backend_tokenizer.to_str())
    added = {token["content"]: token["id"] for token in state.get("added_tokens") or []}
    model = {key: value for key, value in state["model"].items() if key != "dropout"}
    special = {
        role: getattr(stock, f"{role}_token_id")
        for role in ("cls", "sep", "pad", "mask", "unk", "bos", "eos")
    }
    return sha256_json(
        {
            "model": model,
            "normalizer": state.get("normalizer"),
            "pre_tokenizer": state.get("pre_tokenizer"),
            "added": added,
            "special": special,
        }
    )


def _known_hash(model_folder: Path, tokenizer: Tokenizer) -> str | None:
    try:
        manifest = json.loads((model_folder / MANIFEST).read_text(encoding="utf-8"))
        known = manifest.get("tokenizer_hash")
        if isinstance(known, str):
            return known
    except (OSError, ValueError, AttributeError):
        pass
    if tokenizer.name == str(model_folder):
        return None
    if any((model_folder / file).is_file() for file in TOKENIZER_FILES):
        return load_tokenizer(str(model_folder)).vocabulary.hash
    return None


def _vocabulary(stock: Any, name: str) -> Vocabulary:
    if stock.mask_token_id is None:
        raise ModelError(f"the tokenizer {name} has no mask token, so its model is no masked language model")
    probe = stock.backend_tokenizer.encode("a").ids
    inner = stock.backend_tokenizer.encode("a", add_special_tokens=False).ids
    starts = [i for i in range(len(probe)) if probe[i : i + len(inner)] == inner]
    if not inner or not starts:
        raise ModelError(f"the tokenizer {name} does not put its special tokens around the text")
    return Vocabulary(
        size=len(stock),
        prefix=tuple(probe[: starts[0]]),
        suffix=tuple(probe[starts[0] + len(inner) :]),
        mask_id=int(stock.mask_token_id),
        special_ids=tuple(sorted(int(i) for i in np.unique(stock.all_special_ids))),
        hash=tokenizer_hash(stock),
    )
