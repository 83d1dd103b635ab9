"""Makes a provider know a key that a callback named: once for all who wait, seldom, and without holding up others."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from weakref import WeakKeyDictionary

import structlog

from receiver.certificates.download import FetchFailed, download
from receiver.certificates.limits import Limits
from receiver.certificates.network import Network
from receiver.certificates.shelf import Shelf
from receiver.errors import KeyUnavailable, ReceiverError, VerificationError
from receiver.observability.metrics import IngressMetrics
from receiver.sources import Source
from receiver.sources.fetched import KeyAnswer, KeyWanted, PublishedKeys

log = structlog.get_logger(__name__)

FETCH_SECONDS: Final = 5.0
"""For one document, name and connection included. Callbacks wait no longer than their provider does."""
_MOST_WAITING: Final = 256
"""Callbacks. What more comes is told to call again."""


@dataclass
class _Account:
    """What is going on for one account, for as long as its settings are these."""

    limits: Limits = field(default_factory=Limits)
    under_way: dict[str, asyncio.Task[ReceiverError | None]] = field(default_factory=dict)


class Keyring:
    """Fetches for all sources of one process.

    Args:
        shelf: where documents are kept.
        metrics: counts fetches.
        clock: Unix seconds, by which certificates are valid.
        network: the world outside; default: the internet.
    """

    def __init__(
        self, shelf: Shelf, metrics: IngressMetrics, *, clock: Callable[[], float], network: Network | None = None
    ) -> None:
        self._clock = clock
        self._shelf = shelf
        self._metrics = metrics
        self._network = network or Network()
        self._accounts: WeakKeyDictionary[PublishedKeys, _Account] = WeakKeyDictionary()
        self._waiting = 0

    async def obtain(self, source: Source, wanted: KeyWanted, seconds: float) -> None:
        """Return when the source's provider knows the key that it wanted.

        Args:
            source: whose provider it is.
            wanted: what that provider raised.
            seconds: to wait, at most; what was begun goes on without us.

        Raises:
            KeyUnavailable: nobody can say yet; ask again later.
            VerificationError: there is no such key (`key_unknown`), or what is published is not the provider's.
        """
        provider = source.provider
        if not isinstance(provider, PublishedKeys) or self._waiting >= _MOST_WAITING:
            raise KeyUnavailable("too many wait for keys")
        account = self._accounts.setdefault(provider, _Account())
        task = account.under_way.get(wanted.document) or self._begin(account, source, provider, wanted)
        self._waiting += 1
        try:
            await asyncio.wait({task}, timeout=seconds)
        finally:
            self._waiting -= 1
        if provider.knows(wanted.key):
            return
        raise _result(task) or VerificationError("key_unknown")

    async def close(self) -> None:
        """Give up what is under way."""
        tasks = [task for account in self._accounts.values() for task in account.under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(
        self, account: _Account, source: Source, provider: PublishedKeys, wanted: KeyWanted
    ) -> "asyncio.Task[ReceiverError | None]":
        asked, error = account.limits.result(wanted.document)
        if asked:
            raise error or VerificationError("key_unknown")
        if not account.limits.may_ask(len(account.under_way)):
            self._metrics.fetched(source.name, "not_asked")
            raise KeyUnavailable("too many keys were asked for")
        account.limits.ask(wanted.document)
        task = asyncio.create_task(self._find(source, provider, wanted), name=f"receiver-key-{source.name}")
        account.under_way[wanted.document] = task

        def done(ended: "asyncio.Task[ReceiverError | None]") -> None:
            del account.under_way[wanted.document]
            account.limits.settle(wanted.document, _result(ended))

        task.add_done_callback(done)
        return task

    async def _find(self, source: Source, provider: PublishedKeys, wanted: KeyWanted) -> ReceiverError | None:
        """From the shelf or from outside; returns what went wrong."""
        for answer in await self._shelf.all(source.name):
            self._remember(source, provider, answer)
        if provider.knows(wanted.key):
            return None
        try:
            answer = await self._fetch(provider, wanted.document)
        except FetchFailed as error:
            log.warning("key_not_fetched", source=source.name, why=error.why)
            self._metrics.fetched(source.name, "failed")
            return KeyUnavailable("the key could not be fetched")
        try:
            provider.accept(answer, self._clock())
        except VerificationError as error:
            log.warning("key_refused", source=source.name, reason=error.reason)
            self._metrics.fetched(source.name, "refused")
            return error
        log.info("key_fetched", source=source.name)
        self._metrics.fetched(source.name, "fetched")
        await self._shelf.put(source.name, answer)
        return None

    async def _fetch(self, provider: PublishedKeys, document: str) -> KeyAnswer:
        response = await download(provider.request(document, self._clock()), self._network, FETCH_SECONDS)
        headers = {name: value for name, value in response.headers.items() if name in provider.answer_headers}
        return KeyAnswer(document=document, at=self._clock(), headers=headers, body=response.content)

    def _remember(self, source: Source, provider: PublishedKeys, answer: KeyAnswer) -> None:
        try:
            provider.accept(answer, self._clock())
        except VerificationError as error:
            log.warning("kept_key_refused", source=source.name, reason=error.reason)


def _result(task: "asyncio.Task[ReceiverError | None]") -> ReceiverError | None:
    """What went wrong, as far as is known now."""
    if not task.done() or task.cancelled():
        return KeyUnavailable("the key did not come in time")
    fault = task.exception()
    if fault is not None:  # ours, and no reason to refuse a callback for good
        log.error("key_fetch_failed", error=type(fault).__name__, exc_info=fault)
        return KeyUnavailable("the key could not be fetched")
    return task.result()
