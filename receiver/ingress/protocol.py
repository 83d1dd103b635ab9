"""The fast door: uvicorn's HTTP protocol, with callbacks taken out of it before ASGI begins.

No scope, no task, no events: the parser's callbacks collect headers and body, the intake verifies, and the flush that
committed the row writes the answer, in one piece. Measured against the ASGI door: see `docs/decisions`. Everything
that is not a plain `POST /callbacks/{known source}`, with or without a token behind it, and every pipelined request,
goes uvicorn's usual way.
"""

import asyncio
from typing import ClassVar, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from receiver.errors import BodyTimeout, BodyTooLarge, HeadTimeout, HeadTooLarge, ReceiverError
from receiver.ingress.answers import Answer, failure
from receiver.ingress.intake import PREFIX, Intake
from receiver.sources import Source

_PREFIX: Final = PREFIX.encode()
_LARGEST_HEAD: Final = 4 * 1024 * 1024
"""Bytes of a request's line and headers, beside what came with their first piece. Providers send a few hundred; a head
of 20,000 signatures must still be told that it is a forgery."""


class _Event:
    """Stands where uvicorn keeps an event that nobody of ours waits for."""

    def set(self) -> None:
        """Nothing."""


class CallbackCycle:
    """One callback on one connection, with the attributes that uvicorn looks at on its own cycles."""

    message_event: ClassVar[_Event] = _Event()

    __slots__ = (
        "_parts",
        "_protocol",
        "_size",
        "deadline",
        "disconnected",
        "keep_alive",
        "reading",
        "response_complete",
        "source",
        "token",
        "unparsed",
    )

    def __init__(self, protocol: "CallbackProtocol", source: Source, token: str | None, *, keep_alive: bool) -> None:
        self._protocol = protocol
        self._parts: list[bytes] = []
        self._size = 0
        self.source = source
        self.token = token
        self.keep_alive = keep_alive
        self.deadline: asyncio.TimerHandle | None = None
        self.disconnected = False
        self.response_complete = False
        self.reading = True
        self.unparsed: int | None = None
        """Bytes of the body that the parser will not hand out, because the client offered another protocol."""

    def feed(self, part: bytes) -> None:
        """Take a piece of the body."""
        self._size += len(part)
        if self._size > self._protocol.intake.body_limit:
            self.refuse(BodyTooLarge("the body is larger than the limit"))
        else:
            self._parts.append(part)

    def feed_unparsed(self, part: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Take a piece that the parser left alone. The parser is of no more use, so the connection ends here."""
        left = self.unparsed or 0
        self.feed(part[:left])
        self.unparsed = max(left - len(part), 0)
        if not self.unparsed and not self.response_complete:
            self.keep_alive = False
            self.complete(headers)

    def complete(self, headers: list[tuple[bytes, bytes]]) -> None:
        """The last byte is here."""
        self.reading = False
        if self.deadline is not None:
            self.deadline.cancel()
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._protocol.intake.take(self.source, headers, body, b"", self.answer, token=self.token)

    def refuse(self, error: ReceiverError) -> None:
        """Answer before the body is complete; the connection ends with it."""
        if not self.response_complete:
            self.answer(self._protocol.intake.refused(self.source, error))

    def answer(self, answer: Answer) -> None:
        """Write the answer, if there still is somebody to hear it."""
        self.response_complete = True
        self.reading = False
        if self.deadline is not None:
            self.deadline.cancel()
        if self.disconnected:
            return
        keep = self.keep_alive and not answer.close
        transport = self._protocol.transport
        transport.write(answer.wire if keep else answer.last_wire)
        self._protocol.on_response_complete()
        if not keep:
            transport.close()


class CallbackProtocol(HttpToolsProtocol):
    """HTTP as uvicorn speaks it, but for callbacks."""

    intake: ClassVar[Intake]
    body_deadline: ClassVar[float]
    _in_head = False
    _head_bytes = 0
    _head_deadline: asyncio.TimerHandle | None = None

    def on_message_begin(self) -> None:
        """A request begins. uvicorn's scope is made later, for those that need one."""
        self.url = b""
        self.headers = []
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; called for each, so what uvicorn does here with `Expect` is done once for all of them."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Decide by which door the request goes."""
        self._in_head = False
        named = dict(self.headers)
        expects = named.get(b"expect", b"").lower() == b"100-continue"
        path = None if expects else self._callback_path()
        source, token = None if path is None else self.intake.sources.get(path), None
        if source is None and path is not None:
            source, token = self._locked_source(path)
        if source is None:
            self._usual_way(expects=expects)
            return
        cycle = CallbackCycle(self, source, token, keep_alive=self.parser.should_keep_alive())
        self.cycle = cycle  # type: ignore[assignment]  # it has what uvicorn uses of its own
        if self.parser.should_upgrade():
            length = named.get(b"content-length", b"")
            cycle.unparsed = int(length) if length.isdigit() else 0
        problem = self.intake.framing_problem(named)
        if problem is not None:
            cycle.refuse(problem)

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        if not isinstance(self.cycle, CallbackCycle):
            super().on_body(body)
        elif not self.cycle.response_complete:
            self.cycle.feed(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not isinstance(self.cycle, CallbackCycle):
            super().on_message_complete()
        elif not self.cycle.response_complete and self.cycle.unparsed is None:
            self.cycle.complete(self.headers)

    def data_received(self, data: bytes) -> None:
        """Parse. A body that did not come with its head gets a deadline."""
        cycle = self.cycle
        if isinstance(cycle, CallbackCycle) and cycle.reading and cycle.unparsed:
            cycle.feed_unparsed(data, self.headers)
            return
        self._unset_keepalive_if_required()
        head_before = self._in_head
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as declined:
            self._decline(data[declined.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        if head_before or self._in_head:
            self._head_came_in_pieces(len(data) if head_before else 0)
        cycle = self.cycle
        if isinstance(cycle, CallbackCycle) and cycle.reading and cycle.deadline is None:
            cycle.deadline = self.loop.call_later(
                self.body_deadline, cycle.refuse, BodyTimeout("the body did not arrive in time")
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and what was to come on it."""
        self._end_of_head()
        super().connection_lost(exc)

    def _head_came_in_pieces(self, size: int) -> None:
        """Bound what is collected of a head that is not whole, in bytes and in time."""
        if not self._in_head or self.transport.is_closing():
            self._end_of_head()
            return
        self._head_bytes += size
        if self._head_bytes > _LARGEST_HEAD:
            self._refuse_head(HeadTooLarge.reason)
        elif self._head_deadline is None:
            self._head_deadline = self.loop.call_later(self.body_deadline, self._refuse_head, HeadTimeout.reason)

    def _end_of_head(self) -> None:
        self._head_bytes = 0
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _refuse_head(self, reason: str) -> None:
        """Answer, unless the answer to an earlier request is still owed on this connection, and end it."""
        self._end_of_head()
        previous: RequestResponseCycle | None = self.cycle
        if previous is None or previous.response_complete:
            self.transport.write(failure(reason, None).last_wire)
        self.transport.close()

    def _decline(self, rest: bytes) -> None:
        """Go on in HTTP/1.1 although another protocol was offered, as RFC 9110 section 7.8 allows.

        Java's HTTP client offers h2c with every request over plain HTTP, body included. The parser stops at the offer.
        """
        if isinstance(self.cycle, CallbackCycle) and self.cycle.unparsed is not None:
            self.cycle.feed_unparsed(rest, self.headers)

    def _callback_path(self) -> str | None:
        """What stands behind the prefix in the path of a plain callback, or None for all that is not one."""
        if not self.url.startswith(_PREFIX) or self.parser.get_method() != b"POST":
            return None
        previous: RequestResponseCycle | None = self.cycle
        if previous is not None and not previous.response_complete:
            return None  # pipelined: uvicorn keeps the order
        # A query or an escape in the path does not match a source's name, and so takes the other door.
        return self.url[len(_PREFIX) :].decode("latin-1")

    def _locked_source(self, path: str) -> tuple[Source | None, str | None]:
        """Source and token of a path that holds both."""
        plain = "%" not in path and "?" not in path  # else as above
        return (self.intake.locked(path) if plain else None) or (None, None)

    def _usual_way(self, *, expects: bool) -> None:
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()


def protocol_for(intake: Intake, *, body_deadline: float) -> type[asyncio.Protocol]:
    """The protocol class for a listener of ours: uvicorn makes one object of it per connection.

    Args:
        intake: gets the callbacks.
        body_deadline: seconds in which a body must have arrived.
    """
    return type("BoundCallbackProtocol", (CallbackProtocol,), {"intake": intake, "body_deadline": body_deadline})
