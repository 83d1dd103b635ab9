"""What a route is handed: the key that its client made, for the unique key and the response in its own transaction."""

import uuid
from dataclasses import dataclass, field
from typing import Final

from fastapi.encoders import jsonable_encoder
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from receiver.errors import HandlerError, KeyRefused
from receiver.idempotency.keys.response import stored
from receiver.storage.keyed import store_in, store_in_sync
from receiver.storage.once import once, once_sync
from receiver.storage.raw import RawTransaction

SCOPE: Final = "idempotency-key:"
"""In front of a scope, so that these unique keys are none that a route takes by itself."""


@dataclass(kw_only=True)
class IdempotencyKey:
    """A client's key, claimed for one run of its request."""

    scope: str
    """As the route says it."""
    text: str
    """As the client made it."""
    caller: str | None
    """Whose key it is."""
    digest: bytes
    """Of these three."""
    owner: uuid.UUID
    """Of this run."""
    limit: int
    """Most bytes of a response that is kept."""
    answered: bool = field(default=False, init=False)
    """Its response is in the route's own transaction, whose commit decides."""

    @property
    def id(self) -> str:
        """The same in each run of the request, and of no other: for calls to those who take idempotency keys too."""
        return self.digest.hex()

    async def once(self, tx: AsyncSession | RawTransaction) -> None:
        """Put the key's unique key into your transaction, before the effect: it is then done once, whatever dies.

        Waits for another open transaction that has taken it. `once` says under what it decides.

        Args:
            tx: in whose transaction the effect is; nothing is committed here.

        Raises:
            KeyRefused: `key_response_lost`: it has been done, by a run whose response was not stored. Let it pass: it
                is the answer.
        """
        if not await once(tx, SCOPE + self.scope, self.id):
            raise KeyRefused("key_response_lost")

    def once_sync(self, tx: Session) -> None:
        """`once` for plain functions."""
        if not once_sync(tx, SCOPE + self.scope, self.id):
            raise KeyRefused("key_response_lost")

    async def answer(self, tx: AsyncSession | RawTransaction, content: object, status: int = 200) -> Response:
        """Store the response in your transaction, behind the effect: `return` what this returns.

        It is replayed from the commit on, even if the server dies before anybody has heard it.

        Args:
            tx: in whose transaction the effect is; nothing is committed here.
            content: a Response with a body, or what becomes JSON.
            status: where `content` is no Response.

        Raises:
            KeyRefused: `key_lease_lost`: another run has taken over. Let it pass, and your transaction is rolled back.
            HandlerError: the response streams.
        """
        response = _response(content, status)
        if not await store_in(tx, self.digest, self.owner, stored(response, self.limit)):
            raise KeyRefused("key_lease_lost")
        self.answered = True
        return response

    def answer_sync(self, tx: Session, content: object, status: int = 200) -> Response:
        """`answer` for plain functions."""
        response = _response(content, status)
        if not store_in_sync(tx, self.digest, self.owner, stored(response, self.limit)):
            raise KeyRefused("key_lease_lost")
        self.answered = True
        return response


def _response(content: object, status: int) -> Response:
    response = content if isinstance(content, Response) else JSONResponse(jsonable_encoder(content), status)
    if not hasattr(response, "body"):
        raise HandlerError("answer: a response that streams cannot be stored")
    return response
