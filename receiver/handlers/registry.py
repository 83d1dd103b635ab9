"""All handlers of a program: by name for the worker, by what they want for ingress."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Final, TypeVar

from receiver.errors import HandlerError
from receiver.events import INTERNAL
from receiver.handlers.handler import Function, Handler, Route, checked_kind, checked_name, place, refuse_bare
from receiver.handlers.lanes import Lane, OnDead
from receiver.handlers.options import DEFAULT_TIMEOUT, Options
from receiver.handlers.policy import RetryPolicy

HandlerFunction = TypeVar("HandlerFunction", bound=Function)

_MOST_CACHED: Final = 4_096


class Registry:
    """Handlers, in the order in which they were registered.

    Args:
        retry: the policy of handlers that have none of their own.
    """

    def __init__(self, *, retry: RetryPolicy | None = None) -> None:
        self._retry = RetryPolicy() if retry is None else retry
        self._handlers: dict[str, Handler] = {}
        self._wanting: dict[tuple[str, str, str | None], tuple[Handler, ...]] = {}

    def on(
        self,
        source: str,
        *types: str,
        name: str | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | None = None,
        lane: Lane | None = None,
        on_dead: OnDead = "pass",
        concurrency: int | None = None,
        raw: bool = False,
        batch: int = 1,
        as_list: bool = False,
    ) -> Callable[[HandlerFunction], HandlerFunction]:
        """Decorate `async def handler(event, tx)` or `def handler(event, tx)`.

        Stacked on one function it makes one handler that wants all that the decorators name; their other arguments
        must then agree.

        Args:
            source: name of a source, or of a provider: then of all its sources.
            types: event types, or patterns such as `charge.*`; none: every type, and events without one.
            name: stands in the dispatch rows, so it must not change while any are unfinished; by default the
                function's own name, without its module.
            retry: when failed runs come again.
            timeout: seconds that one run may take; None: 300, since a run that hangs would hold its dispatch for ever.
                `math.inf` asks for just that.
            lane: `entity`, or a function of the event that names the lane (None: no lane). In one lane one runs at a
                time, the oldest first; other lanes never wait.
            on_dead: in a lane: `block` keeps what is behind a dead dispatch waiting until it is replayed.
            concurrency: runs at once in one worker; None: as many as the worker has slots.
            raw: lend it a `RawTransaction`, which is quicker than a session, to a coroutine function.
            batch: most of its events that are completed in one transaction, 1 to 100. Row locks are held, and all of
                them are undone, together; so not for what calls to the outside.
            as_list: call `async def handler(events, tx)` once for a batch, with the list of its events, at least one.
                If it fails, each event is run alone: in a list of one.

        Raises:
            HandlerError: it could not work. The message names the handler.
        """
        refuse_bare(source, '@receiver.on("stripe", "charge.*")')

        def register(function: HandlerFunction) -> HandlerFunction:
            checked = checked_name(function, name)
            _check_wanted(checked, function, source, types)
            try:
                options = Options(
                    policy=self._retry if retry is None else retry,
                    timeout=DEFAULT_TIMEOUT if timeout is None else timeout,
                    lane=lane,
                    on_dead=on_dead,
                    concurrency=concurrency,
                    raw=raw,
                    batch=batch,
                    as_list=as_list,
                )
            except (ValueError, OverflowError) as error:
                raise HandlerError(f"handler {checked!r}, {place(function)}: {error}") from None
            self._add(_made(function, Route(source=source, patterns=types), checked, options))
            return function

        return register

    def wanting(self, source: str, provider: str, kind: str | None) -> tuple[Handler, ...]:
        """The handlers that want an event.

        Args:
            source: the account that it came to.
            provider: that account's provider.
            kind: the event's type; None where the provider sent none.
        """
        asked = (source, provider, kind)
        found = self._wanting.get(asked)
        if found is None:
            found = tuple(handler for handler in self if handler.wants(*asked))
            if len(self._wanting) >= _MOST_CACHED:  # types come from outside: the cache must not grow with them
                self._wanting.clear()
            self._wanting[asked] = found
        return found

    def get(self, name: str) -> Handler:
        """The handler called `name`.

        Raises:
            KeyError: there is none.
        """
        return self._handlers[name]

    def unreachable(self, known: Collection[str]) -> tuple[Handler, ...]:
        """Handlers that no event can reach.

        Args:
            known: names of the configured sources and of their providers.
        """
        known = {INTERNAL, *known}
        return tuple(handler for handler in self if not any(route.source in known for route in handler.routes))

    def names(self) -> tuple[str, ...]:
        """The names of all handlers."""
        return tuple(handler.name for handler in self)

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())

    def __len__(self) -> int:
        return len(self._handlers)

    def _add(self, handler: Handler) -> None:
        known = self._handlers.get(handler.name)
        self._handlers[handler.name] = handler if known is None else _stacked(known, handler)
        self._wanting.clear()


def _check_wanted(name: str, function: object, source: object, types: Collection[object]) -> None:
    for each in (source, *types):
        if not isinstance(each, str) or "\0" in each:
            raise HandlerError(
                f"handler {name!r}, {place(function)}: {each!r} is no source or event type; say"
                ' on("stripe", "charge.*", "refund.*"), each a string of its own'
            )


def _made(function: Function, route: Route, name: str, options: Options) -> Handler:
    if not route.source or not all(route.patterns):
        raise HandlerError(
            f"handler {name!r}, {place(function)}: an empty source or event type matches nothing; leave types out to"
            " get every one"
        )
    is_async = checked_kind(function, name)
    if options.raw and not is_async:
        raise HandlerError(f"handler {name!r}, {place(function)}: must be `async def` to be raw")
    return Handler(name=name, function=function, is_async=is_async, routes=(route,), options=options)


def _stacked(known: Handler, again: Handler) -> Handler:
    if known.function is not again.function:
        raise HandlerError(
            f"handler {known.name!r} is registered twice: {known.place} and {again.place}; give one another name=…"
        )
    if known.options != again.options:
        raise HandlerError(f"handler {known.name!r}, {known.place}: its decorators disagree on more than what it wants")
    return replace(known, routes=known.routes + again.routes)
