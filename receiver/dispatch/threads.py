"""Plain functions as handlers: they run in a thread, while what they ask of the database runs on the event loop.

SQLAlchemy's sync session over asyncpg asks the parent of its greenlet to await things (`sqlalchemy.util.await_`).
Here that parent is the thread: it hands each awaitable to the coroutine that waits for the handler, and blocks until
it has the result. So the loop is never blocked, and the handler's statements belong to the task that may be cancelled.
"""

import asyncio
import contextvars
import queue
import threading
from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeAlias

from greenlet import greenlet

Call: TypeAlias = Callable[[], object]
Answer: TypeAlias = tuple[object, BaseException | None]


class Abandoned(BaseException):
    """Raised inside a handler that nobody waits for any more; not to be caught."""


class _Provider(greenlet):
    """What `await_` looks for."""

    __sqlalchemy_greenlet_provider__: ClassVar[bool] = True


class _Job:
    """One call. The loop hears what it awaits, then None; the thread hears the answers."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.context = contextvars.copy_context()
        self.error: BaseException | None = None
        self.asked: asyncio.Queue[Awaitable[object] | None] = asyncio.Queue()
        self.answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._abandoned = False

    def tell(self, awaitable: Awaitable[object] | None) -> None:
        """Called in the thread: ask for an answer, or say that the call has returned."""
        self._loop.call_soon_threadsafe(self._hear, awaitable)

    def abandon(self) -> None:
        """Called on the loop: whatever the call asks next, or has asked, is answered with `Abandoned`."""
        self._abandoned = True
        self.answers.put((None, Abandoned()))

    def _hear(self, awaitable: Awaitable[object] | None) -> None:
        if not self._abandoned:
            self.asked.put_nowait(awaitable)
        elif asyncio.iscoroutine(awaitable):
            awaitable.close()


class HandlerThread:
    """A thread for one handler at a time. A daemon: one that hangs must not keep the program from ending."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        threading.Thread(target=_work, args=(self._jobs,), name=name, daemon=True).start()

    async def run(self, call: Call) -> None:
        """Run `call` in the thread; raises what it raises.

        If this is cancelled the call is abandoned: its next statement raises. The thread must not be used again.
        """
        job = _Job(call)
        self._jobs.put(job)
        try:
            while (awaitable := await job.asked.get()) is not None:
                job.answers.put(await _answer(awaitable))
        except BaseException:
            job.abandon()
            raise
        if job.error is not None:
            raise job.error

    def close(self) -> None:
        """Let the thread end after what it is doing."""
        self._jobs.put(None)


async def _answer(awaitable: Awaitable[object]) -> Answer:
    try:
        return await awaitable, None
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the handler
        return None, error


def _work(jobs: "queue.SimpleQueue[_Job | None]") -> None:
    while (job := jobs.get()) is not None:
        try:
            _drive(job)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            job.error = error
        try:
            job.tell(None)
        except RuntimeError:  # the loop is closed: the program ends
            return
        del job


def _drive(job: _Job) -> None:
    """Run the call in a greenlet; between its steps, get from the loop what it awaits."""
    provider = _Provider(job.call)
    provider.gr_context = job.context
    step = provider.switch()
    while not provider.dead:
        job.tell(step)
        value, error = job.answers.get()
        step = provider.switch(value) if error is None else provider.throw(error)
