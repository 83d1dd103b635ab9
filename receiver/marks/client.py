"""The Redis client, made so that a slow or absent Redis costs time once and never a repeated command."""

from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from receiver.errors import SettingsError

Client = Redis

_MOST_CONNECTIONS: Final = 50

UNREACHABLE = (RedisError, OSError, TimeoutError, EOFError)
"""What a command may raise when Redis is not well."""


def connect(url: str, *, timeout: float, most: int = _MOST_CONNECTIONS) -> Client:
    """A client for `url`; connects at the first command.

    No command is repeated by itself: the reply to the first try may only be late, and then the second one is told
    "already done" by its own first.

    Args:
        url: `redis://…` or `rediss://…`.
        timeout: seconds for a connection and for each reply.
        most: connections; who comes when all are in use waits for one, for `timeout` seconds too.

    Raises:
        SettingsError: it is no Redis URL.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=most,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),
            decode_responses=False,
        )
        return Redis.from_pool(pool)
    except ValueError:
        raise SettingsError("redis_url: not a URL such as redis://127.0.0.1:6379/0") from None
