"""How fast others trained masked language models on known machines, as operations of the mathematics per second.

Published are sequences or tokens a second of another model; `biolm.training.flops` turns them into operations, and
a run of ours, whose operations it counts likewise, into seconds. We have run none of these machines. A smaller
model and shorter windows than the published ones reach less of a GPU: times are more likely too short than too long.
"""

from dataclasses import dataclass

import numpy as np

from biolm.training.flops import Amount, Shape, training_flops

BERT_LARGE = Shape(width=1024, inner=4096, mlp_matrices=2, reaches=(None,) * 24, vocabulary=30522)
"""Devlin 2019, and huggingface.co/google-bert/bert-large-uncased for the vocabulary."""
MODERNBERT_BASE = Shape(
    width=768,
    inner=1152,
    mlp_matrices=3,
    reaches=tuple(None if layer % 3 == 0 else 64 for layer in range(22)),
    vocabulary=50368,
)
"""Warner 2024, and the yaml cited below."""
_READ = "2026-11-26"
_NVIDIA = (
    "https://github.com/NVIDIA/DeepLearningExamples/commits/master/PyTorch/LanguageModeling/BERT/README.md"
)
_MODERNBERT = "https://github.com/AnswerDotAI/ModernBERT/issues/236"


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """One published figure."""

    figure: str
    """As it was published."""
    flops_per_second: float
    """Of the whole machine."""
    conversion: str
    """How the one became the other."""
    title: str
    address: str
    read: str
    """The day on which we read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine that we have not run."""

    name: str
    gpus: int
    half: Throughput | None
    """In fp16 or bf16."""
    fp32: Throughput | None
    missing: str
    """Why one of the two is None."""

    @property
    def key(self) -> str:
        """The name as one word, "8xH100"."""
        return self.name.replace(" ", "")


def _nvidia(sequences_per_second: float, table: str, precision: str) -> Throughput:
    """A figure of NVIDIA's README of July 2020: BERT-large on sequences padded to 512, head on every position.

    Not those of January 2022: by then sequences were binned by length (its changelog), so that its "512" are
    shorter. At 512 its fp32 figure on a V100, 19 sequences/s, would be 21 TFLOP/s, and the card has 15.7.
    """
    windows = np.array([512])
    each = training_flops(BERT_LARGE, Amount.of(windows, windows, BERT_LARGE), last_layer_at_masked=False)
    return Throughput(
        figure=f"BERT-large, phase 2: {sequences_per_second:g} sequences of 512 tokens/s, {precision}",
        flops_per_second=sequences_per_second * each,
        conversion=f"{each / 1e12:.2f} TFLOP a sequence: all 512 positions in all layers and the head, x 3",
        title=f"NVIDIA DeepLearningExamples, PyTorch BERT, README of July 2020 (pytorch:20.06), {table}",
        address=_NVIDIA,
        read=_READ,
    )


def _modernbert() -> Throughput:
    """ModernBERT-base's stable phase: 1,719 billion tokens (padding not counted) in 194 hours on 8 H100 SXM."""
    token = Amount(tokens=1, pairs=0, near_pairs=0, masked=0.3, masked_pairs=0)
    each = training_flops(MODERNBERT_BASE, token, last_layer_at_masked=False)
    return Throughput(
        figure="ModernBERT-base: 1.719e12 tokens in 194 hours, bf16, packed, head on the 30 % masked",
        flops_per_second=1.719e12 / (194 * 3600) * each,
        conversion=(
            f"{each / 1e6:.0f} MFLOP a token: layers and head, x 3; products of attention left out, since the lengths "
            "of its documents are not published (an eighth more at most)"
        ),
        title=(
            "Warner 2024 (arXiv 2412.13663), p. 16, as quoted in AnswerDotAI/ModernBERT issue 236, whose author "
            "reached 15 to 20 % of it; tokens and settings: yamls/modernbert/modernbert-base-pretrain.yaml"
        ),
        address=_MODERNBERT,
        read=_READ,
    )


def machines() -> tuple[Machine, ...]:
    """The machines for which a run's time is predicted."""
    return (
        Machine(
            name="4 x V100",
            gpus=4,
            half=_nvidia(131, "DGX-1 with V100 16G, 4 GPUs", "mixed precision (fp16)"),
            fp32=_nvidia(35, "DGX-1 with V100 16G, 4 GPUs", "fp32"),
            missing="",
        ),
        Machine(
            name="1 x A100",
            gpus=1,
            half=_nvidia(78, "DGX A100 40GB, 1 GPU", "mixed precision (fp16)"),
            fp32=None,
            missing="no published figure found for fp32: NVIDIA's is of TF32, which biolm does not turn on",
        ),
        Machine(
            name="8 x H100",
            gpus=8,
            half=_modernbert(),
            fp32=None,
            missing="no published figure found for fp32",
        ),
    )
