"""Mollie's events of the newer webhooks, with what they are about embedded."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _event(event_type: str, status: str, resource: str) -> Sample:
    return Sample(
        type=event_type,
        payload={
            "resource": "event",
            "id": "{id}",
            "type": event_type,
            "entityId": "{entity}",
            "createdAt": "{utc}",
            "_embedded": {
                "entity": {
                    "resource": resource,
                    "id": "{entity}",
                    "status": status,
                    "amount": {"currency": "EUR", "value": "42.00"},
                    "mode": "test",
                }
            },
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _event("payment-link.paid", "paid", "payment-link"),
    "order paid": _event("sales-invoice.paid", "paid", "sales-invoice"),
    "failed": _event("sales-invoice.canceled", "canceled", "sales-invoice"),
    "created": _event("sales-invoice.created", "draft", "sales-invoice"),
    "issued": _event("sales-invoice.issued", "issued", "sales-invoice"),
}
