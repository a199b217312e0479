"""Optimizers, the learning-rate schedule, and where the optimizer's state goes in a checkpoint."""

import math
import re
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch.distributed.tensor import DTensor, distribute_tensor

from biolm.model.families import family_of
from biolm.training.engine_config import EngineConfig


def make_optimizer(
    model: Any, parameters: Mapping[str, torch.nn.Parameter], config: EngineConfig
) -> torch.optim.Optimizer:
    """AdamW (fused) or StableAdamW; weight decay on matrices only (biases and norms have one dimension).

    `parameters`: the model's, by name. Each group carries `lr_factor`, by which `set_rate` multiplies the rate.
    """
    groups: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in parameters.items():
        if parameter.requires_grad:
            own = config.rate_factor(name)
            factor = _layer_factor(name, model, config.layer_lr_decay) if own is None else own
            groups.setdefault((factor, parameter.dim() > 1 and own is None), []).append(parameter)
    described = [
        {"params": own, "weight_decay": config.weight_decay if matrices else 0.0, "lr_factor": factor}
        for (factor, matrices), own in groups.items()
    ]
    betas = (config.adam_beta1, config.adam_beta2)
    if config.optimizer == "stable-adamw":
        from optimi import StableAdamW

        whole = not any(isinstance(parameter, DTensor) for parameter in parameters.values())
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # of foreach, in favour of Triton: not for CPUs
            stable: torch.optim.Optimizer = StableAdamW(
                described,
                lr=config.lr_peak,
                betas=betas,
                eps=config.adam_epsilon,
                foreach=whole,
                triton=False,
            )
        return stable
    return torch.optim.AdamW(described, lr=config.lr_peak, betas=betas, eps=config.adam_epsilon, fused=True)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its share of the schedule's rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_factor"]


def learning_rate(step: int, total_steps: int, config: EngineConfig) -> float:
    """The rate of step `step` (from 0) of `total_steps`: from 0 to the peak, then to 0 as `schedule` says."""
    warmup = round(config.warmup_fraction * total_steps)
    if step < warmup:
        return config.lr_peak * (step + 1) / warmup
    left = (total_steps - step) / max(1, total_steps - warmup)
    if config.schedule == "cosine":
        return config.lr_peak * 0.5 * (1 - math.cos(math.pi * left))
    if config.schedule == "wsd":
        decay = max(1, round(config.decay_fraction * total_steps))
        left = min(1.0, (total_steps - step) / decay)
    return config.lr_peak * left


def optimizer_state(
    parameters: Mapping[str, torch.nn.Parameter], optimizer: torch.optim.Optimizer
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The optimizer's tensors by "parameter name/part" (and "group N/part"), and what is no tensor.

    Sharded tensors come as they are: the caller gathers them.
    """
    tensors: dict[str, torch.Tensor] = {}
    others: dict[str, Any] = {}
    for name, parameter in parameters.items():
        for part, value in optimizer.state.get(parameter, {}).items():
            _put(f"{name}/{part}", value, tensors, others)
    for number, group in enumerate(optimizer.param_groups):
        for part in ("step", "setup"):  # what StableAdamW keeps of a group
            if part in group:
                _put(f"group {number}/{part}", group[part], tensors, others)
    return tensors, others


def restore_optimizer(
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, torch.Tensor],
    others: Mapping[str, Any],
) -> None:
    """Put saved state back; the parameters' names decide what belongs where."""
    for key, value in [*tensors.items(), *others.items()]:
        owner, _, part = key.rpartition("/")
        if owner in parameters:
            parameter = parameters[owner]
            if isinstance(value, torch.Tensor):  # fused kernels want their counts on the device too
                value = (
                    like(value, parameter) if value.shape == parameter.shape else value.to(parameter.device)
                )
            optimizer.state[parameter][part] = value
        else:
            optimizer.param_groups[int(owner.removeprefix("group "))][part] = value


def like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """A whole tensor on a parameter's device and, where the parameter is sharded, divided as it is."""
    value = value.to(parameter.device)
    if isinstance(parameter, DTensor):
        return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)
    return value.clone()


def _put(key: str, value: Any, tensors: dict[str, torch.Tensor], others: dict[str, Any]) -> None:
    if isinstance(value, torch.Tensor):
        tensors[key] = value
    else:
        others[key] = value


def _layer_factor(name: str, model: Any, decay: float | None) -> float:
    """decay^(layers above): 1 for the head, most for the embeddings (Howard and Ruder 2018)."""
    if decay is None:
        return 1.0
    count = len(family_of(model.config).layers(model))
    found = re.search(r"\.layers?\.(\d+)\.", name)
    if found:
        return decay ** (count - int(found.group(1)))
    return decay ** (count + 1) if "embeddings" in name else 1.0
