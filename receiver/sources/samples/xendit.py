"""Xendit's callbacks: invoices, whose type is their status, and newer ones that name their event."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import HEADERS, Sample


def _invoice(status: str, **rest: object) -> Sample:
    return Sample(
        type=status,
        payload={
            HEADERS: {"webhook-id": "{id}"},
            "id": "{entity}",
            "external_id": "order-of-{entity}",
            "status": status,
            "amount": 42000,
            "currency": "IDR",
            "created": "{utc}",
            "updated": "{utc}",
            **rest,
        },
    )


def _event(event: str, status: str) -> Sample:
    return Sample(
        type=event,
        payload={
            HEADERS: {"webhook-id": "{id}"},
            "event": event,
            "business_id": "made-up",
            "created": "{utc}",
            "data": {"id": "{entity}", "status": status, "amount": 42000, "currency": "IDR", "created": "{utc}"},
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _invoice("PAID", paid_at="{utc}", payment_method="BANK_TRANSFER"),
    "expired": _invoice("EXPIRED"),
    "failed": _event("payment.failed", "FAILED"),
    "refunded": _event("refund.succeeded", "SUCCEEDED"),
    "renewed": _event("recurring.cycle.succeeded", "SUCCEEDED"),
}
