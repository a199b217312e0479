"""Which device computes, and in which precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from biolm.errors import ConfigError


def choose_device(wanted: str) -> torch.device:
    """The device of "auto" (CUDA where there is one), "cpu" or "cuda". Raises ConfigError for an absent one."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda, and torch sees no CUDA device here; give --device cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """bf16 where it is asked for or, under "auto", where a GPU computes in it natively; else fp32."""
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bf16" or (precision == "auto" and native):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
