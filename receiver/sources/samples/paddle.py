"""Paddle's events. Amounts are strings, in the currency's smallest unit."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _event(event_type: str, status: str, **data: object) -> Sample:
    return Sample(
        type=event_type,
        payload={
            "event_id": "{id}",
            "event_type": event_type,
            "occurred_at": "{utc}",
            "notification_id": "ntf_of_{id}",
            "data": {"id": "{entity}", "status": status, "currency_code": "EUR", "created_at": "{utc}", **data},
        },
    )


_TOTALS: Final = {"details": {"totals": {"subtotal": "3529", "tax": "671", "total": "4200"}}}

SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _event("transaction.completed", "completed", origin="web", **_TOTALS),
    "failed": _event("transaction.payment_failed", "past_due", payments=[{"error_code": "declined"}], **_TOTALS),
    "refunded": _event("adjustment.created", "approved", action="refund", totals={"total": "4200"}),
    "disputed": _event("adjustment.created", "approved", action="chargeback", totals={"total": "4200"}),
    "renewed": _event("transaction.paid", "paid", origin="subscription_recurring", **_TOTALS),
}
