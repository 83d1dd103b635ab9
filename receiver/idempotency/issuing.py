"""`POST /tokens`: tokens for whom the merchant lets have them."""

import datetime as dt
from collections.abc import Callable
from typing import Annotated, Final
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from receiver.errors import HandlerError, ReceiverError, TokensRefused
from receiver.idempotency.desk import Desks, Issued
from receiver.idempotency.refusals import refusal

PATH: Final = "/tokens"
_LONGEST_BODY: Final = 4096
_LONGEST_SCOPE: Final = 180

Caller = Callable[..., object]
"""A dependency of FastAPI's: says who asks, by a name that the rate is counted for (a str, int or UUID), or raises what
the client is answered. None: counted by the client's address."""

Scope = Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_SCOPE, pattern=r"^[^\x00-\x1f\x7f]+$")]


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client sends."""

    scope: Scope
    """What the tokens are to be used for: that of the route."""
    ttl: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Seconds for which they are to be good."""
    count: Annotated[int, msgspec.Meta(ge=1)] = 1
    """How many."""


def token_routes(desks: Desks, caller: Caller | None, path: str = PATH) -> APIRouter:
    """The route that issues tokens.

    Args:
        desks: who issues them.
        caller: see `Caller`; None: nobody gets any.
        path: where.
    """
    router = APIRouter()

    def nobody() -> None:
        raise TokensRefused("tokens_not_issued")

    @router.post(path, status_code=201, response_class=Response)
    async def issue(request: Request, who: Annotated[object, Depends(caller or nobody)]) -> Response:
        """Issue tokens."""
        name = _name(who, request)
        try:
            asked = _read(await _body(request))
            issued = await desks.desk().issue_to(name, asked.scope, asked.ttl, asked.count)
        except ReceiverError as error:
            return refusal(error)
        return Response(_told(issued), 201, {"Cache-Control": "no-store"}, media_type="application/json")

    return router


def _name(who: object, request: Request) -> str:
    """By what the rate is counted. An object would have another name in each request, and no rate at all."""
    if who is None:
        return f"address:{request.client.host if request.client else 'unknown'}"
    if not isinstance(who, (str, int, UUID)):
        raise HandlerError(
            f"issue_tokens_to: the caller is a {type(who).__qualname__}; return a str, int, UUID or None"
        )
    return f"caller:{who}"


def _read(body: bytes) -> TokenRequest:
    try:
        return msgspec.json.decode(body, type=TokenRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TokensRefused("token_request", f"the body is not as it should be: {error}") from None


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _LONGEST_BODY:
            raise TokensRefused("token_request", f"the body is longer than {_LONGEST_BODY} bytes")
    return body


def _told(issued: Issued) -> bytes:
    expires_at = dt.datetime.fromtimestamp(issued.expires_at, dt.UTC)
    return msgspec.json.encode({"scope": issued.scope, "tokens": issued.tokens, "expires_at": expires_at})
