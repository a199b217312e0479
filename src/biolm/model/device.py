"""Which device computes, and in which precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from biolm.errors import ConfigError

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(wanted: str) -> torch.device:
    """The device of "auto" (CUDA where there is one), "cpu" or "cuda". Raises ConfigError for an absent one."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda, and torch sees no CUDA device here; give --device cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def resolve_precision(wanted: str, device: torch.device) -> str:
    """fp32, bf16 or fp16. "auto": bf16 on a GPU that computes in it natively, fp16 on another GPU, fp32 on a CPU."""
    if wanted != "auto":
        return wanted
    if device.type != "cuda":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def resolve_inference_precision(wanted: str, device: torch.device) -> str:
    """As `resolve_precision`, of a model that only answers: "auto" is bf16 also on a CPU that has matrix units for it.

    Those are Intel's AMX. Fine-tuning was faster in fp32 even there (DECISIONS.md).
    """
    if wanted == "auto" and device.type == "cpu" and torch.cpu.get_capabilities().get("amx_bf16"):
        return "bf16"
    return resolve_precision(wanted, device)


def resolve_row_tokens(wanted: int | None, device: torch.device) -> int:
    """Tokens to compute at once. None: as many as keep the device busy with a base-sized model (DECISIONS.md)."""
    return wanted or (16384 if device.type == "cuda" else 4096)


def product_dtype(device: torch.device, precision: str) -> torch.dtype:
    """What matrix products compute in under a precision."""
    return _HALF.get(resolve_precision(precision, device), torch.float32)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Matrix products in half precision where `precision` says so; weights stay in fp32."""
    half = _HALF.get(resolve_precision(precision, device))
    return nullcontext() if half is None else torch.autocast(device.type, dtype=half)
