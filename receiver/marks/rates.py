"""How much somebody may have in a minute: one counter for each in Redis, which forgets it when the minute is over."""

import hashlib
import math
from typing import Final

from receiver.errors import TokenStoreUnavailable
from receiver.marks.client import UNREACHABLE, Client

_PREFIX: Final = b"receiver:rate:"
_WINDOW: Final = 60_000
"""Milliseconds."""

# What is refused is not counted: who asks for too many at once may still have a few.
_TAKE: Final = """
local had = tonumber(redis.call('GET', KEYS[1]) or '0')
if had + ARGV[1] > tonumber(ARGV[2]) then return redis.call('PTTL', KEYS[1]) end
redis.call('INCRBY', KEYS[1], ARGV[1])
if had == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return -3
"""
_GRANTED: Final = -3


class Rates:
    """Counts what callers were given.

    Args:
        client: see `client.connect`.
        most: in a minute, for one caller.
    """

    def __init__(self, client: Client, *, most: int) -> None:
        self._client = client
        self._most = most

    async def wait(self, caller: str, count: int) -> int | None:
        """Count `count` for `caller`, if that is not too much.

        Args:
            caller: who asks.
            count: how many.

        Returns:
            None: it is counted; else seconds after which to ask again, 1 to 60.

        Raises:
            TokenStoreUnavailable: Redis did not answer.
        """
        name = _PREFIX + hashlib.sha256(caller.encode(errors="surrogatepass")).hexdigest()[:32].encode()
        try:
            left = int(await self._client.eval(_TAKE, 1, name, count, self._most, _WINDOW))
        except UNREACHABLE as error:
            raise TokenStoreUnavailable("Redis did not answer") from error
        return None if left == _GRANTED else max(math.ceil(left / 1000), 1)
