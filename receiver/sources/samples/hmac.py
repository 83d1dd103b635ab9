"""Events for the generic provider. A source reads them where its settings say: see `Hmac.sign`."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _event(event_type: str, status: str, **rest: object) -> Sample:
    return Sample(
        type=event_type,
        payload={
            "id": "{id}",
            "type": event_type,
            "created_at": "{created}",
            "data": {"id": "{entity}", "status": status, "amount": 4200, "currency": "EUR", **rest},
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _event("payment.succeeded", "succeeded"),
    "failed": _event("payment.failed", "failed", failure="insufficient_funds"),
    "refunded": _event("payment.refunded", "refunded", refunded_amount=4200),
    "disputed": _event("payment.disputed", "disputed", reason="product_not_received"),
    "renewed": _event("subscription.renewed", "active", period="2026-11"),
}
