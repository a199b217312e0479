"""Work over shards on several machines: the same function, on a Ray cluster.

Needs the extra `cluster`. The workspace and the papers must be reachable from every node under the same
addresses: a shared file system, or an object store. What a lost node had begun is begun again elsewhere.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from biolm.corpus.work import IN_FLIGHT, Work
from biolm.errors import BiolmError, InputError

RETRIES = 5
"""How often an item is begun again when its node or process is lost."""


def on_ray(work: Work, items: Sequence[Any], order: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """Index and result of each item as they come, from the cluster that RAY_ADDRESS names, else one of this machine.

    A cluster that the caller has connected to is used, and left connected. Raises InputError where Ray is not
    installed, cannot be reached, or an item was lost RETRIES times.
    """
    try:
        import ray
    except ImportError:
        raise InputError("Ray is not installed; run `pip install 'biolm[cluster]'`") from None
    mine = not ray.is_initialized()
    if mine:
        try:
            ray.init(log_to_driver=False, include_dashboard=None if os.environ.get("RAY_ADDRESS") else False)
        except ConnectionError as error:
            raise InputError(
                f"no Ray cluster at {os.environ.get('RAY_ADDRESS')}: {error}; start it first"
            ) from None
    remote = ray.remote(max_retries=RETRIES, num_cpus=1)(_do)
    todo = iter(order)
    running: dict[Any, int] = {}
    try:
        function = ray.put(work)
        while True:
            cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
            while len(running) < IN_FLIGHT * cores and (index := next(todo, None)) is not None:
                running[remote.remote(function, items[index])] = index
            if not running:
                return
            done, _ = ray.wait(list(running), timeout=1.0)
            for reference in done:
                result = ray.get(reference)
                yield running.pop(reference), result
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, BiolmError):
            raise error.cause from None
        raise
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError) as error:
        raise InputError(
            f"a worker was lost {RETRIES} times ({type(error).__name__}); run the same command again: "
            "what is finished is kept"
        ) from None
    finally:
        for reference in running:
            ray.cancel(reference, force=True)
        if mine:
            ray.shutdown()


def _do(work: Work, item: Any) -> Any:
    return work(item, _ignore)


def _ignore(more: int) -> None:
    """Progress within an item stays on its node."""
