"""Fill-mask: the likeliest tokens at each mask of a sentence, as the stock pipeline gives them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from biolm.errors import InputError
from biolm.model.families import token_limit
from biolm.model.loading import load_model
from biolm.model.masked_lm import AskedRow, packed_logits
from biolm.tokens.tokenizer import Tokenizer, resolve_model

ANY_MASK = "<mask>"
"""Understood for every model, whatever its own mask token is called."""


@dataclass(frozen=True, slots=True)
class Fill:
    """One candidate for one mask."""

    score: float
    """Probability over the whole vocabulary."""
    token: int
    token_str: str
    sequence: str
    """The text with this token in place of this mask, as the tokenizer decodes it."""

    def as_json(self) -> dict[str, Any]:
        """With the stock pipeline's keys."""
        return asdict(self)


class FillMask:
    """A model from `load_model` with its tokenizer."""

    def __init__(self, model: Any, tokenizer: Tokenizer) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, model: str, tokenizer: str | None = None) -> Self:
        """`model`, `tokenizer`: folder or Hub name; the model's own tokenizer by default. Raises ModelError."""
        folder, own = resolve_model(model, tokenizer)
        return cls(load_model(folder), own)

    @torch.inference_mode()
    def __call__(self, text: str, top_k: int = 5) -> list[list[Fill]]:
        """For each mask in the text, in order, its `top_k` likeliest tokens.

        Several masks are filled independently of each other. Raises InputError for a text without a mask or
        longer than the model takes.
        """
        mask = self.tokenizer.stock.mask_token
        ids = np.array(self.tokenizer.encode_with_mask(text.replace(ANY_MASK, mask)), np.int64)
        positions = np.flatnonzero(ids == self.tokenizer.vocabulary.mask_id)
        shown = f'"{text if len(text) <= 60 else text[:57] + "..."}"'
        if not len(positions):
            raise InputError(f"{shown} has no mask; write {mask} where a word is to be filled in")
        limit = token_limit(self.model.config)
        if len(ids) > limit:
            raise InputError(f"{shown} is {len(ids)} tokens long, the model takes {limit}; shorten it")
        logits = packed_logits(self.model, AskedRow(ids, np.array([len(ids)]), positions))
        scores, tokens = logits.float().softmax(-1).topk(min(top_k, logits.shape[-1]))
        return [
            [
                Fill(
                    float(score),
                    int(token),
                    self._decode([token]),
                    self._sequence(ids, int(position), int(token)),
                )
                for score, token in zip(row_scores.tolist(), row_tokens.tolist(), strict=True)
            ]
            for position, row_scores, row_tokens in zip(positions, scores, tokens, strict=True)
        ]

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.stock.decode(ids)
        return text

    def _sequence(self, ids: NDArray[np.int64], position: int, token: int) -> str:
        filled = ids.copy()
        filled[position] = token
        several = int((ids == self.tokenizer.vocabulary.mask_id).sum()) > 1
        text: str = self.tokenizer.stock.decode(filled.tolist(), skip_special_tokens=not several)
        return text
