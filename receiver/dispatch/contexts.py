"""What each run has of its own: context variables that end with it, and a result that is no promise of work to come."""

import inspect
import types
from collections.abc import Coroutine, Generator
from contextvars import copy_context
from typing import Any, TypeVar

from receiver.errors import HandlerError

_T = TypeVar("_T")


@types.coroutine
def apart(work: Coroutine[Any, Any, _T]) -> Generator[Any, Any, _T]:
    """Await `work` in a copy of the task's context: a task of its own would cost a run a turn of the loop."""
    run, send = copy_context().run, work.send
    try:
        waits_for = run(send, None)
        while True:
            try:
                value = yield waits_for
            except BaseException as error:  # noqa: BLE001 - it is the work's, whatever it is
                waits_for = run(work.throw, error)
            else:
                waits_for = run(send, value)
    except StopIteration as ended:
        result: _T = ended.value
        return result


def refuse_promises(name: str, returned: object) -> None:
    """Raise HandlerError if a handler returned what somebody would still have to await or to iterate over."""
    if returned is None:
        return
    if inspect.isawaitable(returned) or inspect.isgenerator(returned) or inspect.isasyncgen(returned):
        if inspect.iscoroutine(returned) or inspect.isgenerator(returned):
            returned.close()
        kind = type(returned).__name__
        raise HandlerError(f"handler {name!r}: returned a {kind}, whose work was not done; what wraps it must await it")
