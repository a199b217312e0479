"""Steps that would do harm: numbers that are not finite, spikes of the gradient, fp16 overflows."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Reason = Literal["not_finite", "spike", "overflow"]
_REMEMBERED = 100
_ENOUGH = 20
"""Norms that must be known before one can be called a spike: a run's first ones fall fast."""


@dataclass(slots=True)
class LossScale:
    """The factor on an fp16 loss that keeps small gradients from vanishing; 1 and fixed in other precisions.

    Halved when a gradient overflows, doubled after 2,000 steps that did not (Micikevicius 2018, §3.2).
    """

    value: float = 1.0
    fixed: bool = True
    clean_steps: int = 0

    @classmethod
    def of(cls, precision: str) -> "LossScale":
        """The scale that a run begins with."""
        return cls(65536.0, fixed=False) if precision == "fp16" else cls()

    def overflowed(self) -> bool:
        """Halve the scale; False where it is as small as it may get, so that the scale is not to blame."""
        if self.fixed or self.value <= 1.0:
            return False
        self.value, self.clean_steps = self.value / 2, 0
        return True

    def was_clean(self) -> None:
        """A step without overflow."""
        self.clean_steps += 1
        if not self.fixed and self.clean_steps % 2000 == 0:
            self.value *= 2


@dataclass(slots=True)
class Guard:
    """Decides which steps are skipped. What it knows goes into checkpoints: a resumed run decides alike."""

    spike_factor: float | None
    scale: LossScale
    norms: list[float] = field(default_factory=list)
    """Gradient norms of the last steps that were done."""
    tokens: list[float] = field(default_factory=list)
    """How many tokens each of them predicted (of fewer steps after the checkpoint of an older biolm)."""
    in_a_row: int = 0
    """Skipped steps since the last one done, overflows not counted."""
    skipped: dict[str, int] = field(default_factory=dict)
    """How many steps were skipped, by reason."""

    def judge(self, loss: float, norm: float, tokens: float = 1.0) -> Reason | None:
        """Why the step must be skipped, or None where it may be done; counts both.

        `tokens`: those that the step predicts. An epoch's last step has fewer than others, and the norm of the noise in
        a gradient falls as the root of their number: so much more is allowed to it.
        """
        reason: Reason | None = None
        if not (math.isfinite(loss) and math.isfinite(norm)):
            reason = "overflow" if math.isfinite(loss) and self.scale.overflowed() else "not_finite"
        elif self.spike_factor is not None and len(self.norms) >= _ENOUGH:
            fewer = statistics.median(self.tokens or [tokens]) / max(1.0, tokens)
            largest = self.spike_factor * statistics.median(self.norms) * math.sqrt(max(1.0, fewer))
            reason = "spike" if norm > largest else None
        if reason is None:
            self.norms = [*self.norms[1 - _REMEMBERED :], norm]
            self.tokens = [*self.tokens[1 - _REMEMBERED :], tokens]
            self.in_a_row = 0
            self.scale.was_clean()
        else:
            self.skipped[reason] = self.skipped.get(reason, 0) + 1
            self.in_a_row += reason != "overflow"
        return reason

    def state(self) -> dict[str, Any]:
        """For a checkpoint's manifest."""
        return {
            "norms": self.norms,
            "tokens": self.tokens,
            "in_a_row": self.in_a_row,
            "skipped": self.skipped,
            "loss_scale": self.scale.value,
            "clean_steps": self.scale.clean_steps,
            "scaled": not self.scale.fixed,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """What `state` gave."""
        self.norms, self.tokens = list(state["norms"]), list(state.get("tokens", []))
        self.in_a_row = int(state["in_a_row"])
        self.skipped = dict(state["skipped"])
        if (
            state.get("scaled", state["loss_scale"] != 1.0) != self.scale.fixed
        ):  # another precision has none, or its own
            self.scale.value, self.scale.clean_steps = float(state["loss_scale"]), int(state["clean_steps"])
