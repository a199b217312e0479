"""Which tokens are hidden, and what the model sees in their place."""

import typing
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from biolm.batches.counters import Purpose, raw_draws, uniforms
from biolm.errors import ConfigError
from biolm.tokens.tokenizer import Vocabulary
from biolm.tokens.words import WordTable

MaskUnit = Literal["token", "word"]
RateChange = Literal["linear", "step"]


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskingConfig:
    """How tokens are chosen and replaced."""

    mask_rate: float = 0.15
    """Share of the tokens that the model must predict. 0.15: Devlin 2019, §3.1."""
    mask_rate_end: float | None = None
    """The share at the end of the run; None: it stays."""
    mask_rate_change: RateChange = "linear"
    """From one to the other: over the whole run, or at once where its last `decay_fraction` begins."""
    decay_fraction: float = 0.1
    """Share of the steps, at the end, that `step` gives the end's rate."""
    mask_unit: MaskUnit = "token"
    """What is chosen: tokens, or words with all their tokens."""
    mask_token_share: float = 0.8
    """Of those, the share shown as the mask token. Devlin 2019, appendix A.1."""
    random_token_share: float = 0.1
    """Of those, the share shown as a random token; the rest stays as it is."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not 0 < self.mask_rate < 1:
            raise ConfigError(f"mask_rate is {self.mask_rate}; give a share between 0 and 1")
        if self.mask_rate_end is not None and not 0 < self.mask_rate_end < 1:
            raise ConfigError(f"mask_rate_end is {self.mask_rate_end}; give a share between 0 and 1, or none")
        if not 0 < self.decay_fraction <= 1:
            raise ConfigError(f"decay_fraction is {self.decay_fraction}; give a number above 0 and up to 1")
        for name, choices in (("mask_unit", MaskUnit), ("mask_rate_change", RateChange)):
            if getattr(self, name) not in (known := typing.get_args(choices)):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; give one of {', '.join(known)}")
        if not (self.mask_token_share >= 0 and self.random_token_share >= 0):
            raise ConfigError("mask_token_share and random_token_share must be 0 or more")
        if self.mask_token_share + self.random_token_share > 1 + 1e-9:
            raise ConfigError("mask_token_share and random_token_share add up to more than 1")

    @property
    def largest_rate(self) -> float:
        """The highest rate of the run: what room for masked positions must be made for."""
        return self.mask_rate if self.mask_rate_end is None else max(self.mask_rate, self.mask_rate_end)

    def rate_at(self, step: int, total_steps: int) -> float:
        """The share at step `step` (from 0) of a run of `total_steps`; after its end, that of its last step."""
        if self.mask_rate_end is None:
            return self.mask_rate
        if self.mask_rate_change == "step":
            last = max(1, round(self.decay_fraction * total_steps))
            return self.mask_rate if step < total_steps - last else self.mask_rate_end
        way = min(1.0, step / max(1, total_steps - 1))
        return (1 - way) * self.mask_rate + way * self.mask_rate_end


EVALUATION_MASKING = MaskingConfig()
"""What every evaluation uses, whatever the training did: 15 % of the tokens, 80/10/10."""


class Masker:
    """Masks windows of one vocabulary. `words`: of the same tokenizer, where the unit is the word."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        config: MaskingConfig,
        *,
        purpose: Purpose,
        seed: int,
        words: WordTable | None = None,
    ) -> None:
        if config.mask_unit == "word" and words is None:
            raise ValueError("to mask words, give the tokenizer's word table")
        self.config = config
        self._words = words if config.mask_unit == "word" else None
        self._mask_id = vocabulary.mask_id
        self._purpose: Purpose = purpose
        self._seed = seed
        self._special = np.zeros(vocabulary.size, bool)
        self._special[list(vocabulary.special_ids)] = True
        self._ordinary = np.flatnonzero(~self._special)

    def mask(
        self, content: NDArray[np.int64], *, epoch: int, passage: int, window: int, rate: float | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The window as the model sees it (n,), and the positions (masked,) that it must predict.

        Each ordinary token is chosen by itself, or each word by the draw of its first token, which decides too
        what is shown in all its places; special tokens (the unknown token among them) never are. The same (seed,
        epoch, passage, window) gives the same masks, in any batch; a lower `rate` (the configured one unless
        given) hides a subset of them.
        """
        n = len(content)
        raw = raw_draws(
            3 * n, purpose=self._purpose, seed=self._seed, epoch=epoch, passage=passage, window=window
        )
        choose, act = uniforms(raw[: 2 * n]).reshape(2, n)
        if self._words is not None:
            starts = self._words.starts(content)
            of_word = np.flatnonzero(starts)[np.cumsum(starts) - 1]
            choose, act = choose[of_word], act[of_word]
        chosen = (choose < (self.config.mask_rate if rate is None else rate)) & ~self._special[content]
        shown = content.copy()
        shown[chosen & (act < self.config.mask_token_share)] = self._mask_id
        random = chosen & (act >= self.config.mask_token_share)
        random &= act < self.config.mask_token_share + self.config.random_token_share
        # Modulo bias over a vocabulary of 2^16 is below 2^-48.
        shown[random] = self._ordinary[raw[2 * n :][random] % np.uint64(len(self._ordinary))]
        return shown, np.flatnonzero(chosen)
