"""The half of a `Receiver` that guards the merchant's own API: issued tokens, clients' keys, what refuses requests."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from fastapi import FastAPI

from receiver.app.keyed import KeyedRoutes
from receiver.app.public import public_app
from receiver.app.refusing import refuse_in
from receiver.app.service import required
from receiver.errors import SettingsError, TokenError, TokensRefused, TokenStoreUnavailable
from receiver.idempotency import HEADER, Caller, Idempotent, Terms, TokenDesk, token_routes
from receiver.marks import Rates, Takes, connect
from receiver.operate.callback_tokens import CALLBACK_DAYS, new_callback_token
from receiver.settings import Settings, token_keys
from receiver.tokens import TokenSigner

_REFUSALS: Final = (TokenError, TokensRefused, TokenStoreUnavailable)


class Guards(KeyedRoutes):
    """What routes of the merchant's own API are guarded by, for as long as an application runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._root = folder
        self._desks: list[TokenDesk] = []
        self._guards: dict[tuple[str, str], Idempotent] = {}
        self._caller: Caller | None = None
        self._installed: WeakKeyDictionary[FastAPI, set[str]] = WeakKeyDictionary()

    def load_settings(self) -> Settings:
        """The settings that it runs with."""
        raise NotImplementedError

    def idempotent(self, *, scope: str, header: str = HEADER) -> Idempotent:
        """Run a route of your own API once for each token that was issued for `scope`.

        As a parameter, `claim: Annotated[Claim, receiver.idempotent(scope="orders")]`, as one of `dependencies=[…]`, or
        as a decorator below the route's own. The token is deleted before the route runs; if that raises, the token is
        given back with the lifetime that it had left. `await claim.once(tx)` puts its unique key into your transaction.

        Args:
            scope: what its tokens are issued for.
            header: the name of the header that brings them.
        """
        # The same one for the same token: a route that asks for it twice, at its router too, takes it once.
        return self._guards.setdefault((scope, header), Idempotent(self, scope=scope, header=header))

    def callback_token(self, source: str, *, days: float = CALLBACK_DAYS) -> str:
        """A token for the callbacks of one payment: put it into the address, or the field, that comes back with them.

        Nothing is stored. What it opens is told by the source's `token_for` when its first callback is committed.
        Where you repeat the call that makes the payment, use the same token again.

        Args:
            source: where the callbacks will come to.
            days: for which it is good: as long as a refund or a dispute may come back.

        Raises:
            SettingsError: there is no such source, it wants no token, or no keys for tokens are set.
        """
        settings = self.load_settings()
        return new_callback_token(settings, self._root, source, days)

    def issue_tokens_to(self, caller: Caller) -> None:
        """Say who may have tokens; without it `POST /tokens` refuses everybody.

        Args:
            caller: a dependency of FastAPI's that raises for whom it may not be, and returns the name by which the rate
                is counted, a str, int or UUID; None: by the client's address.
        """
        self._caller = caller

    def install(self, app: FastAPI, *, tokens: str | None = None) -> None:
        """Guard the routes of an application of your own: call this behind the last of them.

        Refusals become problem details, and the connections are there for as long as it runs. A second call guards what
        was added since.

        Args:
            app: the outermost one, whose lifespan is run.
            tokens: a path at which it is to issue tokens too, such as `/tokens`; None: only the receiver does.

        Raises:
            HandlerError: a route that is guarded cannot be; the message says why.
        """
        self.guard_keyed(app)
        refuse_in(app, _REFUSALS, {guard.dependency for guard in self._guards.values()})
        again, paths = app in self._installed, self._installed.setdefault(app, set())
        if tokens is not None and tokens not in paths:
            paths.add(tokens)
            app.include_router(token_routes(self, self._caller, tokens))
        if not again:
            self._run_with(app, paths)

    def _run_with(self, app: FastAPI, paths: Collection[str]) -> None:
        """Have connections for as long as `app` runs."""
        inner = app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(whole: FastAPI) -> AsyncIterator[Mapping[str, object]]:
            settings = self.load_settings()
            if (paths or self._guards) and not settings.token_keys:
                raise SettingsError("token_keys: not set, and routes ask for tokens")
            async with self.guarding(settings), self.keeping_keys(settings), inner(whole) as state:
                yield state or {}

        app.router.lifespan_context = lifespan

    def desk(self) -> TokenDesk:
        """Where tokens are handed in. Raises SettingsError where no guarded application runs."""
        if not self._desks:
            raise SettingsError("token_keys: not set, or receiver.install(app) was not called")
        return self._desks[-1]

    @asynccontextmanager
    async def guarding(self, settings: Settings) -> AsyncIterator[None]:
        """Be ready for tokens, for the length of the block, if the settings have keys for them.

        Raises:
            SettingsError: a key is missing or too short.
        """
        keys = token_keys(settings, self._root)
        if not keys:
            yield
            return
        async with _desk(settings, keys) as desk:
            self._desks.append(desk)
            try:
                yield
            finally:
                self._desks.remove(desk)

    def public(self) -> FastAPI:
        """What the public listener serves behind the callbacks."""
        return public_app(token_routes(self, self._caller) if self._desks else None)


@asynccontextmanager
async def _desk(settings: Settings, keys: list[bytes]) -> AsyncIterator[TokenDesk]:
    client = connect(required(settings.redis_url, "redis_url"), timeout=settings.redis_timeout)
    try:
        yield TokenDesk(
            TokenSigner(keys),
            Takes(client, lease=timedelta(seconds=settings.token_lease_seconds)),
            Rates(client, most=settings.token_rate),
            Terms(ttl=settings.token_ttl, longest=settings.token_longest_ttl, most=settings.token_most),
            without_redis=settings.token_without_redis,
        )
    finally:
        await client.aclose()
