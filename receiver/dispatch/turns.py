"""Which handlers may begin another run: those with `concurrency=` and `batch=`, whose leases alone do not say."""

from collections.abc import Callable

from receiver.handlers import Registry


class Turns:
    """Counts the slots that have something of such a handler in hand: each lease may be a run, or all of them one.

    Args:
        registry: all that this worker runs.
    """

    def __init__(self, registry: Registry) -> None:
        self._left = {
            handler.name: handler.options.concurrency
            for handler in registry
            if handler.options.batch > 1 and handler.options.concurrency is not None
        }
        self._hear: list[Callable[[], None]] = []

    def on_leaving(self, hear: Callable[[], None]) -> None:
        """Call `hear` when somebody who could not enter may."""
        self._hear.append(hear)

    def enter(self, name: str) -> bool:
        """Take a turn of the handler of that name; False if there is none left."""
        left = self._left.get(name)
        if left is None:
            return True
        if left > 0:
            self._left[name] = left - 1
        return left > 0

    def leave(self, name: str) -> None:
        """Give it back."""
        left = self._left.get(name)
        if left is not None:
            self._left[name] = left + 1
            for hear in self._hear:
                hear()
