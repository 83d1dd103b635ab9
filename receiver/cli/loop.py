"""The event loop of the long-running programs."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def run_loop(program: Coroutine[object, object, Result]) -> Result:
    """Run a program on the fastest loop that there is."""
    with asyncio.Runner(loop_factory=_fastest()) as runner:
        threads = ThreadPoolExecutor()
        runner.get_loop().set_default_executor(threads)
        try:
            return runner.run(program)
        finally:
            # Of what a handler has left behind in `asyncio.to_thread` nobody waits for the end; the runner would.
            threads.shutdown(wait=False, cancel_futures=True)
            runner.get_loop().set_default_executor(ThreadPoolExecutor())


def _fastest() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not made for this system
        return None
    return uvloop.new_event_loop
