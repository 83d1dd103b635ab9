"""Plain functions as handlers: they run in a thread, while what they ask of the database runs on the event loop.

SQLAlchemy's sync session over asyncpg asks its greenlet's parent to await things (`sqlalchemy.util.await_`). Here
the parent is the thread, which hands each awaitable to the coroutine that waits for the handler and blocks until it
has the result. So the loop is never blocked, and the handler's statements belong to the task that may be cancelled.
"""

import asyncio
import contextvars
import queue
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import ClassVar

from greenlet import getcurrent, greenlet

Call = Callable[[], object]


class Abandoned(BaseException):
    """Raised inside a handler that nobody waits for any more; not to be caught."""


class _Provider(greenlet):
    """What `await_` looks for."""

    __sqlalchemy_greenlet_provider__: ClassVar[bool] = True


class _Job:
    """One call: awaitables and the result go to the loop, answers come back."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.context = contextvars.copy_context()
        self.loop = asyncio.get_running_loop()
        self.asked: asyncio.Queue[Awaitable[object] | None] = asyncio.Queue()
        self.answers: queue.SimpleQueue[tuple[object, BaseException | None]] = queue.SimpleQueue()
        self.error: BaseException | None = None
        self.abandoned = False


class HandlerThread:
    """A thread for one handler at a time. A daemon: one that hangs must not keep the program from ending."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, call: Call) -> None:
        """Run `call` in the thread; raises what it raises.

        If this is cancelled the call is abandoned: its next statement raises, and the thread must not be used again.
        """
        job = _Job(call)
        self._jobs.put(job)
        try:
            while (awaitable := await job.asked.get()) is not None:
                try:
                    answer = await awaitable, None
                except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the handler
                    answer = None, error
                job.answers.put(answer)
        except BaseException:
            job.abandoned = True
            job.answers.put((None, Abandoned()))
            raise
        if job.error is not None:
            raise job.error

    def close(self) -> None:
        """Let the thread end after what it is doing."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                _drive(job)
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                job.error = error
            _tell(job, None)
            del job


def _drive(job: _Job) -> None:
    """Run the call in a greenlet; between its steps, get from the loop what it awaits."""
    provider = _Provider(job.call)
    provider.gr_context = job.context
    step = provider.switch()
    while not provider.dead:
        value, error = _await(job, step)
        step = provider.switch(value) if error is None else provider.throw(error)


def _await(job: _Job, awaitable: Awaitable[object]) -> tuple[object, BaseException | None]:
    if job.abandoned:
        ...
    _tell(job, awaitable)
    return job.answers.get()
