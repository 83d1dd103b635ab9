"""The first step of a run whose source has a confirmation: what the provider says of the event.

It is asked once for all handlers of the event, outside of any transaction: what it said is stored in a commit of its
own, and whoever comes later reads it there. The lease is kept alive meanwhile as that of any dispatch that waits in its
worker. While most of a source's questions fail, only probes are asked (`circuit`), so that a provider that is down
does not hold all slots of a worker.
"""

import asyncio
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol, TypeVar

import msgspec
import structlog

from receiver.dispatch.asking import Unconfirmed, again, outcome_of, paused, refused, settled, waits
from receiver.dispatch.bounded import bounded
from receiver.dispatch.circuit import Circuit, Told
from receiver.dispatch.content import Readers, to_event
from receiver.dispatch.pauses import RECONNECT
from receiver.dispatch.verdict import STOPPED, describe
from receiver.errors import EmitError, HandlerError, StoreUnavailable
from receiver.events import Event, parse_exactly
from receiver.handlers import Confirmation, Confirmed, Dead, Handler, NotConfirmed
from receiver.observability.failpoints import failpoint
from receiver.storage.confirmations import ConfirmationConnection, Settled, Standing
from receiver.storage.leases import Lease, StoredEvent
from receiver.storage.outcomes import Failure

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

CONFIRM: Final = ":confirm"
"""`event.handler` of a confirmation; no handler can be called so."""
_FIRST_LOOK: Final = 0.05
_LONGEST_LOOK: Final = 1.0
"""Seconds between looks at what another run is asking for: doubled from the first to this."""
_SLACK_SECONDS: Final = 5.0
"""Beyond a confirmation's timeout, for it to unwind and for what was heard to be stored."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The event is so."""

    data: object
    once: str | None


class Hearing(Told, Protocol):
    """Hears of confirmations; see `observability/metrics.py`."""

    def asked(self, source: str, outcome: str, seconds: float) -> None:
        """A source's confirmation has ended: `confirmed`, `not_confirmed`, `not_yet`, or `failed`."""


class Confirmer:
    """Confirms events before their handlers run.

    Args:
        confirmations: by source.
        connection: its own.
        readers: by source, how bodies become `event.data`.
        encode: JSON of what was said; raises EmitError.
        heard: hears of each confirmation.
        draw: random numbers from 0 to 1.
    """

    def __init__(
        self,
        confirmations: Mapping[str, Confirmation],
        connection: ConfirmationConnection,
        *,
        readers: Readers,
        encode: Callable[[object], bytes],
        heard: Hearing,
        draw: Callable[[], float],
    ) -> None:
        self._confirmations = confirmations
        self._connection = connection
        self._readers = readers
        self._encode = encode
        self._heard = heard
        self._draw = draw
        self.circuits: dict[str, Circuit] = {}
        """By name, which is not a handler's; of those sources that were asked for."""

    def asks(self, lease: Lease) -> bool:
        """Whether a run's event is to be confirmed first."""
        return lease.event is not None and lease.event.source in self._confirmations

    async def confirm(self, lease: Lease, stored: StoredEvent, handler: Handler) -> Answer:
        """What the provider says, or has said already.

        Cancelled, it lets others ask at once.

        Raises:
            Unconfirmed: the event is not so, or there is no answer yet.
        """
        token, pause = uuid.uuid4(), _FIRST_LOOK
        confirmation = self._confirmations[stored.source]
        seconds = confirmation.timeout + _SLACK_SECONDS
        while True:
            standing = await self._patiently(
                lambda: self._connection.look(lease.event_id, lease.handler, token, seconds)
            )
            if standing.ours:
                answer = await self._ask(_Question(confirmation, lease, stored, handler, standing), token)
            elif standing.outcome == "asking":
                await asyncio.sleep(pause)
                answer, pause = None, min(pause * 2, _LONGEST_LOOK)
            else:
                answer = self._known(standing)
            if answer is not None:
                return answer

    async def _ask(self, question: "_Question", token: uuid.UUID) -> Answer | None:
        """Ask; None: somebody else has asked meanwhile, and what they heard counts."""
        settle = partial(self._connection.settle, question.lease.event_id, token)
        error: Exception | None = None
        try:
            try:
                result = await self._said(question)
            except Exception as raised:  # noqa: BLE001 - whatever it is, it belongs to the confirmation
                error = raised
        except BaseException:
            with suppress(StoreUnavailable):
                await settle(Settled(outcome="waiting", wait_seconds=0, reason=STOPPED))
            raise
        failure = None if error is None else self._judged(error, question)
        if failure is not None:
            result = settled(failure, error)
        failpoint("worker_asked")
        if not await self._patiently(lambda: settle(result)):
            return None
        failpoint("worker_confirmed")
        if failure is not None:
            raise Unconfirmed(failure, error)
        return _answer(result.data, result.once)

    async def _said(self, question: "_Question") -> Settled:
        """Ask, unless the provider is known not to answer."""
        source, confirmation = question.stored.source, question.confirmation
        circuit = self._circuit(source)
        if not circuit.may_run():
            raise _Paused(circuit.seconds_to_probe())
        event = to_event(question.lease, self._readers)
        asked = replace(event, handler=CONFIRM, attempt=question.standing.asked)
        started = time.perf_counter()
        try:
            said = self._written(await bounded(_call(confirmation, asked), confirmation.timeout), source)
        except Exception as error:
            self._tell(source, error, started)
            raise
        self._tell(source, None, started)
        return said

    def _tell(self, source: str, error: Exception | None, started: float) -> None:
        outcome = outcome_of(error)
        self._circuit(source).ran(failed=outcome == "failed")
        self._heard.asked(source, outcome, time.perf_counter() - started)

    def _circuit(self, source: str) -> Circuit:
        name = f"confirm {source}"
        if name not in self.circuits:
            self.circuits[name] = Circuit(name, time.monotonic, self._heard)
        return self.circuits[name]

    def _written(self, confirmed: object, source: str) -> Settled:
        if not isinstance(confirmed, Confirmed):
            raise HandlerError(f"confirm {source!r}: returned {type(confirmed).__name__}, and must return Confirmed(…)")
        if confirmed.data is None:
            return Settled(outcome="confirmed", once=confirmed.once)
        try:
            data = self._encode(confirmed.data).decode()
        except EmitError as error:
            raise HandlerError(f"confirm {source!r}: data cannot be stored; {error}") from error
        return Settled(outcome="confirmed", once=confirmed.once, data=data)

    def _judged(self, error: Exception, question: "_Question") -> Failure:
        standing, policy = question.standing, question.confirmation.policy
        if isinstance(error, _Paused):
            return paused(standing, policy, error.seconds, self._draw())
        if isinstance(error, (NotConfirmed, Dead)):
            return refused(error.reason, describe(error))
        blocks = question.handler.options.on_dead == "block"
        return again(error, standing, policy, self._draw(), blocks=blocks)

    def _known(self, standing: Standing) -> Answer:
        if standing.outcome == "confirmed":
            return _answer(standing.data, standing.once)
        if standing.outcome == "refused":
            raise Unconfirmed(refused(standing.reason))
        raise Unconfirmed(waits(standing, self._draw()))

    async def _patiently(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask Postgres until it answers: nothing can be run without it anyway."""
        tries = 0
        while True:
            try:
                return await ask()
            except StoreUnavailable as error:
                tries += 1
                log.warning("store_unreachable", error=type(error.__cause__ or error).__name__)
                await asyncio.sleep(RECONNECT.delay(tries, self._draw()))


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked, for which run."""

    confirmation: Confirmation
    lease: Lease
    stored: StoredEvent
    handler: Handler
    standing: Standing


class _Paused(Exception):
    """The provider is known not to answer; `seconds` until the next probe."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def once_key(stored: StoredEvent, once: str) -> str:
    """What is done once: this, of what the event is about."""
    return json.dumps([stored.source, stored.entity_id or stored.external_id, once])


async def _call(confirmation: Confirmation, event: Event) -> object:
    return await confirmation.function(event)


def _answer(data: str | None, once: str | None) -> Answer:
    return Answer(data=None if data is None else parse_exactly(data.encode()), once=once)
