"""A token that was taken and whose request is running: kept from others, then used up or given back."""

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver.errors import TokenError, TokenStoreUnavailable
from receiver.marks.takes import Takes
from receiver.observability.failpoints import failpoint
from receiver.storage.once import once, once_sync
from receiver.storage.raw import RawTransaction
from receiver.tokens import Token

log = structlog.get_logger(__name__)

_SCOPE: Final = "token:"
"""Before the token's scope in the unique key: a merchant's own scopes are never in the way."""
_PARTS: Final = 3
"""Of a lease: a claim that lives is extended that often in one."""


class Claim:
    """The right to use a token once, for the length of an `async with`.

    Call `once` in the transaction of the effect. Without it Redis alone is the judge, and what it forgets, or what is
    committed by a server that dies before it has said so, can be done again.

    While the block runs, the claim is extended. If the block ends well the token is used up; if it raises, the token is
    given back with the lifetime that it had left. A process that dies does neither: the lease ends, and whoever comes
    with the token then gets it.

    Args:
        token: that was taken.
        owner: under whose name.
        takes: its life in Redis.
        held: Redis knows of the claim; False: it was accepted without.
    """

    def __init__(self, token: Token, owner: str, takes: Takes, *, held: bool = True) -> None:
        self.token = token
        self._owner = owner
        self._takes = takes
        self._held = held
        self._spent = False
        self._extending: asyncio.Task[None] | None = None

    async def once(self, tx: AsyncSession | RawTransaction) -> None:
        """Insert the token's unique key into the transaction of `tx`: put it before the effect.

        Args:
            tx: in whose transaction the effect is; see `receiver.once`.

        Raises:
            TokenError: `token_repeated`: the effect of this token is committed. It was given back by mistake.
        """
        self._judged(first=await once(tx, _SCOPE + self.scope, self.key))

    def once_sync(self, tx: Session) -> None:
        """`once` for plain functions."""
        self._judged(first=once_sync(tx, _SCOPE + self.scope, self.key))

    def _judged(self, *, first: bool) -> None:
        if not first:
            self._spent = True
            raise TokenError("token_repeated")

    @property
    def scope(self) -> str:
        """What the token may be used for."""
        return self.token.scope

    @property
    def key(self) -> str:
        """What is unique about it within its scope: for the unique key in the business transaction."""
        return self.token.nonce.hex()

    async def __aenter__(self) -> Self:
        failpoint("token_after_take")
        if self._held:
            self._extending = asyncio.create_task(self._extend(), name="receiver-claim")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, trace
        if self._extending is None:
            return
        self._extending.cancel()
        await asyncio.wait([self._extending])
        # Shielded: a client that went away takes its request with it, but not what becomes of the token.
        await asyncio.shield(self._settle(given_back=error is not None and not self._spent))

    async def _settle(self, *, given_back: bool) -> None:
        settle = self._takes.give_back if given_back else self._takes.finish
        failpoint("token_before_settling")
        try:
            ours = await settle(self.token.nonce, self._owner)
        except TokenStoreUnavailable:
            log.warning("token_not_settled", scope=self.scope, given_back=given_back)
            return
        failpoint("token_after_settling")
        if not ours:
            log.warning("token_lease_lost", scope=self.scope, given_back=given_back)

    async def _extend(self) -> None:
        while True:
            await asyncio.sleep(self._takes.lease_seconds / _PARTS)
            with suppress(TokenStoreUnavailable):
                if not await self._takes.extend(self.token.nonce, self._owner):
                    return
