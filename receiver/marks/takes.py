"""Issued tokens in Redis: each one is a key that is there until it is deleted, and who deleted it may go on.

A token has three keys in one hash slot: it is *free* (issued, or given back), *claimed* (deleted by somebody who has
not said yet what became of it; the claim names him and when his lease ends), or *used*. Each lives as long as the token
was issued for. Every step is one script, so that no two of them ever interleave.

No command is repeated by itself (see `client`). A reply that is lost leaves a claim under the name of its owner, who
recognises it if he asks again, and which another may take over when its lease has ended.
"""

import enum
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from receiver.errors import TokenStoreUnavailable
from receiver.marks.client import UNREACHABLE, Client

_PREFIX: Final = b"receiver:token:"

# What is sent: an owner, a lease in milliseconds. Redis' own clock is the only one that is read.
_NOW: Final = "local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000) "
_TAKE: Final = f"""
{_NOW}
local left = redis.call('PTTL', KEYS[1])
if redis.call('DEL', KEYS[1]) == 1 then
    redis.call('SET', KEYS[2], ARGV[1] .. '|' .. (now + ARGV[2]), 'PX', math.max(left, 1))
    return 'taken'
end
if redis.call('EXISTS', KEYS[3]) == 1 then return 'used' end
local claim = redis.call('GET', KEYS[2])
if not claim then return 'lost' end
local owner, ends = string.match(claim, '^(.-)|(%d+)$')
if owner == ARGV[1] or now >= tonumber(ends) then
    redis.call('SET', KEYS[2], ARGV[1] .. '|' .. (now + ARGV[2]), 'KEEPTTL')
    return 'taken'
end
return 'claimed'
"""
_MINE: Final = """
local claim = redis.call('GET', KEYS[1])
if not claim or string.match(claim, '^(.-)|') ~= ARGV[1] then return 0 end
"""
_MOVE: Final = f"""
{_MINE}
local left = redis.call('PTTL', KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], '', 'PX', math.max(left, 1))
return 1
"""
_EXTEND: Final = f"""
{_MINE}
{_NOW}
redis.call('SET', KEYS[1], ARGV[1] .. '|' .. (now + ARGV[2]), 'KEEPTTL')
return 1
"""


class Taken(enum.StrEnum):
    """What became of an attempt to take a token."""

    TAKEN = "taken"
    """It is ours now."""
    CLAIMED = "claimed"
    """Somebody else has it, and has not said yet what became of it."""
    USED = "used"
    """Somebody has had his effect with it."""
    LOST = "lost"
    """Redis knows nothing of it: it has lost its data, or this is another Redis."""


class Takes:
    """The life of issued tokens.

    Args:
        client: see `client.connect`.
        lease: how long a claim keeps others off.
    """

    def __init__(self, client: Client, *, lease: timedelta) -> None:
        self._client = client
        self.lease_seconds = lease.total_seconds()
        """How long a claim keeps others off."""
        self._lease = max(int(lease.total_seconds() * 1000), 1)

    async def store(self, nonces: Sequence[bytes], lifetime: timedelta) -> None:
        """Make tokens free, in one round trip.

        Args:
            nonces: theirs.
            lifetime: from now.

        Raises:
            TokenStoreUnavailable: Redis did not say that it has them.
        """
        milliseconds = max(int(lifetime.total_seconds() * 1000), 1)
        pipeline = self._client.pipeline(transaction=False)
        for nonce in nonces:
            pipeline.set(_name(nonce, b"free"), b"", px=milliseconds)
        try:
            await pipeline.execute()
        except UNREACHABLE as error:
            raise TokenStoreUnavailable("Redis did not store the tokens") from error

    async def take(self, nonce: bytes, owner: str) -> Taken:
        """Delete the token and claim it, for the length of a lease.

        Args:
            nonce: the token's.
            owner: of letters, digits and hyphens; a name that nobody else has, the same if this is asked again.

        Raises:
            TokenStoreUnavailable: Redis did not answer; the token may have been claimed.
        """
        names = (_name(nonce, b"free"), _name(nonce, b"claim"), _name(nonce, b"used"))
        said = await self._run(_TAKE, names, owner, self._lease)
        return Taken(said.decode() if isinstance(said, bytes) else str(said))

    async def finish(self, nonce: bytes, owner: str) -> bool:
        """Turn a claim into a used token; False if it is not `owner`'s any more. Raises TokenStoreUnavailable."""
        return await self._run(_MOVE, (_name(nonce, b"claim"), _name(nonce, b"used")), owner) == 1

    async def give_back(self, nonce: bytes, owner: str) -> bool:
        """Make a claimed token free again, with the lifetime that it had left; as `finish` otherwise."""
        return await self._run(_MOVE, (_name(nonce, b"claim"), _name(nonce, b"free")), owner) == 1

    async def extend(self, nonce: bytes, owner: str) -> bool:
        """Begin the lease of a claim anew; as `finish` otherwise."""
        return await self._run(_EXTEND, (_name(nonce, b"claim"),), owner, self._lease) == 1

    async def _run(self, script: str, names: Sequence[bytes], *arguments: str | int) -> object:
        try:
            return await self._client.eval(script, len(names), *names, *arguments)
        except UNREACHABLE as error:
            raise TokenStoreUnavailable("Redis did not answer") from error


def _name(nonce: bytes, state: bytes) -> bytes:
    # In braces what decides on the slot: a token's keys lie together in a cluster.
    return _PREFIX + b"{" + nonce.hex().encode() + b"}:" + state
