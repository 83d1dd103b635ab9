"""Mercado Pago: of a callback only the payment's id is signed; the payment itself is fetched."""

import re
from typing import ClassVar, Final

from receiver.confirmations.api import Api
from receiver.confirmations.pack import Options, Pack
from receiver.errors import ProviderUnclear
from receiver.events import Event
from receiver.handlers import Confirmed, NotConfirmed
from receiver.sources.options import text

_URL: Final = "https://api.mercadopago.com"
_PAYMENT: Final = re.compile(r"[0-9]{1,20}")


class MercadoPagoPack(Pack):
    """`event.confirmed` is the payment as `GET /v1/payments/{id}` has it.

    The notification's own id is not signed: sent again with another one, it would be another event. So each handler
    runs once for each state of a payment that was seen.
    """

    provider: ClassVar[str] = "mercadopago"
    needs: ClassVar[tuple[str, ...]] = ("access_token",)

    def __init__(self, options: Options) -> None:
        """Take token and address."""
        self._api = Api(text(options, "api_url") or _URL)
        self._headers = {"Authorization": f"Bearer {text(options, 'access_token')}"}

    async def __call__(self, event: Event) -> Confirmed:
        """Fetch the payment."""
        if (event.type or "").partition(".")[0] != "payment":
            raise NotConfirmed("only payments can be asked for; for other topics write a confirmation of your own")
        payment_id = event.entity_id or ""
        if not _PAYMENT.fullmatch(payment_id):
            raise NotConfirmed("not the id of a payment")
        payment = await self._api.get(f"/v1/payments/{payment_id}", self._headers)
        if payment is None:
            raise NotConfirmed("Mercado Pago knows no such payment of this account")
        if str(payment.get("id")) != payment_id:
            raise ProviderUnclear("Mercado Pago answered with another payment")
        status = payment.get("status")
        if not isinstance(status, str) or not status:
            raise ProviderUnclear("Mercado Pago answered with a payment that has no status")
        refunded = payment.get("transaction_amount_refunded") or 0
        return Confirmed(data=payment, once=f"{status} {payment.get('status_detail')} {refunded}")

    async def close(self) -> None:
        """Disconnect."""
        await self._api.close()
