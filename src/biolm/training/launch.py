"""Start one process for each device of this machine: what `torchrun --standalone --nproc-per-node N` does."""

import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence

from biolm.errors import RankError, Stopped

GRACE_SECONDS = 300
"""How long ranks that were asked to stop have to finish their step and save."""


_LAUNCHER = "BIOLM_LAUNCHER"
"""Tells ranks the process number of their launcher."""


def launch(arguments: Sequence[str], devices: int) -> int:
    """Run `biolm ARGUMENTS` on `devices` ranks; returns 0, 2 after a line about wrong input, 75 after being stopped.

    Raises RankError where a rank was killed or ended with a traceback (the others are ended too), KeyboardInterrupt
    at a second signal.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    for name in logging.root.manager.loggerDict:
        if name.startswith("torch.distributed.elastic"):  # it tells in 40 lines what we tell in one
            logging.getLogger(name).setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        run_id=f"biolm-{os.getpid()}-{time.time_ns()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        shutdown_timeout=GRACE_SECONDS,
    )
    os.environ[_LAUNCHER] = str(os.getpid())
    try:
        elastic_launch(config, sys.executable)("-m", "biolm", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode in (2, Stopped.exit_code):
            return int(failure.exitcode)  # it has said why
        how = f"exit code {failure.exitcode}"
        if failure.exitcode < 0:
            how = f"signal {-failure.exitcode} ({signal.Signals(-failure.exitcode).name})"
        raise RankError(
            f"rank {rank} ended with {how}, and the others were ended with it; "
            "the same command with --resume goes on from the last checkpoint"
        ) from None
    except SignalException as error:
        if isinstance(error.__context__, SignalException):
            raise KeyboardInterrupt from None
        return Stopped.exit_code  # rank 0 has said where
    return 0


def stop_with_launcher() -> None:
    """In a rank, on Linux: let the kernel ask this process to stop when the one that launched it has ended, however.

    A launcher that was killed would leave ranks that nobody knows of, training on and holding the run's lock.
    """
    launcher = os.environ.get(_LAUNCHER)
    if launcher is None or sys.platform != "linux":
        return
    pr_set_pdeathsig = 1  # linux/prctl.h
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != int(launcher):  # it was gone before
        signal.raise_signal(signal.SIGTERM)
