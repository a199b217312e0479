"""Counter-based randomness: every draw is a function of what it is for, never of what was drawn before.

The generator is Philox 4x64 (Salmon et al. 2011), whose raw stream numpy guarantees. Key: (seed, purpose and
epoch); counter: (window, passage). So masks and order survive a resume, another number of ranks, another
batch size.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Purpose = Literal["order", "train mask", "evaluation mask", "bootstrap", "hidden words"]
_PURPOSES: dict[Purpose, int] = {
    "order": 1,
    "train mask": 2,
    "evaluation mask": 3,
    "bootstrap": 4,
    "hidden words": 5,
}


def raw_draws(
    count: int, *, purpose: Purpose, seed: int, epoch: int = 0, passage: int = 0, window: int = 0
) -> NDArray[np.uint64]:
    """(count,) uniform 64-bit integers that belong to these counters alone."""
    key = np.array([seed, (epoch << 8) | _PURPOSES[purpose]], np.uint64)
    counter = np.array([0, 0, window, passage], np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)


def uniforms(raw: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Raw draws as numbers in [0, 1), 53 bits each."""
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
