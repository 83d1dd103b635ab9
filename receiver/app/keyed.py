"""The half of a `Receiver` that gives keys to routes of the merchant's own API."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, ParamSpec, TypeVar

from fastapi import FastAPI, Request

from receiver.app.service import required
from receiver.app.upkeep import keep_keys
from receiver.errors import SettingsError
from receiver.idempotency.keys.mark import Keyed, mark
from receiver.idempotency.keys.routes import guard_routes
from receiver.settings import Settings
from receiver.storage.keyed import KeyStore, key_engine

P = ParamSpec("P")
T = TypeVar("T")

_DAY: Final = dt.timedelta(days=1)
_LEASE: Final = dt.timedelta(seconds=30)
_MEGABYTE: Final = 1_048_576


class KeyedRoutes:
    """Routes that were marked, and the store of their keys for as long as an application runs."""

    def __init__(self) -> None:
        self._marked: list[Callable[..., object]] = []
        self._stores: list[KeyStore] = []

    def keyed(
        self,
        *,
        scope: str,
        required: bool = False,
        caller: Callable[[Request], str | None] | None = None,
        retention: dt.timedelta = _DAY,
        lease: dt.timedelta = _LEASE,
        body_limit: int = _MEGABYTE,
        response_limit: int = _MEGABYTE,
    ) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Give a route of your own API keys that its clients make: `Idempotency-Key`, below the route's decorator.

        The first response to a key is stored, and sent again to whoever comes with the same request. A parameter of
        the type `IdempotencyKey` is handed the key, or None where there is none.

        Args:
            scope: whose keys these are, such as `refunds`; 1 to 184 characters.
            required: a request without a key is refused.
            caller: whose keys they are, such as the account: keys of others are other keys. It is called behind the
                route's other dependencies, and sees what these put into `request.state`.
            retention: how long a response is kept.
            lease: how long after the death of a server its request may run again.
            body_limit: bytes of a request's body.
            response_limit: bytes of a response's body that are kept; a larger one is sent, but not again.

        Raises:
            HandlerError: the function cannot have keys; the message says why.
        """
        keyed = Keyed(
            scope=scope,
            required=required,
            caller=caller,
            retention=retention,
            lease=lease,
            body_limit=body_limit,
            response_limit=response_limit,
        )

        def decorate(function: Callable[P, T]) -> Callable[P, T]:
            made = mark(keyed, function)
            self._marked.append(function)
            return made

        return decorate

    def key_store(self) -> KeyStore:
        """Where keys are. Raises SettingsError where no guarded application runs."""
        if not self._stores:
            raise SettingsError("keyed: receiver.install(app) was not called, or its lifespan is not run")
        return self._stores[-1]

    def guard_keyed(self, app: FastAPI) -> None:
        """Put guards around the routes of `app` that have keys. Raises HandlerError for one that cannot."""
        guard_routes(app.routes, self, self._marked)

    @asynccontextmanager
    async def keeping_keys(self, settings: Settings) -> AsyncIterator[None]:
        """Have a store for the length of the block, if any route has keys.

        A Postgres that is not there is no error: requests with a key are answered 503 until it is.

        Raises:
            SettingsError: no database is set.
        """
        if not self._marked:
            yield
            return
        size = settings.key_connections
        store = KeyStore(key_engine(required(settings.database_url, "database_url"), size=size), size=size)
        upkeep = keep_keys(store)
        self._stores.append(store)
        try:
            yield
        finally:
            self._stores.remove(store)
            upkeep.cancel()
            await asyncio.wait([upkeep])
            await store.close()
