"""One optimizer step on its own: passages and settings in, loss and gradients out; and the plain way to the same."""

import functools
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed import TCPStore
from transformers import AutoModelForMaskedLM
from transformers.models.modernbert import modeling_modernbert

from biolm.batches.examples import cut_examples
from biolm.batches.masking import Masker
from biolm.batches.packing import PackedRow
from biolm.batches.steps import TrainingSteps
from biolm.model.device import resolve_row_tokens
from biolm.model.families import family_of, token_limit
from biolm.model.loading import load_model
from biolm.tokens.tokenizer import load_tokenizer
from biolm.tokens.words import word_table
from biolm.training.config import PretrainConfig
from biolm.training.parallel import whole_tensors
from biolm.training.ranks import Ranks
from biolm.training.step import Trainer
from conftest import sentences, token_split

FAMILIES = ("roberta", "bert", "modernbert")
CPU = torch.device("cpu")
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference of a tensor, as a share of its norm."""
Gradients = dict[str, torch.Tensor]


@functools.cache
def tokenizer_of(folder: Path) -> Any:
    return load_tokenizer(str(folder))


def steps_of(folder: Path, texts: Sequence[str], config: PretrainConfig) -> TrainingSteps:
    """The steps that a run with these settings takes on these texts, as TrainingData makes them."""
    tokenizer = tokenizer_of(folder)
    limit = min(config.max_tokens, token_limit(load_model(folder).config))
    examples = cut_examples(token_split(tokenizer, list(texts)), tokenizer.vocabulary, max_tokens=limit)
    words = word_table(tokenizer) if config.mask_unit == "word" else None
    masker = Masker(tokenizer.vocabulary, config.masking, purpose="train mask", seed=config.seed, words=words)
    return TrainingSteps(
        examples,
        masker,
        seed=config.seed,
        examples_per_step=config.examples_per_step,
        tokens_per_step=config.tokens_per_step,
        max_row_tokens=resolve_row_tokens(config.max_row_tokens, CPU),
        row_shape=config.row_shape,
        epochs=config.epochs,
        max_steps=config.max_steps,
    )


def trainer_of(
    folder: Path,
    config: PretrainConfig,
    *,
    dtype: torch.dtype = torch.float32,
    ranks: Ranks | None = None,
    fused: bool = True,
) -> Trainer:
    """`fused`: with the passes written out by hand that a CPU gets, or with the stock layers, head and embedding."""
    model = load_model(
        folder, hidden_dropout=config.hidden_dropout, attention_dropout=config.attention_dropout
    ).to(dtype)
    trainer = Trainer(model, ranks or Ranks(CPU), config)
    if not fused:
        unfuse(trainer)
    return trainer


def unfuse(trainer: Trainer) -> None:
    """Have the stock layers, head and embedding compute."""
    vars(trainer.model.get_input_embeddings()).pop("forward", None)
    trainer.parallel.evaluate.head = None
    for layer in family_of(trainer.model.config).layers(trainer.model):
        layer.forward = vars(layer).get("unfused", layer.forward)


def gradients_of(trainer: Trainer) -> Gradients:
    """Whole, by name: what the last step left, after clipping."""
    parameters = trainer.parallel.parameters
    return whole_tensors(
        {name: weight.grad for name, weight in parameters.items() if weight.grad is not None}, keep=True
    )


def weights_of(trainer: Trainer) -> Gradients:
    return {
        name: tensor.clone() for name, tensor in whole_tensors(trainer.parallel.parameters, keep=True).items()
    }


def config_of(**changes: Any) -> PretrainConfig:
    """64 passages a step, nothing that changes gradients (clipping) or leaves a step out."""
    settings = {"clip_norm": None, "spike_factor": None, "examples_per_step": 64, "max_row_tokens": 100_000}
    return PretrainConfig(**{**settings, **changes})


def stock_step(folder: Path, rows: Sequence[PackedRow], dtype: torch.dtype) -> tuple[float, Gradients]:
    """Loss and gradients of a step as a reader of transformers' documentation computes them: each window alone
    through the stock model, cross-entropies summed, divided by the number of masked tokens of all windows."""
    model = AutoModelForMaskedLM.from_pretrained(folder).to(dtype).train()
    masked = sum(int((row.labels != -100).sum()) for row in rows)
    total = 0.0
    for row in rows:
        ends = np.cumsum(row.lengths)
        real = row.labels != -100
        positions, labels = row.masked_positions[real], row.labels[real]
        for first, last in zip(ends - row.lengths, ends, strict=True):
            inside = (positions >= first) & (positions < last)
            if not inside.any():
                continue
            ids = torch.from_numpy(row.input_ids[first:last])[None]
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
            wanted = torch.from_numpy(labels[inside])
            loss = torch.nn.functional.cross_entropy(
                logits[positions[inside] - first], wanted, reduction="sum"
            )
            (loss / masked).backward()
            total += float(loss.detach())
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return total / masked, found


def assert_alike(ours: Mapping[str, torch.Tensor], others: Mapping[str, torch.Tensor], share: float) -> None:
    """Every tensor within `share` of its norm of the other. A key's bias has a gradient of zero but for rounding (it
    adds a constant to all scores of a query), so there it is a share of the query bias's."""
    assert ours.keys() == others.keys()
    for name, tensor in ours.items():
        norm = others[name.replace(".key.bias", ".query.bias")].norm()
        assert (tensor - others[name]).norm() <= share * norm, name
        assert norm > 0, name


def rotate_in_full_precision(q, k, cos, sin, unsqueeze_dim=1):
    """Stock ModernBERT rounds to float32 here, whatever the model's precision."""
    cos, sin = cos.unsqueeze(unsqueeze_dim), sin.unsqueeze(unsqueeze_dim)
    turn = modeling_modernbert.rotate_half
    return q * cos + turn(q) * sin, k * cos + turn(k) * sin


def own_store() -> TCPStore:
    """Where ranks meet that are told its port, as they meet at torchrun's."""
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def start_ranks(command: list[str], count: int, folder: Path) -> list[str]:
    """Run a command as `count` ranks, as torchrun would. What each said."""
    store = own_store()
    common = {
        **os.environ,
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    processes, files = [], [folder / f"output of {rank}" for rank in range(count)]
    for rank, file in enumerate(files):
        with file.open("w") as stream:
            env = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            processes.append(subprocess.Popen(command, env=env, stdout=stream, stderr=subprocess.STDOUT))
    try:
        deadline = time.monotonic() + 120
        while any(process.poll() is None for process in processes):
            assert time.monotonic() < deadline, [file.read_text() for file in files]
            assert not any(process.poll() for process in processes), [file.read_text() for file in files]
            time.sleep(0.05)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    said = [file.read_text() for file in files]
    assert [process.returncode for process in processes] == [0] * count, said
    return said


def passages(count: int = 64, seed: int = 4) -> list[str]:
    return sentences(count, seed=seed, longest=40)
