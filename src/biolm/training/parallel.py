"""One forward pass on many ranks: a copy on each (DDP), or shards of weights, gradients and state (FSDP2)."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch.distributed.tensor import DTensor

from biolm.model.device import resolve_precision
from biolm.model.families import compute_again, family_of
from biolm.training.engine_config import EngineConfig
from biolm.training.ranks import Ranks


class MakeModule(Protocol):
    """What is trained, around a model: `(RowTensors, labels)` to (loss summed over the labels, hits)."""

    def __call__(self, model: Any, *, fused: bool) -> torch.nn.Module:
        """`fused`: whether it may compute in ways of its own that a plain CPU allows. It has the model as `model`."""


class Parallel:
    """The module to call, and what the way of dividing work asks for around it."""

    def __init__(self, model: Any, ranks: Ranks, config: EngineConfig, make_module: MakeModule) -> None:
        """`make_module`: of (model, fused): what maps a row and its labels to (loss sum, hits)."""
        self.model = model
        """The stock model, whose parameters are trained."""
        self.sharded = ranks.count > 1 and config.parallel == "fsdp"
        self._ddp: torch.nn.parallel.DistributedDataParallel | None = None
        if config.activation_checkpointing:
            compute_again(model)
        plain = (
            self.sharded
            or config.compile != "off"
            or resolve_precision(config.precision, ranks.device) != "fp32"
        )
        module: Any = make_module(model, fused=ranks.device.type == "cpu" and not plain).to(ranks.device)
        self._plain = module
        if self.sharded:
            _shard(module, ranks)
        if config.compile != "off":
            module = torch.compile(module, mode=config.compile)
        if ranks.count > 1 and not self.sharded:
            self._ddp = module = torch.nn.parallel.DistributedDataParallel(
                module, gradient_as_bucket_view=True, forward_sync_buffers=False
            )
        self.parameters = dict(model.named_parameters())
        """By name, a tied one once; with FSDP2 the shards, which the modules show only between steps."""
        self.forward = module
        """(RowTensors, labels) to (loss sum, hits); gradients follow."""
        self.evaluate = self._plain
        """The same where no gradients are wanted: DDP has nothing to say there, and rows have shapes of their own."""

    def accumulating(self, *, last: bool) -> AbstractContextManager[Any]:
        """Around a micro-step: gradients are added up between ranks in the last one of a step only."""
        if self._ddp is not None and not last:
            return self._ddp.no_sync()
        if self.sharded:
            self._plain.set_requires_gradient_sync(last)
        return nullcontext()

    def gradients(self) -> list[torch.Tensor]:
        """The gradients that there are."""
        return [weight.grad for weight in self.parameters.values() if weight.grad is not None]

    def evaluated(self) -> None:
        """To be called after a pass without gradients, which leaves FSDP2's weights gathered."""
        if self.sharded:
            self._plain.reshard()


def whole_tensors(named: Mapping[str, torch.Tensor], *, keep: bool) -> dict[str, torch.Tensor]:
    """Named tensors on the CPU, whole. Every rank must ask; those that do not `keep` get nothing.

    One tensor at a time is gathered, so a rank that keeps nothing needs room for one.
    """
    found = {}
    for name, tensor in named.items():
        detached = tensor.detach()
        whole = detached.full_tensor() if isinstance(detached, DTensor) else detached
        if keep:
            found[name] = whole.cpu().contiguous()
    return found


def _shard(module: Any, ranks: Ranks) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(ranks.device.type, (ranks.count,))
    for layer in family_of(module.model.config).layers(module.model):
        fully_shard(layer, mesh=mesh)
    fully_shard(module, mesh=mesh)
