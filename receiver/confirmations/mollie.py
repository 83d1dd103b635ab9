"""Mollie: a classic callback says an id and nothing else; the payment itself is fetched, with its refunds."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import ClassVar, Final

from receiver.confirmations.api import Api
from receiver.confirmations.pack import Options, Pack
from receiver.errors import ProviderUnclear
from receiver.events import Event
from receiver.handlers import Confirmed, NotConfirmed
from receiver.sources.documents import member
from receiver.sources.options import text

_URL: Final = "https://api.mollie.com"
_PAYMENT: Final = re.compile(r"tr_[A-Za-z0-9]{1,64}")
_PARTS: Final = ("refunds", "chargebacks")
_DIGITS: Final = 16


class MolliePack(Pack):
    """`event.confirmed` is the payment as `GET /v2/payments/{id}` has it; what is signed is not asked for.

    Mollie calls with the same `id` at each change of a payment's state, of its refunds and of its chargebacks. Which
    of them it was, nobody says; so each handler runs once for each state that was seen.
    """

    provider: ClassVar[str] = "mollie"
    needs: ClassVar[tuple[str, ...]] = ("api_key",)

    def __init__(self, options: Options) -> None:
        """Take key and address."""
        self._api = Api(text(options, "api_url") or _URL)
        self._headers = {"Authorization": f"Bearer {text(options, 'api_key')}"}

    async def __call__(self, event: Event) -> Confirmed:
        """Fetch the payment."""
        if event.trust == "signed":
            return Confirmed()
        payment_id = event.entity_id or ""
        if not _PAYMENT.fullmatch(payment_id):
            raise NotConfirmed("not the id of a payment (tr_…), and nothing else can be asked for")
        payment = await self._api.get(f"/v2/payments/{payment_id}?embed={','.join(_PARTS)}", self._headers)
        if payment is None:
            raise NotConfirmed("Mollie knows no such payment under this API key")
        if payment.get("id") != payment_id:
            raise ProviderUnclear("Mollie answered with another payment")
        return Confirmed(data=payment, once=_state(payment))

    async def close(self) -> None:
        """Disconnect."""
        await self._api.close()


def _state(payment: Mapping[str, object]) -> str:
    """What tells two states of a payment apart: its own, and those of what was paid back."""
    status = payment.get("status")
    if not isinstance(status, str) or not status:
        raise ProviderUnclear("Mollie answered with a payment that has no status")
    parts = [[kind, *_told(part)] for kind in _PARTS for part in _embedded(payment, kind)]
    if not parts:
        return status
    digest = hashlib.sha256(json.dumps(sorted(parts)).encode()).hexdigest()
    return f"{status} {digest[:_DIGITS]}"


def _embedded(payment: Mapping[str, object], kind: str) -> list[object]:
    found = member(payment, "_embedded", kind)
    return found if isinstance(found, list) else []


def _told(part: object) -> list[str]:
    """A refund's id and state; a chargeback has none but whether it was taken back."""
    return [str(member(part, name)) for name in ("id", "status", "reversedAt")]
