"""Reads a request's body: whole, bounded in size and in time, and never truncated."""

import asyncio

from starlette.types import Receive

from receiver.errors import BodyTimeout, BodyTooLarge, ClientGone


async def read_body(receive: Receive, limit: int, seconds: float) -> bytes:
    """The raw bytes.

    Args:
        receive: ASGI's.
        limit: most bytes.
        seconds: for the whole body, however many pieces it comes in.

    Raises:
        BodyTooLarge, BodyTimeout, ClientGone
    """
    try:
        async with asyncio.timeout(seconds):
            return await _read(receive, limit)
    except TimeoutError:
        raise BodyTimeout("the body did not arrive in time") from None


async def _read(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client went away before its body was complete")
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise BodyTooLarge("the body is larger than the limit")
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
