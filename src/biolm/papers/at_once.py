"""Some work for each of many items, so many at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any


async def at_once(work: Callable[[Any], Awaitable[None]], items: Any, in_flight: int) -> None:
    """Do `work` for each item, `in_flight` at a time; the iterator is asked for one when a place is free.

    The first error ends the others and is raised.
    """
    iterator = iter(items)

    async def worker() -> None:
        for item in iterator:
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(worker())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
