"""A response as it is kept, and as it is replayed."""

from collections.abc import Iterable
from typing import Final

from starlette.responses import Response

from receiver.storage.keyed import StoredResponse

REPLAYED: Final = "Idempotency-Replayed"

FREED: Final = frozenset({401, 403, 408, 409, 425, 429})
"""With these nothing has been done, and the same request may succeed later; so it is with 500 and above."""
_SERVER_ERRORS: Final = 500

_LEFT_OUT: Final = frozenset(
    {
        b"connection",
        b"date",
        b"keep-alive",
        b"proxy-connection",
        b"server",
        b"set-cookie",  # a session's secret does not belong in a table
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        REPLAYED.lower().encode(),
    }
)
"""Headers that speak of one connection or one moment."""


def is_kept(status: int) -> bool:
    """Whether a response is the first and last word on its key; otherwise the same request may run again."""
    return status < _SERVER_ERRORS and status not in FREED


def kept(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes | None) -> StoredResponse:
    """A response as it is stored.

    Args:
        status: HTTP's.
        headers: as ASGI has them.
        body: None: too large.
    """
    pairs = ((name.lower(), value) for name, value in headers)
    matter = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in pairs if name not in _LEFT_OUT)
    return StoredResponse(status=status, headers=matter, body=body)


def stored(response: Response, limit: int) -> StoredResponse:
    """`response` as it is stored; without its body if that is longer than `limit`."""
    body = bytes(response.body)
    return kept(response.status_code, response.raw_headers, body if len(body) <= limit else None)


def replayed(response: StoredResponse) -> Response:
    """The response once more, marked as such."""
    made = Response(status_code=response.status)
    made.body = response.body or b""
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    made.raw_headers = [*pairs, (REPLAYED.lower().encode(), b"true")]
    return made
