"""Refusals as RFC 9457 problem details: the one place where a reason of this package becomes a status."""

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from receiver import problems
from receiver.errors import ReceiverError, Waiting

_UNAVAILABLE: Final = 503
_AGAIN_SECONDS: Final = 5

_SOON: Final = frozenset({"key_running", "key_lease_lost"})
"""The request runs elsewhere: to be tried again in a second, when as a rule it has its response."""

PROBLEMS: Final[Mapping[str, tuple[int, str]]] = {
    "body_too_large": (413, "The body is larger than the limit."),
    "key_missing": (400, "The request needs an Idempotency-Key."),
    "key_malformed": (400, "The Idempotency-Key is not one of 1 to 255 printable ASCII characters, quoted or plain."),
    "key_reused": (422, "Another request had this Idempotency-Key."),
    "key_running": (409, "A request with this Idempotency-Key is running; try again."),
    "key_lease_lost": (409, "Another request with this Idempotency-Key took over; try again."),
    "key_response_lost": (409, "It has been done, but the response is lost."),
    "key_not_replayable": (409, "It has been done, but the response was not kept."),
    "key_store_unavailable": (503, "It cannot be said whether it has been done; try again."),
    "token_missing": (400, "The request needs a token; fetch one first."),
    "token_foreign": (422, "The token was not issued here, or not for this."),
    "token_repeated": (409, "Another request has this token."),
    "token_expired": (410, "The token is no longer good; fetch a new one."),
    "token_unknown": (410, "The token is not known any more; fetch a new one."),
    "token_store_unavailable": (503, "It cannot be said whether the token is good; try again."),
    "tokens_not_issued": (403, "Tokens are not issued to you."),
    "token_request": (422, "The request for tokens is not well formed."),
    "token_rate": (429, "Too many tokens were asked for; try again later."),
}


def refusal(error: ReceiverError) -> Response:
    """The answer to a request that may not go on.

    Nothing of the request is echoed. `detail` is there where a message says more than the title.

    Args:
        error: its reason is one of `PROBLEMS`.
    """
    status, title = PROBLEMS[error.reason]
    detail = str(error)
    told = problems.details(error.reason, status, title, {"detail": detail} if detail not in {"", error.reason} else {})
    wait = error.retry_after if isinstance(error, Waiting) else None
    if error.reason in _SOON:
        wait = 1
    elif wait is None and status == _UNAVAILABLE:
        wait = _AGAIN_SECONDS
    headers = {"Cache-Control": "no-store"} | ({} if wait is None else {"Retry-After": str(wait)})
    return Response(told, status, headers, media_type=problems.CONTENT_TYPE)
