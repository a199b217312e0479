"""An exponential mean of the weights (Polyak averaging with forgetting; Morales-Brotons 2024)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from biolm.training.optimizer import like


class WeightAverage:
    """mean = decay x mean + (1 - decay) x weights, after each step that changed weights."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self._means = {name: weight.detach().clone() for name, weight in self._parameters.items()}

    def follow(self) -> None:
        """Take the weights of now into the mean."""
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self._means.values()), list(self._parameters.values()), 1.0 - self._decay
            )

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the mean as its weights. Costs a copy of the weights."""
        own = {name: weight.detach().clone() for name, weight in self._parameters.items()}
        self._copy(self._means)
        try:
            yield
        finally:
            self._copy(own)

    def tensors(self) -> Mapping[str, torch.Tensor]:
        """The mean by parameter name."""
        return self._means

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Whole tensors that `tensors` gave."""
        self._means = {name: like(tensors[name], weight) for name, weight in self._parameters.items()}

    def _copy(self, source: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, weight in self._parameters.items():
                weight.copy_(source[name])
