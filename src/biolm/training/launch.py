"""Start one process for each device of this machine: what `torchrun --standalone --nproc-per-node N` does."""

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence

from biolm.errors import RankError, Stopped

GRACE_SECONDS = 300
"""How long ranks that were asked to stop have to finish their step and save."""


def launch(arguments: Sequence[str], devices: int) -> int:
    """Run `biolm ARGUMENTS` on `devices` ranks; returns their exit code where all or the first to end agree on one.

    Raises Stopped where the ranks were asked to stop, and RankError where one was killed or ended with a
    traceback: the others are ended too.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").setLevel(
        logging.CRITICAL
    )  # it tells in 40 lines what we tell in one
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
        raise Stopped(f"stopped by {error.sigval.name}; the same command with --resume goes on") from None
    return 0
