"""Toss Payments' events: those about payouts and sellers are signed when they are real, all others are not."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import HEADERS, Sample


def _event(event_type: str, **data: object) -> Sample:
    return Sample(
        type=event_type,
        payload={
            HEADERS: {"tosspayments-webhook-transmission-id": "{id}"},
            "eventType": event_type,
            "createdAt": "{utc}",
            "data": data,
        },
    )


def _deposit(status: str) -> Sample:
    return Sample(
        type="DEPOSIT_CALLBACK",
        payload={
            HEADERS: {"tosspayments-webhook-transmission-id": "{id}"},
            "createdAt": "{utc}",
            "secret": "ps_made_up",
            "status": status,
            "transactionKey": "key-of-{entity}",
            "orderId": "{entity}",
        },
    )


def _payment(status: str) -> Sample:
    return _event("PAYMENT_STATUS_CHANGED", paymentKey="{entity}", orderId="order-of-{entity}", status=status)


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _payment("DONE"),
    "failed": _payment("ABORTED"),
    "refunded": _payment("CANCELED"),
    "paid out": _event("payout.changed", id="{entity}", refPayoutId="payout-of-{entity}", status="COMPLETED"),
    "seller": _event("seller.changed", id="{entity}", refSellerId="seller-of-{entity}", status="APPROVED"),
    "deposited": _deposit("DONE"),
}
