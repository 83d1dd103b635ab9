"""The life of one callback between its last byte and its answer: verify, read, store, acknowledge.

Nothing touches Redis or Postgres before the signature is checked, and no success is answered before the row is
committed. There is no task and no future per callback: the flush that stored it calls back with the outcome.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from receiver.certificates import Keyring
from receiver.errors import BodyCompressed, BodyTooLarge, ReceiverError, VerificationError
from receiver.events import Callback, Verified
from receiver.handlers import Handler
from receiver.inbox import Inbox, Outcome
from receiver.ingress.answers import Answer, failure, success
from receiver.ingress.arrivals import to_arrival, to_odd
from receiver.observability.failpoints import failpoint
from receiver.observability.metrics import IngressMetrics
from receiver.sources import Source
from receiver.sources.fetched import KeyWanted
from receiver.storage.arrivals import Arrival

log = structlog.get_logger(__name__)

PREFIX: Final = "/callbacks/"
_SHARE_OF_PATIENCE: Final = 0.8  # the rest of the provider's deadline is the network's
_QUARANTINED: Final = "quarantined"

Wanting = Callable[[str, str, str | None], tuple[Handler, ...]]
Answered = Callable[[Answer], None]
Headers = list[tuple[bytes, bytes]]
Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True)
class _Terms:
    """On which a source's callbacks are taken."""

    success: Answer
    seconds: float
    """Until it is answered."""


class Intake:
    """Takes callbacks, whichever door they came in by.

    Args:
        inbox: stores.
        keyring: fetches keys that verification lacks.
        sources: by name.
        wanting: (source, provider, type) to the handlers that want it.
        metrics: counts.
        body_limit: bytes.
        answer_deadline: seconds; a provider that waits less shortens it for its sources.
        clock: Unix seconds, by which signed times are judged.
    """

    def __init__(
        self,
        *,
        inbox: Inbox,
        keyring: Keyring,
        sources: Mapping[str, Source],
        wanting: Wanting,
        metrics: IngressMetrics,
        body_limit: int,
        answer_deadline: float,
        clock: Clock = time.time,
    ) -> None:
        self.sources: Mapping[str, Source] = {}
        self.body_limit = body_limit
        self._clock = clock
        self._inbox = inbox
        self._keyring = keyring
        self._wanting = wanting
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._answer_deadline = answer_deadline
        self._terms: dict[Source, _Terms] = {}
        self.serve(sources)

    def serve(self, sources: Mapping[str, Source]) -> None:
        """Take callbacks of these sources from now on. What has come to those before them is finished under them.

        Args:
            sources: by name.
        """
        self._terms = {source: self._made_terms(source) for source in sources.values()}
        self.sources = sources

    def _terms_of(self, source: Source) -> _Terms:
        """Made anew for what came to a source that is no longer served."""
        return self._terms.get(source) or self._made_terms(source)

    def _made_terms(self, source: Source) -> _Terms:
        patience = source.provider.answer_deadline.total_seconds() * _SHARE_OF_PATIENCE
        return _Terms(success=success(source.provider.acknowledgement()), seconds=min(self._answer_deadline, patience))

    def locked(self, path: str) -> tuple[Source, str] | None:
        """The source and the token that a path names whose source wants one there.

        Args:
            path: what stands behind `PREFIX`.
        """
        name, slash, token = path.partition("/")
        source = self.sources.get(name) if slash else None
        if source is None or source.lock is None or source.lock.place != "url":
            return None
        return source, token

    def framing_problem(self, headers: Mapping[bytes, bytes]) -> ReceiverError | None:
        """What is wrong with a request before its body is read."""
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self.body_limit:
            return BodyTooLarge("the body is larger than the limit")
        if headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            return BodyCompressed("the body is compressed")
        return None

    def take(
        self,
        source: Source,
        headers: Headers,
        body: bytes,
        query: bytes,
        answered: Answered,
        *,
        token: str | None = None,
    ) -> None:
        """Take one callback. Never raises; `answered` is called exactly once, now or when the commit is certain.

        Args:
            source: the account that it was sent to.
            headers: names in lower case, in the order of arrival.
            body: whole and raw.
            query: raw, without the question mark.
            answered: gets what the provider is to hear.
            token: what stands in the path behind the source's name.
        """
        callback = Callback(method="POST", headers=headers, body=body, query=query, token=token)
        try:
            verified = source.verify(callback, self._clock())
            failpoint("verified")
            self._keep(source, callback, verified, answered)
        except KeyWanted as wanted:
            self._in_background(self._once_known(source, callback, wanted, answered))
        except BaseException as error:  # noqa: BLE001  the one place where an error becomes an answer: a panic too
            answered(self.refused(source, error))

    def challenged(self, source: Source, query: bytes) -> Answer | None:
        """What to answer to a GET; None where the provider asks nothing in that way, or this is not how it asks.

        Args:
            source: the account that was asked for.
            query: raw, without the question mark.
        """
        try:
            ack = source.provider.challenge(query)
            return None if ack is None else success(ack)
        except Exception as error:  # noqa: BLE001  as in `take`
            return self.refused(source, error)

    def refused(self, source: Source, error: BaseException) -> Answer:
        """Count an error and say it: a failed verification, "call again", or a fault of ours, which is that too."""
        if isinstance(error, VerificationError):
            self._metrics.rejected(source.name, error.reason)
            return failure(error.reason, source)
        if isinstance(error, ReceiverError):
            self._metrics.failed(source.name, error.reason)
            return failure(error.reason, source)
        log.error("callback_failed", source=source.name, error=type(error).__name__, exc_info=error)
        self._metrics.failed(source.name, "internal")
        return failure("internal", source)

    async def drain(self) -> None:
        """Wait for what runs in the background."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _keep(self, source: Source, callback: Callback, verified: Verified, answered: Answered) -> None:
        label = source.key_label(verified.secret)
        if label is not None:
            self._metrics.verified(source.name, label)
        if all(fact.odd is None for fact in verified.facts):
            self._store(source, callback, verified, answered)
        else:
            self._in_background(self._set_aside(source, callback, verified, answered))

    async def _once_known(self, source: Source, callback: Callback, wanted: KeyWanted, answered: Answered) -> None:
        """Verify again when the key is here; nobody else waits for that."""
        try:
            await self._keyring.obtain(source, wanted, self._terms_of(source).seconds)
            self._keep(source, callback, source.verify(callback, self._clock()), answered)
        except Exception as error:  # noqa: BLE001  as in `take`
            answered(self.refused(source, error))

    def _store(self, source: Source, callback: Callback, verified: Verified, answered: Answered) -> None:
        terms = self._terms_of(source)
        self._inbox.submit(
            self._arrivals(source, callback, verified),
            terms.seconds,
            lambda outcome: self._settled(source, terms, outcome, answered),
        )

    def _arrivals(self, source: Source, callback: Callback, verified: Verified) -> list[Arrival]:
        provider = source.provider.name
        return [
            to_arrival(source, fact, callback, self._wanting(source.name, provider, fact.type), verified.secret)
            for fact in verified.facts
            if fact.odd is None
        ]

    def _settled(
        self,
        source: Source,
        terms: _Terms,
        outcome: Outcome | ReceiverError,
        answered: Answered,
        result: str | None = None,
    ) -> None:
        if outcome is Outcome.REPEATED:
            outcome = VerificationError("token_repeated")
        if isinstance(outcome, Outcome):
            failpoint("before_answer")
            self._metrics.taken(source.name, result or outcome.value)
            answered(terms.success)
        else:
            answered(self.refused(source, outcome))

    async def _set_aside(self, source: Source, callback: Callback, verified: Verified, answered: Answered) -> None:
        """Quarantine what is odd, then store the rest of the batch: success is answered when both are committed."""
        odd = [fact for fact in verified.facts if fact.odd is not None]
        repeat = next((fact.odd for fact in odd if fact.retry), None)
        loop = asyncio.get_running_loop()
        terms = self._terms_of(source)
        deadline = loop.time() + terms.seconds
        try:
            await self._inbox.set_aside([to_odd(source, fact, callback) for fact in odd], deadline - loop.time())
            if repeat is None and len(odd) < len(verified.facts):
                self._inbox.submit(
                    self._arrivals(source, callback, verified),
                    deadline - loop.time(),
                    lambda outcome: self._settled(source, terms, outcome, answered, _QUARANTINED),
                )
                return
        except Exception as error:  # noqa: BLE001  as in `take`
            answered(self.refused(source, error))
            return
        self._metrics.taken(source.name, _QUARANTINED)
        answered(terms.success if repeat is None else failure(repeat, source))

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
