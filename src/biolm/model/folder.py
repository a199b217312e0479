"""The model folder that biolm leaves: a standard Hugging Face folder with a manifest beside the weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from biolm.artifacts import new_folder, read_manifest, write_manifest
from biolm.model.families import token_limit

KIND = "model"
VERSION = 1


def save_model(
    model: Any,
    tokenizer: Any,
    out: Path,
    *,
    tokenizer_hash: str,
    beside: Callable[[Path], None] | None = None,
    **facts: Any,
) -> None:
    """Write a stock model and a stock tokenizer to `out`, whole or not at all.

    The tokenizer's `model_max_length` becomes the model's limit (512 for roberta-base). The manifest gets
    the tokenizer's hash, by which another one is refused later, and `facts` for the model card. `beside` may write
    more files into the folder.
    """
    limit = token_limit(model.config)
    with new_folder(out, kind=KIND) as folder:
        model.save_pretrained(folder)
        tokenizer.model_max_length = limit
        tokenizer.save_pretrained(folder)
        if beside is not None:
            beside(folder)
        for file in folder.iterdir():
            file.chmod(0o644)  # safetensors leaves its file to its owner alone
        write_manifest(
            folder, kind=KIND, version=VERSION, tokenizer_hash=tokenizer_hash, max_tokens=limit, **facts
        )


def read_model_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a model that biolm trained. Raises ArtifactError for any other folder."""
    return read_manifest(folder, kind=KIND, version=VERSION, rebuild="biolm pretrain CORPUS --out RUN")
