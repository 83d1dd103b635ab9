"""Around a route that has keys: reads the key and the whole body, and lets the run claim, refuse or replay."""

from typing import Final, Protocol

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.errors import BodyTooLarge, ClientGone, KeyRefused
from receiver.idempotency.keys.header import HEADER, read_key
from receiver.idempotency.keys.mark import RUN, Keyed
from receiver.idempotency.keys.run import KeyedRun
from receiver.idempotency.refusals import refusal
from receiver.storage.keyed import KeyStore

_NAME: Final = HEADER.lower().encode()
_DIGITS: Final = 18
"""Of a length that anybody has memory for."""


class Stores(Protocol):
    """Where the store of the running application is found."""

    def key_store(self) -> KeyStore:
        """The store. Raises SettingsError where nothing runs."""


class _NoKey:
    """The run of a request that has no key and needs none."""

    async def claim(self, request: Request) -> None:
        """There is nothing to claim."""


class Guard:
    """A route with its keys.

    Args:
        keyed: what it says.
        stores: where the keys are.
        app: runs it.
        methods: that it has; others are its own affair.
    """

    def __init__(self, keyed: Keyed, stores: Stores, app: ASGIApp, methods: frozenset[str]) -> None:
        self._keyed = keyed
        self._stores = stores
        self._app = app
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["method"] not in self._methods:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            key = self._key(headers)
            body = b"" if key is None else await read_body(receive, headers, self._keyed.body_limit)
        except (KeyRefused, BodyTooLarge) as refused:
            await refusal(refused)(scope, receive, send)
        except ClientGone:
            return
        else:
            if key is None:
                scope[RUN] = _NoKey()
                await self._app(scope, receive, send)
            else:
                run = KeyedRun(self._keyed, self._stores.key_store(), key=key, body=body, send=send)
                scope[RUN] = run
                await run.through(self._app, scope, receive)

    def _key(self, headers: Headers) -> str | None:
        """The client's key. Raises KeyRefused where it is missing or malformed."""
        key = read_key([value for name, value in headers.raw if name.lower() == _NAME])
        if key is None and self._keyed.required:
            raise KeyRefused("key_missing")
        return key


async def read_body(receive: Receive, headers: Headers, limit: int) -> bytes:
    """The whole body.

    Args:
        receive: ASGI's.
        headers: of the request; one that says to be too large is not read.
        limit: most bytes.

    Raises:
        BodyTooLarge, ClientGone
    """
    announced = headers.get("content-length", "")
    if len(announced) > _DIGITS or (announced.isdecimal() and int(announced) > limit):
        raise BodyTooLarge
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit:
            raise BodyTooLarge
        more = message.get("more_body", False)
    return bytes(body)
