"""AdamW, the learning-rate schedule, and where the optimizer's state goes in a checkpoint."""

from typing import Any

import torch

from biolm.training.config import PretrainConfig

STATE = ("exp_avg", "exp_avg_sq", "step")
"""What AdamW keeps for each parameter."""


def make_optimizer(model: torch.nn.Module, config: PretrainConfig) -> torch.optim.AdamW:
    """Fused AdamW; weight decay on matrices only (biases and layer norms have one dimension)."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=config.lr_peak,
        betas=(config.adam_beta1, config.adam_beta2),
        eps=config.adam_epsilon,
        fused=True,
    )


def learning_rate(step: int, total_steps: int, config: PretrainConfig) -> float:
    """The rate of step `step` (from 0) of `total_steps`: linear from 0 to the peak, then linear to 0."""
    warmup = round(config.warmup_fraction * total_steps)
    if step < warmup:
        return config.lr_peak * (step + 1) / warmup
    return config.lr_peak * (total_steps - step) / max(1, total_steps - warmup)


def optimizer_tensors(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state by "parameter name/part", to be saved."""
    tensors = {}
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter)
        if state:
            for part in STATE:
                tensors[f"{name}/{part}"] = state[part].detach().cpu().contiguous()
    return tensors


def restore_optimizer(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]
) -> None:
    """Put saved state back; the parameters' names decide what belongs where."""
    for name, parameter in model.named_parameters():
        if f"{name}/step" in tensors:
            state: dict[str, Any] = {}
            for part in STATE:
                state[part] = tensors[f"{name}/{part}"].to(parameter.device).clone()
            optimizer.state[parameter] = state
