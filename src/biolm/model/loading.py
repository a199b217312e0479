"""Stock models in, ready for packed rows; a language-model head for a base that has none."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from biolm.errors import ModelError, first_line
from biolm.hub import read_config
from biolm.model.attention import PACKED
from biolm.model.dropout import fast_dropout
from biolm.model.families import FAMILIES, Family, family_of, shorten_last_layer
from biolm.model.fused_layer import fuse_layers

STOCK_ATTENTION = (None, "eager", "sdpa", "flex_attention", "flash_attention_2", PACKED)
"""What a configuration may name; anything else could be a kernel to be fetched."""


def load_model(
    folder: Path,
    *,
    unigram_counts: NDArray[np.int64] | None = None,
    hidden_dropout: float | None = None,
    attention_dropout: float | None = None,
) -> Any:
    """The masked language model in a folder, in fp32, its attention set to packed rows.

    Only safetensors are read and no code of the folder runs. Where the base has no language-model head it
    gets one (see `start_head`), for which `unigram_counts` (vocabulary,) must be given. Dropout rates
    replace the layers' where given; the configuration, which goes out with the model, keeps the base's.
    Raises ModelError.
    """
    from transformers import AutoModelForMaskedLM

    family = check_folder(folder)
    model, missing = read_stock(folder, AutoModelForMaskedLM)
    of_head = {key for key in missing if key.startswith(("cls.", *family.head))}
    if missing - of_head:
        raise incomplete(folder, missing - of_head)
    if of_head:
        if has_head(folder):
            raise ModelError(
                f"the language-model head in {folder} is incomplete: {sorted(of_head)[0]} is missing"
            )
        if unigram_counts is None:
            raise ModelError(
                f"{folder} has no language-model head, so it predicts nothing yet; train it with `biolm pretrain`"
            )
        if not _tied(model) or family.bias(model) is None:
            raise ModelError(
                f"{folder} has no language-model head, and its config.json wants one without bias or not tied to the "
                "embeddings; biolm starts others alone (set tie_word_embeddings and decoder_bias to true)"
            )
        start_head(model, unigram_counts)
    if not _tied(model) and family.bias(model) is not model.get_output_embeddings().bias:
        family.bias(model).requires_grad_(False)  # nothing reads it, and DDP would wait for its gradient
    ready(model, hidden_dropout, attention_dropout)
    return model


def check_folder(folder: Path) -> Family:
    """The family of the model in a folder. Raises ModelError where biolm would not load it, before anything is read."""
    config = read_config(folder)
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        known = f"{', '.join(FAMILIES)}"
        raise ModelError(f"{folder} is a {config.get('model_type')} model; biolm trains {known} models")
    if not list(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} holds no *.safetensors weights; biolm never reads pickled ones: convert it"
        )
    if (folder / "adapter_config.json").exists():
        raise ModelError(f"{folder} holds an adapter, not a whole model; merge it into its base first")
    if config.get("is_decoder"):
        raise ModelError(
            f"{folder} is a decoder (is_decoder in its config.json), whose tokens see those before them alone; "
            "biolm trains encoders"
        )
    for key in ("attn_implementation", "_attn_implementation"):
        if config.get(key) not in STOCK_ATTENTION:
            raise ModelError(
                f"config.json in {folder} names the attention {config[key]!r}, for which transformers may fetch "
                f"code; remove that line: biolm brings its own"
            )
    return family


def read_stock(folder: Path, kind: Any, **settings: Any) -> tuple[Any, set[str]]:
    """A model of the transformers class `kind` from a checked folder, and the names of weights that it lacks, or has
    in another shape than the configuration says.

    `settings` go into its configuration. Raises ModelError.
    """
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model, report = kind.from_pretrained(
                folder,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                dtype=torch.float32,
                attn_implementation=PACKED,
                output_loading_info=True,
                **settings,
            )
    except Exception as error:  # whatever a stranger's files make the reader raise
        raise ModelError(f"the model in {folder} cannot be loaded: {first_line(error)}") from None
    finally:
        transformers_logging.set_verbosity(verbosity)
    others = {key if isinstance(key, str) else str(key[0]) for key in report.get("mismatched_keys") or ()}
    return model, {*report["missing_keys"], *others}


def incomplete(folder: Path, lacking: Iterable[str]) -> ModelError:
    """The error for a folder whose weights lack these."""
    names = sorted(lacking)
    return ModelError(f"the weights in {folder} are incomplete: {names[0]} and {len(names) - 1} more")


def ready(model: Any, hidden_dropout: float | None, attention_dropout: float | None) -> None:
    """Give a model's layers their dropout rates, where given, and biolm's ways of computing them."""
    family_of(model.config).set_dropout(model, hidden_dropout, attention_dropout)
    fast_dropout(model)
    shorten_last_layer(model)
    fuse_layers(model)


def _tied(model: Any) -> bool:
    tied: bool = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    return tied


def has_head(folder: Path) -> bool:
    """Whether the folder's weights hold a language-model head."""
    from safetensors import safe_open

    head = FAMILIES[read_config(folder)["model_type"]].head
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="numpy") as weights:
            if any(key.startswith(head) for key in weights.keys()):  # noqa: SIM118  not a dict
                return True
    return False


def start_head(model: Any, unigram_counts: NDArray[np.int64]) -> None:
    """Start a new language-model head: the decoder tied to the embeddings, the bias at the unigrams'
    log-frequencies (add-one), the transform at the identity.

    So step 0 predicts the corpus's unigrams, and what it has to learn is the difference.
    """
    with torch.no_grad():
        counts = torch.zeros(model.config.vocab_size, dtype=torch.float64)
        counts[: len(unigram_counts)] = torch.from_numpy(unigram_counts.astype(np.float64))
        log_frequency = ((counts + 1) / (counts + 1).sum()).log().float()
        family = family_of(model.config)
        dense = family.transform(model)
        torch.nn.init.eye_(dense.weight)
        if dense.bias is not None:
            torch.nn.init.zeros_(dense.bias)
        family.bias(model).copy_(log_frequency)
    model.tie_weights()
