"""Documents with fetched keys, one hash for each source, so that one process fetches for all."""

from typing import Final

import structlog

from receiver.marks.client import UNREACHABLE, Client

log = structlog.get_logger(__name__)

_PREFIX: Final = "receiver:keys:"
_TTL: Final = 30 * 86_400
"""Seconds after the last one was put there."""


class KeptKeys:
    """What is there is a help, never needed and never trusted.

    Args:
        client: see `client.connect`.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def all(self, source: str) -> list[bytes]:
        """What is kept for `source`; nothing if Redis does not say."""
        try:
            found = await self._client.hvals(_PREFIX + source)
        except UNREACHABLE as error:
            log.warning("redis_unreachable", error=type(error).__name__)
            return []
        return [content for content in found if isinstance(content, bytes)]

    async def put(self, source: str, document: str, content: bytes) -> None:
        """Keep `content` under the document's name, if Redis is well."""
        pipeline = self._client.pipeline(transaction=True)
        pipeline.hset(_PREFIX + source, document, content)
        pipeline.expire(_PREFIX + source, _TTL)
        try:
            await pipeline.execute()
        except UNREACHABLE as error:
            log.warning("redis_unreachable", error=type(error).__name__)
