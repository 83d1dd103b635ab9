"""Lemon Squeezy's events: JSON:API objects. Amounts are in cents; there is no event id."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import HEADERS, Sample


def _event(name: str, kind: str, status: str, **attributes: object) -> Sample:
    return Sample(
        type=name,
        payload={
            HEADERS: {"X-Event-Name": name},
            "meta": {"event_name": name, "custom_data": {"order": "{entity}"}, "test_mode": True},
            "data": {
                "type": kind,
                "id": "{entity}",
                "attributes": {
                    "store_id": 1,
                    "status": status,
                    "total": 4200,
                    "currency": "USD",
                    "created_at": "{utc}",
                    "updated_at": "{utc}",
                    **attributes,
                },
            },
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _event("order_created", "orders", "paid", order_number=1),
    "failed": _event("subscription_payment_failed", "subscription-invoices", "pending", subscription_id=1),
    "refunded": _event("order_refunded", "orders", "refunded", refunded=True, refunded_at="{utc}"),
    "renewed": _event("subscription_payment_success", "subscription-invoices", "paid", billing_reason="renewal"),
    "cancelled": _event("subscription_cancelled", "subscriptions", "cancelled", ends_at="{utc}"),
}
