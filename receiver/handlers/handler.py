"""One function of the merchant's, checked when it is registered and not when the first payment arrives."""

import functools
import inspect
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, TypeAlias

from receiver.errors import HandlerError
from receiver.events import Event
from receiver.handlers.options import Options

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

    from receiver.storage.raw import RawTransaction

AsyncFunction: TypeAlias = "Callable[[Event, AsyncSession], Awaitable[object]]"
SyncFunction: TypeAlias = "Callable[[Event, Session], object]"
RawFunction: TypeAlias = "Callable[[Event, RawTransaction], Awaitable[object]]"
AsyncListFunction: TypeAlias = "Callable[[list[Event], AsyncSession], Awaitable[object]]"
SyncListFunction: TypeAlias = "Callable[[list[Event], Session], object]"
RawListFunction: TypeAlias = "Callable[[list[Event], RawTransaction], Awaitable[object]]"
Function: TypeAlias = (
    "AsyncFunction | SyncFunction | RawFunction | AsyncListFunction | SyncListFunction | RawListFunction"
)

# The name stands in rows and, as a literal, in the dispatcher's own statements.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,99}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """What a handler wants."""

    source: str
    """Name of a source, or of a provider."""
    patterns: tuple[str, ...] = ()
    """Event types as in `fnmatch`, such as `charge.*`; none: every type, and events without one."""

    def wants(self, source: str, provider: str, kind: str | None) -> bool:
        """Whether an event of this type from this source is for us."""
        if self.source not in (source, provider):
            return False
        if not self.patterns or "*" in self.patterns:
            return True
        return kind is not None and any(fnmatchcase(kind, pattern) for pattern in self.patterns)


@dataclass(frozen=True, kw_only=True, slots=True)
class Handler:
    """The merchant's function for some events."""

    name: str
    """Stable and unique: it is written in the dispatch rows."""
    function: Function
    """Takes the event, or a list of events, and the session of its transaction."""
    is_async: bool
    """A coroutine function; else it runs in a thread, with a sync session."""
    routes: tuple[Route, ...]
    """It gets an event once, however many of these want it."""
    options: Options
    """How it is to be run."""

    @property
    def place(self) -> str:
        """Where the function is written, for error messages."""
        return place(self.function)

    def wants(self, source: str, provider: str, kind: str | None) -> bool:
        """Whether an event of this type from this source is for this handler."""
        return any(route.wants(source, provider, kind) for route in self.routes)


def place(function: object) -> str:
    """Where `function` is written: `payments.mark_paid (payments.py:12)`, as far as that can be known."""
    inner = inspect.unwrap(function) if callable(function) else function
    name = f"{getattr(inner, '__module__', '?')}.{getattr(inner, '__qualname__', repr(inner))}"
    code = getattr(inner, "__code__", None)
    return f"{name} ({code.co_filename}:{code.co_firstlineno})" if inspect.iscode(code) else name


def refuse_bare(given: object, instead: str) -> None:
    """Refuse a decorator without arguments: Python hands it the function as its source, and drops what it returns.

    Args:
        given: as the source.
        instead: what to write.

    Raises:
        HandlerError: it is the function.
    """
    if callable(given):
        raise HandlerError(f"{place(given)}: its decorator names no source; write {instead} above it")


def called(function: object) -> object:
    """What is called in the end, and so knows whether it is a coroutine function or a generator."""
    while isinstance(function, (functools.partial, staticmethod)):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    return function if inspect.isroutine(function) else type(function).__call__


def checked_name(function: object, name: str | None) -> str:
    """The handler's name: the one given, else the function's own, without its module, so that it may be moved.

    Raises:
        HandlerError: it has no name that could be written in a row.
    """
    found = name if name is not None else getattr(function, "__name__", "")
    if not isinstance(found, str) or not _NAME.fullmatch(found):
        raise HandlerError(
            f"handler {place(function)}: {found!r} is no name; say name=… with a letter or underscore first, then"
            " letters, digits, or any of _ . : - (100 characters at most)"
        )
    return found


def checked_kind(function: Function, name: str) -> bool:
    """Whether it is a coroutine function.

    Raises:
        HandlerError: it cannot be called with an event and a session, or is a generator.
    """
    label = f"handler {name!r}, {place(function)}"
    if not callable(function):
        raise HandlerError(f"{label}: is not callable")
    call = called(function)
    if inspect.isgeneratorfunction(call) or inspect.isasyncgenfunction(call):
        raise HandlerError(f"{label}: is a generator and would never run; take out the `yield`")
    try:
        inspect.signature(function).bind(object(), object())
    except ValueError:
        raise HandlerError(f"{label}: its arguments cannot be read; wrap it in a function of yours") from None
    except TypeError:
        raise HandlerError(f"{label}: must take exactly two arguments, (event, tx)") from None
    return inspect.iscoroutinefunction(call)
