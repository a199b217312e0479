"""Processes that train together: who am I, what do we add up, who goes first.

Started by torchrun (`RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR`, `MASTER_PORT` in the environment), or alone.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from biolm.corpus.engines import available_cores
from biolm.errors import ConfigError, RankError
from biolm.model.device import choose_device
from biolm.training.launch import stop_with_launcher

_PATIENCE = timedelta(days=7)
"""How long ranks wait for the first one to tokenize. One that dies ends them all, so nobody waits in vain."""


_left: list[Any] = []
"""Process groups that this process was in, kept from being taken apart. A DistributedDataParallel that outlives its
group (an exception's frames hold it) would do that, and wait for gloo's threads with Python's lock in its hand, for
which those may be waiting: the rank never ended, once in twenty Ctrl-C."""

_LET_GO_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among those that train together."""

    device: torch.device
    rank: int = 0
    count: int = 1
    local: int = 0
    """Number among the processes of this machine."""
    on_machine: int = 1
    """How many of the ranks run on this machine."""
    store: Any = None
    """torch's key-value store between the ranks; None where there is one rank."""

    @property
    def first(self) -> bool:
        """Whether this one writes and speaks for all."""
        return self.rank == 0

    def add_up(self, values: list[float]) -> list[float]:
        """The sums of numbers over all ranks, in float64; every rank must ask."""
        if self.count == 1:
            return values
        together = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(together)
        found: list[float] = together.tolist()
        return found

    def share_cores(self, threads: int | None) -> None:
        """Give torch so many threads; None: its own choice, or beside others a share of the cores."""
        if threads:
            torch.set_num_threads(threads)
        elif self.count > 1 and self.device.type == "cpu":
            torch.set_num_threads(max(1, available_cores() // self.on_machine))

    def wait_for_all(self) -> None:
        """Return when every rank has come here."""
        self.add_up([0.0])

    @contextmanager
    def in_turn(self, name: str) -> Iterator[None]:
        """Around work whose result the others find: rank 0 goes first, then the first of each machine."""
        if self.count == 1:
            yield
            return
        turns = [self.rank == 0, self.rank != 0 and self.local == 0, self.rank != 0 and self.local != 0]
        mine = turns.index(True)
        if mine >= 1:
            self.store.wait([f"{name}/0"], _PATIENCE)
        if mine == 2:
            self.store.wait([f"{name}/{self.rank - self.local}"], _PATIENCE)
        yield
        self.store.set(f"{name}/{self.rank}", "done")


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """Join the process group that torchrun describes; alone where there is none.

    `device`: as in the settings. NCCL between GPUs, gloo between CPUs. Raises ConfigError for an environment that
    does not add up.
    """
    chosen = choose_device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks(chosen)
        return
    stop_with_launcher()
    lacking = [
        name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ
    ]
    if lacking:
        raise ConfigError(f"WORLD_SIZE is set and {lacking[0]} is not; start several ranks with torchrun")
    local = int(os.environ["LOCAL_RANK"])
    if chosen.type == "cuda":
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"rank {local} of this machine has no GPU: torch sees {torch.cuda.device_count()}; start fewer"
            )
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    store, rank, count = next(rendezvous("env://"))
    store.set_timeout(timedelta(minutes=30))
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=PrefixStore("biolm", store), rank=rank, world_size=count)
    try:
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        yield Ranks(chosen, rank, count, local, here, PrefixStore("turns", store))
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise RankError("lost the other ranks: one of them has ended, and its message says why") from None
    finally:
        _left.append(dist.group.WORLD)
        dist.destroy_process_group()
        # Gloo's threads want Python's lock to let go of the last tensors. One that asks for it while the interpreter
        # ends is ended by it, and the process with it ("terminate called without an active exception", seen once).
        time.sleep(_LET_GO_SECONDS)
