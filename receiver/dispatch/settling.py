"""What is being recorded when the worker stops is recorded to its end."""

import asyncio
from types import TracebackType


class Settling:
    """A slot is recording what has become of a run or a batch: until it has, it is not cancelled, unless asked twice.

    Broken off in between, a dispatch would stay leased until its lease ends, and what is to be recorded be lost.
    """

    def __init__(self) -> None:
        self.told = False
        """The slot is to end, though its handler may have swallowed that."""
        self._on = False
        self._put_off: asyncio.Task[None] | None = None
        """To be cancelled after it."""

    def __enter__(self) -> None:
        """Begin to record."""
        self._on = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """It is recorded: what has been put off comes with the next wait."""
        self._on = False
        task, self._put_off = self._put_off, None
        if task is not None:
            task.cancel()

    def cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel the task that serves the slot."""
        if self._on and not self.told:
            self._put_off = task
        else:
            self._put_off = None
            task.cancel()
        self.told = True
