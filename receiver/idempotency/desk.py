"""Issues tokens, and takes them from those who come with one."""

import math
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, Protocol, TypeAlias

from receiver.errors import TokenError, TokenReason, TokensRefused, TokenStoreUnavailable
from receiver.idempotency.claim import Claim
from receiver.marks.rates import Rates
from receiver.marks.takes import Taken, Takes
from receiver.tokens import Token, TokenSigner

WithoutRedis: TypeAlias = Literal["refuse", "accept"]
"""What becomes of genuine tokens that Redis does not know, or cannot be asked about. `accept`: the signature and the
unique key are the only judges."""
_SLACK: Final = 60
"""Seconds that the clocks of servers and of Redis may differ by."""
_REFUSED: Final[Mapping[Taken, TokenReason]] = {
    Taken.CLAIMED: "token_repeated",
    Taken.USED: "token_repeated",
    Taken.LOST: "token_unknown",
}


@dataclass(frozen=True, kw_only=True)
class Issued:
    """Tokens that a client may use, each once."""

    scope: str
    tokens: tuple[str, ...]
    expires_at: int
    """Unix seconds."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How tokens are issued."""

    ttl: int
    """Seconds for which they are good, if nothing else was asked for."""
    longest: int
    """Seconds that may be asked for."""
    most: int
    """Tokens at once."""


class TokenDesk:
    """Where tokens come from, and where they are handed in.

    Args:
        signer: makes and reads their text.
        takes: their life in Redis.
        rates: how many each may have.
        terms: see `Terms`.
        without_redis: see `WithoutRedis`.
    """

    def __init__(
        self,
        signer: TokenSigner,
        takes: Takes,
        rates: Rates,
        terms: Terms,
        *,
        without_redis: WithoutRedis = "refuse",
    ) -> None:
        self._signer = signer
        self._takes = takes
        self._rates = rates
        self._terms = terms
        self._without_redis = without_redis

    async def issue_to(self, caller: str, scope: str, ttl: int | None, count: int) -> Issued:
        """New tokens for a client, within its rate.

        Args:
            caller: whose rate.
            scope: what they may be used for.
            ttl: seconds for which they are good; None: the usual.
            count: how many.

        Raises:
            TokensRefused: it asks for too much, or too often.
            TokenStoreUnavailable: Redis has not stored them.
        """
        ttl = self._terms.ttl if ttl is None else ttl
        if ttl > self._terms.longest:
            raise TokensRefused("token_request", f"ttl: at most {self._terms.longest} seconds")
        if count > self._terms.most:
            raise TokensRefused("token_request", f"count: at most {self._terms.most}")
        wait = await self._rates.wait(caller, count)
        if wait is not None:
            raise TokensRefused("token_rate", retry_after=wait)
        return await self.issue(scope, ttl=ttl, count=count)

    async def issue(self, scope: str, *, ttl: int | None = None, count: int = 1) -> Issued:
        """New tokens, which Redis has stored.

        Args:
            scope: what they may be used for.
            ttl: seconds for which they are good; None: the usual.
            count: how many.

        Raises:
            TokenStoreUnavailable: Redis has not stored them.
        """
        ttl = self._terms.ttl if ttl is None else ttl
        expires_at = int(time.time()) + ttl
        made = [self._signer.issue(scope, expires_at) for _ in range(count)]
        # A little longer than they are good: what has expired is told from what Redis has lost by the signature.
        await self._takes.store([token.nonce for _, token in made], timedelta(seconds=ttl + _SLACK))
        return Issued(scope=scope, tokens=tuple(text for text, _ in made), expires_at=expires_at)

    async def take(self, values: Sequence[str], scope: str) -> Claim:
        """Take a token: of all who come with it, one gets the claim.

        Args:
            values: of the header, as they came; a proxy may have doubled it, but two tokens cannot both be meant.
            scope: what it is to be used for.

        Raises:
            TokenError: see its reasons.
            TokenStoreUnavailable: Redis did not answer. If it has claimed the token for us nevertheless, the lease
                will end.
        """
        if not any(values):
            raise TokenError("token_missing")
        if len(set(values)) > 1:
            raise TokenError("token_foreign")
        token = self._signer.read(values[0], scope, time.time())
        owner = secrets.token_hex(8)
        taken = await self._taken(token, owner)
        if taken is not Taken.TAKEN and not (taken is Taken.LOST and self._without_redis == "accept"):
            wait = math.ceil(self._takes.lease_seconds) if taken is Taken.CLAIMED else None
            raise TokenError(_REFUSED[taken], retry_after=wait)
        return Claim(token, owner, self._takes, held=taken is Taken.TAKEN)

    async def _taken(self, token: Token, owner: str) -> Taken:
        with suppress(TokenStoreUnavailable):
            return await self._takes.take(token.nonce, owner)
        try:
            # Its reply may have been lost only: what it did is recognised by the owner's name.
            return await self._takes.take(token.nonce, owner)
        except TokenStoreUnavailable:
            if self._without_redis == "accept":
                return Taken.LOST
            raise


class Desks(Protocol):
    """Where the desk of the running application is found."""

    def desk(self) -> TokenDesk:
        """The desk. Raises SettingsError where nothing runs."""
