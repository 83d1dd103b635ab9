"""The event loop of the long-running programs."""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

Result = TypeVar("Result")


def run_loop(program: Coroutine[object, object, Result]) -> Result:
    """Run a program on the fastest loop that there is."""
    try:
        import uvloop
    except ImportError:  # not made for this system
        return asyncio.run(program)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(program)
