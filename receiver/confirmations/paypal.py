"""PayPal: the signature covers a checksum alone; PayPal says whether it made it, and what its event really holds."""

import asyncio
import json
import re
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from receiver.confirmations.api import Api
from receiver.confirmations.pack import Options, Pack
from receiver.errors import ProviderUnclear
from receiver.events import Event, parse_exactly
from receiver.handlers import Confirmed, NotConfirmed
from receiver.sources.documents import member
from receiver.sources.options import text, texts

_URL: Final = "https://api-m.paypal.com"
_EVENT: Final = re.compile(r"[A-Za-z0-9-]{1,100}")
_EARLY_SECONDS: Final = 60.0
"""Before its end a token is replaced: it must not run out on its way."""
_HEADERS: Final = {
    "auth_algo": "paypal-auth-algo",
    "cert_url": "paypal-cert-url",
    "transmission_id": "paypal-transmission-id",
    "transmission_sig": "paypal-transmission-sig",
    "transmission_time": "paypal-transmission-time",
}
_ENTITIES: Final = (("resource", "id"), ("resource", "dispute_id"))


class PayPalPack(Pack):
    """`event.confirmed` is the event as PayPal keeps it: its amounts count, and not those of `event.data`.

    First `POST /v1/notifications/verify-webhook-signature`. That cannot tell another body with the same checksum; so
    then `GET /v1/notifications/webhooks-events/{id}`, whose type and resource must be the callback's.

    Args:
        options: the source's settings.
        clock: seconds, monotonic, by which a token runs out.
    """

    provider: ClassVar[str] = "paypal"
    needs: ClassVar[tuple[str, ...]] = ("client_id", "client_secret", "webhook_id")

    def __init__(self, options: Options, clock: Callable[[], float] = time.monotonic) -> None:
        """Take credentials and address."""
        self._api = Api(text(options, "api_url") or _URL)
        self._webhooks = texts(options, "webhook_id")
        pair = f"{text(options, 'client_id')}:{text(options, 'client_secret')}"
        self._basic = f"Basic {b64encode(pair.encode()).decode()}"
        self._clock = clock
        self._bearer: str | None = None
        self._until = 0.0
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self, event: Event) -> Confirmed:
        """Ask twice."""
        try:
            sent = parse_exactly(event.body)
        except ValueError:
            raise NotConfirmed("the body cannot be read") from None
        if not _EVENT.fullmatch(event.external_id):
            raise NotConfirmed("not the id of an event")
        headers = {"Authorization": await self._token(), "Content-Type": "application/json"}
        try:
            await self._check_signature(event, headers)
            kept = await self._api.get(f"/v1/notifications/webhooks-events/{event.external_id}", headers)
        except ProviderUnclear:
            self._until = 0.0  # the token may have been taken back
            raise
        if kept is None:
            raise NotConfirmed("PayPal knows no such event of this application")
        if kept.get("id") != event.external_id:
            raise ProviderUnclear("PayPal answered with another event")
        if _essence(kept) != _essence(sent):
            raise NotConfirmed("PayPal keeps another type or resource under this id")
        return Confirmed(data=kept)

    async def close(self) -> None:
        """Disconnect."""
        await self._api.close()

    async def _check_signature(self, event: Event, headers: Mapping[str, str]) -> None:
        said = {name: event.headers.get(header, "") for name, header in _HEADERS.items()}
        for webhook in self._webhooks:
            # The body goes as it came: written anew, it would have another checksum.
            asked = json.dumps({**said, "webhook_id": webhook}).encode()[:-1]
            body = asked + b', "webhook_event": ' + event.body + b"}"
            answer = await self._api.post("/v1/notifications/verify-webhook-signature", headers, body)
            status = (answer or {}).get("verification_status")
            if status == "SUCCESS":
                return
            if status != "FAILURE":
                raise ProviderUnclear("PayPal said neither SUCCESS nor FAILURE")
        raise NotConfirmed("PayPal did not make this signature")

    async def _token(self) -> str:
        async with self._one_at_a_time:
            if self._bearer is None or self._clock() >= self._until:
                self._bearer = await self._fresh_token()
            return self._bearer

    async def _fresh_token(self) -> str:
        headers = {"Authorization": self._basic, "Content-Type": "application/x-www-form-urlencoded"}
        answer = await self._api.post("/v1/oauth2/token", headers, b"grant_type=client_credentials") or {}
        token, seconds = answer.get("access_token"), answer.get("expires_in")
        if not isinstance(token, str) or not token.isascii() or not isinstance(seconds, int):
            raise ProviderUnclear("PayPal answered with no token")
        self._until = self._clock() + seconds - _EARLY_SECONDS
        return f"Bearer {token}"


def _essence(event: object) -> tuple[object, ...]:
    """What a handler goes by: the type, and which thing it is about."""
    return (member(event, "event_type"), *(member(event, *path) for path in _ENTITIES))
