"""Messages as the specification shapes them: type, time, data. The id is sent in a header and repeated here."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _message(event_type: str, status: str, rest: Mapping[str, object]) -> Sample:
    return Sample(
        type=event_type,
        payload={
            "id": "{id}",
            "type": event_type,
            "timestamp": "{utc}",
            "data": {"id": "{entity}", "status": status, "amount": 4200, "currency": "EUR", **rest},
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _message("payment.succeeded", "succeeded", {"method": "card"}),
    "failed": _message("payment.failed", "failed", {"method": "card", "failure": "insufficient_funds"}),
    "refunded": _message("payment.refunded", "refunded", {"refunded_amount": 4200}),
    "disputed": _message("payment.disputed", "disputed", {"dispute_reason": "product_not_received"}),
    "renewed": _message("subscription.renewed", "active", {"period": "2026-11"}),
}
