"""One request with a key, from its claim to the response that is stored before the client hears it."""

import asyncio
import uuid
from typing import Final

import structlog
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from receiver.errors import KeyReason, KeyRefused, StoreUnavailable
from receiver.idempotency.keys.header import digest, fingerprint
from receiver.idempotency.keys.key import IdempotencyKey
from receiver.idempotency.keys.mark import Keyed
from receiver.idempotency.keys.response import is_kept, kept, replayed
from receiver.idempotency.refusals import refusal
from receiver.observability.failpoints import failpoint
from receiver.storage.keyed import KeyStore, State, StoredResponse, Wanted

log = structlog.get_logger(__name__)

_PARTS: Final = 3
"""Of a lease: one that lives is extended that often in its length."""
_REFUSED: Final[dict[State, KeyReason]] = {
    "running": "key_running",
    "reused": "key_reused",
    "not_replayable": "key_not_replayable",
}


class _Replay(Exception):
    """The request has been answered before. No error: it leaves the route for the response that is there already."""

    def __init__(self, response: StoredResponse) -> None:
        super().__init__()
        self.response = response


class KeyedRun:
    """Claims the key when the route's other dependencies are through, and settles it when the response is complete.

    Args:
        keyed: what the route says.
        store: where keys are.
        key: as the client made it.
        body: of the request, whole.
        send: to the client.
    """

    def __init__(self, keyed: Keyed, store: KeyStore, *, key: str, body: bytes, send: Send) -> None:
        self._keyed = keyed
        self._store = store
        self._text = key
        self._body = body
        self._send = send
        self._key: IdempotencyKey | None = None
        """While it is claimed and not settled."""
        self._timer: asyncio.TimerHandle | None = None
        self._extending: asyncio.Task[None] | None = None
        self._start: Message | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._sent = False

    async def through(self, app: ASGIApp, scope: Scope, receive: Receive) -> None:
        """Run the route, unless its request has been answered, is running, or may not run."""
        try:
            await app(scope, self._given(receive), self._hear)
        except _Replay as replay:
            await replayed(replay.response)(scope, receive, self._send)
        except KeyRefused as refused:
            await self._free()
            if self._sent:
                raise
            await refusal(refused)(scope, receive, self._send)
        finally:
            # Shielded: a request that is cancelled leaves its key all the same.
            if self._key is not None:
                await asyncio.shield(self._free())

    async def claim(self, request: Request) -> IdempotencyKey:
        """Claim the key: the last of the route's dependencies.

        Raises:
            KeyRefused: see its reasons.
        """
        key = self._made(self._keyed.caller(request) if self._keyed.caller else None)
        wanted = Wanted(
            key=key.digest,
            scope=key.scope,
            fingerprint=fingerprint(
                request.method, request.scope["path"], request.scope.get("query_string", b""), self._body
            ),
            owner=key.owner,
            lease=self._keyed.lease,
            retention=self._keyed.retention,
        )
        failpoint("key_before_claim")
        try:
            standing = await self._store.claim(wanted)
        except StoreUnavailable as error:
            raise KeyRefused("key_store_unavailable") from error
        if standing.state == "stored" and standing.response is not None:
            raise _Replay(standing.response)
        if standing.state != "claimed":
            raise KeyRefused(_REFUSED[standing.state])
        failpoint("key_claimed")
        self._key = key
        self._timer = asyncio.get_running_loop().call_later(self._every, self._begin_extending)
        return key

    def _made(self, caller: str | None) -> IdempotencyKey:
        scope = self._keyed.scope
        return IdempotencyKey(
            scope=scope,
            text=self._text,
            caller=caller,
            digest=digest(scope, caller, self._text),
            owner=uuid.uuid4(),
            limit=self._keyed.response_limit,
        )

    @property
    def _every(self) -> float:
        return self._keyed.lease.total_seconds() / _PARTS

    def _begin_extending(self) -> None:
        """Most routes are done before this is called; it costs those no task."""
        self._extending = asyncio.create_task(self._extend(), name="receiver-key")

    async def _extend(self) -> None:
        while (key := self._key) is not None:
            try:
                if not await self._store.extend(key.digest, key.owner, self._keyed.lease):
                    return  # answered in the route's transaction, or lost: storing the response tells
            except StoreUnavailable:
                log.warning("key_not_extended", scope=key.scope)
            await asyncio.sleep(self._every)

    def _given(self, receive: Receive) -> Receive:
        """The body once more, in one piece; then what comes behind it."""
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": self._body, "more_body": False}

        return again

    async def _hear(self, message: Message) -> None:
        """Hold the response back until it is complete and stored; one that is too large to be kept is let pass."""
        if self._key is None:
            await self._pass_on(message)
        elif message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            self._parts.append(message.get("body", b""))
            self._size += len(self._parts[-1])
            more = message.get("more_body", False)
            if not more or self._size > self._keyed.response_limit:
                await self._settle(whole=self._size <= self._keyed.response_limit)
                await self._let_go(more=more)
        else:  # a file by its path, trailers: nothing that we have seen the bytes of
            await self._settle(whole=False)
            await self._let_go(more=True)
            await self._pass_on(message)

    async def _let_go(self, *, more: bool) -> None:
        """Send what was held back."""
        if self._start is not None:
            await self._pass_on(self._start)
        if self._parts or not more:
            body = b"".join(self._parts)
            await self._pass_on({"type": "http.response.body", "body": body, "more_body": more})

    async def _pass_on(self, message: Message) -> None:
        self._sent = True
        await self._send(message)

    async def _settle(self, *, whole: bool) -> None:
        """Store the response, or free the key for another run."""
        status = 500 if self._start is None else self._start["status"]
        if self._key is None or self._key.answered or not is_kept(status) or self._start is None:
            await self._free()
            return
        key = self._key
        self._end()
        response = kept(status, self._start.get("headers", ()), b"".join(self._parts) if whole else None)
        failpoint("key_before_store")
        try:
            if not await self._store.store(key.digest, key.owner, response):
                log.warning("key_lease_lost", scope=key.scope)
        except StoreUnavailable:
            # The client hears what has been done; whether it is known to the next one depends on `once`.
            log.warning("key_response_not_stored", scope=key.scope)
        failpoint("key_stored")

    async def _free(self) -> None:
        """Let the same request run again at once, if it was claimed and has no response."""
        key = self._end()
        if key is not None:
            try:
                await self._store.release(key.digest, key.owner)
            except StoreUnavailable:
                log.warning("key_not_freed", scope=key.scope)

    def _end(self) -> IdempotencyKey | None:
        """Extend no more; what is still to be settled."""
        key, self._key = self._key, None
        if self._timer is not None:
            self._timer.cancel()
        if self._extending is not None:
            self._extending.cancel()
        return key
