"""The ASGI door: `POST /callbacks/{source}`, with a token or without, in front of whatever serves the rest.

Works under any server and mounted in another application. The receiver's own server uses it for what is not on the
fast path of `protocol`, such as the GET by which some providers ask whether this is the right address.
"""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.errors import ClientGone, ReceiverError
from receiver.ingress.answers import Answer, failure, send_answer
from receiver.ingress.body import read_body
from receiver.ingress.intake import PREFIX, Intake
from receiver.sources import Source


class Callbacks:
    """ASGI application that takes callbacks and passes every other request on.

    Args:
        inner: gets what is no callback.
        intake: gets the callbacks.
        body_deadline: seconds in which a body must have arrived.
    """

    def __init__(self, inner: ASGIApp, *, intake: Intake, body_deadline: float) -> None:
        self._inner = inner
        self._intake = intake
        self._body_deadline = body_deadline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a callback, or pass the request on."""
        path: str = scope.get("path", "")
        root: str = scope.get("root_path", "")
        if root and path.startswith(root):  # mounted in another application
            path = path[len(root) :]
        if scope["type"] != "http" or not path.startswith(PREFIX):
            await self._inner(scope, receive, send)
            return
        named = path[len(PREFIX) :]
        source, token = self._intake.sources.get(named), None
        if source is None:
            source, token = self._intake.locked(named) or (None, None)
        if source is None:
            await send_answer(send, failure("source_unknown", None))
        elif scope["method"] == "POST":
            await send_answer(send, await self._answer(source, token, scope, receive))
        else:
            answer = self._intake.challenged(source, _query(scope)) if scope["method"] == "GET" else None
            await send_answer(send, answer or failure("method_not_allowed", source))

    async def _answer(self, source: Source, token: str | None, scope: Scope, receive: Receive) -> Answer:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        problem = self._intake.framing_problem(dict(headers))
        if problem is not None:
            return self._intake.refused(source, problem)
        try:
            body = await read_body(receive, self._intake.body_limit, self._body_deadline)
        except ClientGone as error:
            return failure(error.reason, source)
        except ReceiverError as error:
            return self._intake.refused(source, error)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        # A client that goes away cancels nothing: the commit is under way, and the answer is simply not heard.
        self._intake.take(source, headers, body, _query(scope), lambda made: _set(answer, made), token=token)
        return await answer


def _query(scope: Scope) -> bytes:
    query: bytes = scope.get("query_string", b"")
    return query


def _set(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)
