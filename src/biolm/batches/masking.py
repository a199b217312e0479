"""Which tokens are hidden, and what the model sees in their place."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from biolm.batches.counters import Purpose, raw_draws, uniforms
from biolm.errors import ConfigError
from biolm.tokens.tokenizer import Vocabulary


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskingConfig:
    """How tokens are chosen and replaced."""

    mask_rate: float = 0.15
    """Share of the tokens that the model must predict. 0.15: Devlin 2019, §3.1."""
    mask_token_share: float = 0.8
    """Of those, the share shown as the mask token. Devlin 2019, appendix A.1."""
    random_token_share: float = 0.1
    """Of those, the share shown as a random token; the rest stays as it is."""

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not 0 < self.mask_rate < 1:
            raise ConfigError(f"mask_rate is {self.mask_rate}; give a share between 0 and 1")
        if not (self.mask_token_share >= 0 and self.random_token_share >= 0):
            raise ConfigError("mask_token_share and random_token_share must be 0 or more")
        if self.mask_token_share + self.random_token_share > 1 + 1e-9:
            raise ConfigError("mask_token_share and random_token_share add up to more than 1")


EVALUATION_MASKING = MaskingConfig()
"""What every evaluation uses, whatever the training did: 15 %, 80/10/10."""


class Masker:
    """Masks windows of one vocabulary."""

    def __init__(self, vocabulary: Vocabulary, config: MaskingConfig, *, purpose: Purpose, seed: int) -> None:
        self._config = config
        self._mask_id = vocabulary.mask_id
        self._purpose: Purpose = purpose
        self._seed = seed
        self._special = np.zeros(vocabulary.size, bool)
        self._special[list(vocabulary.special_ids)] = True
        self._ordinary = np.flatnonzero(~self._special)

    def mask(
        self, content: NDArray[np.int64], *, epoch: int, passage: int, window: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The window as the model sees it (n,), and the positions (masked,) that it must predict.

        Each ordinary token is chosen by itself; special tokens (the unknown token among them) never are.
        The same (seed, epoch, passage, window) gives the same masks, in any batch.
        """
        n = len(content)
        raw = raw_draws(
            3 * n, purpose=self._purpose, seed=self._seed, epoch=epoch, passage=passage, window=window
        )
        choose, act = uniforms(raw[: 2 * n]).reshape(2, n)
        chosen = (choose < self._config.mask_rate) & ~self._special[content]
        shown = content.copy()
        shown[chosen & (act < self._config.mask_token_share)] = self._mask_id
        random = chosen & (act >= self._config.mask_token_share)
        random &= act < self._config.mask_token_share + self._config.random_token_share
        # Modulo bias over a vocabulary of 2^16 is below 2^-48.
        shown[random] = self._ordinary[raw[2 * n :][random] % np.uint64(len(self._ordinary))]
        return shown, np.flatnonzero(chosen)
