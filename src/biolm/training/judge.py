"""What the loop asks of a kind of training: rows for its steps, and a judgement between them."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from biolm.batches.ahead import Ahead
from biolm.batches.packing import PackedRow

Measured = dict[str, float]


class StepData(Protocol):
    """What a training feeds its steps with."""

    total_steps: int
    truncated_tokens: int
    """Tokens of the training split that no window holds."""
    hits: str
    """The name of the share of predictions that were right: "recall_at_1", "accuracy"."""

    def ahead(self, first: int) -> Ahead:
        """The steps from `first` on, prepared in the background."""

    def flops(self, rows: Sequence[PackedRow]) -> float:
        """Floating-point operations of a step on these rows."""

    def facts(self, step: int) -> Mapping[str, float]:
        """What else metrics say of a step."""


class Judge(Protocol):
    """What a training is measured by between steps."""

    at_start: bool
    """Whether the model is measured before the first step too."""

    def measure(self) -> Measured:
        """Scalars; every rank must ask."""

    def criterion(self, measured: Measured) -> float | None:
        """By which the best checkpoint is found, the lower the better; None where there is nothing to compare."""

    @property
    def enough(self) -> bool:
        """Whether the training should end before its last step. The same on every rank."""

    def state(self) -> dict[str, Any]:
        """What it remembers of earlier measurements, for a checkpoint."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Remember that."""
