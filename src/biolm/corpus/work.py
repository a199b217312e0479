"""What every engine does: one piece of work for each item, told of as it goes."""

from collections.abc import Callable
from typing import Any

Tick = Callable[[int], None]
"""Told now and then how much more was done, in whatever the work counts."""
Work = Callable[[Any, Tick], Any]
"""Does one item. Top-level or an instance of a picklable class, so that it can be sent away."""
IN_FLIGHT = 2
"""Items handed out for each worker at a time: enough that none waits, few enough that memory stays flat."""
