"""Work over shards: in this process, in several, or on several machines. The results never depend on which.

The same function is called for each item, in whatever order suits, and the results are given as they come.
What an item needs and gives must be picklable and small; bulk goes through files.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal

from biolm.corpus.work import IN_FLIGHT, Tick, Work
from biolm.errors import InputError

Engine = Literal["local", "ray"]


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(
    work: Work,
    items: Sequence[Any],
    order: Sequence[int],
    *,
    workers: int,
    tick: Tick,
    engine: Engine = "local",
) -> Iterator[tuple[int, Any]]:
    """Index and result of each item, as they come; begun in `order`.

    `workers`: processes of the local engine; with one, or one item, everything happens in this one. Ray uses
    what its cluster has. Raises what the work raises, and InputError where a process is killed.
    """
    if engine == "ray":
        from biolm.corpus.ray_engine import on_ray

        yield from on_ray(work, items, order)
    elif min(workers, len(items)) <= 1:
        for index in order:
            yield index, work(items[index], tick)
    else:
        yield from _in_processes(work, items, order, min(workers, len(items)), tick)


def _in_processes(
    work: Work, items: Sequence[Any], order: Sequence[int], workers: int, tick: Tick
) -> Iterator[tuple[int, Any]]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["biolm.corpus.stage"])
    counter = context.Value("q", 0)
    said = 0
    todo = iter(order)
    running: dict[Future[Any], int] = {}
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(counter,))
    try:
        while True:
            while len(running) < IN_FLIGHT * workers and (index := next(todo, None)) is not None:
                running[pool.submit(_do, work, items[index])] = index
            if not running:
                return
            done, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
            if (now := counter.value) != said:
                tick(now - said)
                said = now
            for future in done:
                yield running.pop(future), future.result()
    except BrokenProcessPool:
        raise InputError(
            "a worker was killed, maybe for want of memory; run the same command again, with fewer --workers: "
            "what is finished is kept"
        ) from None
    finally:
        # Waited for: a worker that is still starting would find what it starts from gone, and say so at length.
        pool.shutdown(wait=not isinstance(sys.exc_info()[1], KeyboardInterrupt), cancel_futures=True)


_counter: Any = None


def _begin(counter: Any) -> None:
    """In a worker: Ctrl-C ends it at once, and so does the end of whoever started it, however that came.

    Whatever it had not finished is made again.
    """
    global _counter
    _counter = counter
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(work: Work, item: Any) -> Any:
    return work(item, _count)


def _count(more: int) -> None:
    with _counter.get_lock():
        _counter.value += more
