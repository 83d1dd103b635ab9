"""Wise's events about transfers and balances. There is no event id."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import HEADERS, Sample


def _event(event_type: str, kind: str, **data: object) -> Sample:
    return Sample(
        type=event_type,
        payload={
            HEADERS: {"X-Delivery-Id": "delivery-of-{entity}"},
            "data": {"resource": {"type": kind, "id": "{entity}", "profile_id": 1}, "occurred_at": "{utc}", **data},
            "subscription_id": "made-up-subscription",
            "event_type": event_type,
            "schema_version": "2.0.0",
            "sent_at": "{utc}",
        },
    )


def _transfer(now: str, before: str) -> Sample:
    return _event("transfers#state-change", "transfer", current_state=now, previous_state=before)


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _transfer("outgoing_payment_sent", "funds_converted"),
    "failed": _transfer("cancelled", "incoming_payment_waiting"),
    "refunded": _transfer("funds_refunded", "outgoing_payment_sent"),
    "disputed": _event("transfers#active-cases", "transfer", active_cases=["deposit_amount_less_invoice"]),
    "credited": _event("balances#credit", "balance-account", amount=42.0, currency="EUR", transaction_type="credit"),
}
