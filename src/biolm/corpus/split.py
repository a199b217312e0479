"""Which split a paper belongs to: decided by a hash of its identity, never by its place in a file."""

import math
import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from biolm.errors import ConfigError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """How much of the papers each split gets; the three are divided by their sum."""

    train: float = 98.0
    """Share of the papers to train on."""
    validation: float = 1.0
    """Share of the papers to watch training with."""
    test: float = 1.0
    """Share of the papers kept for the final measurement."""

    def __post_init__(self) -> None:
        for name in SPLITS:
            share = getattr(self, name)
            if not math.isfinite(share) or share < 0:
                raise ConfigError(f"the share of {name} is {share}; give a number from 0 on")
        if self.train + self.validation + self.test <= 0:
            raise ConfigError("the shares of train, validation and test are all 0; give for example 98/1/1")

    def __str__(self) -> str:
        return "/".join(f"{getattr(self, name):.15g}" for name in SPLITS)


def parse_shares(text: str) -> Shares:
    """Shares from "98/1/1" (train/validation/test). Raises ConfigError for anything else."""
    if not re.fullmatch(r"(\d+(\.\d+)?)(/\d+(\.\d+)?){2}", text):
        raise ConfigError(f"--split {text} is not train/validation/test; give three numbers such as 98/1/1")
    train, validation, test = map(float, text.split("/"))
    return Shares(train=train, validation=validation, test=test)


def split_of(document: str, shares: Shares, seed: int = 0) -> Split:
    """The split of a paper, the same in every corpus with these shares and this seed.

    `document` is the identity that `Documents` gives. Test takes the lowest hashes, validation the next:
    a larger test share keeps every paper that was in test.
    """
    salted = f"biolm split {seed}\0{document}".encode()
    digest = int.from_bytes(blake2b(salted, digest_size=8).digest(), "big")
    point = (digest >> 11) / (1 << 53)  # 53 bits: exact in a float, so always below 1.0
    total = shares.test + shares.validation + shares.train
    if point < shares.test / total:
        return "test"
    if point < (shares.test + shares.validation) / total:
        return "validation"
    return "train"
