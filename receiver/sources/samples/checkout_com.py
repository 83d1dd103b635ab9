"""Checkout.com's events. Amounts are in the currency's smallest unit."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _event(event_type: str, **data: object) -> Sample:
    return Sample(
        type=event_type,
        payload={
            "id": "{id}",
            "type": event_type,
            "version": "1.0.26",
            "created_on": "{utc}",
            "data": {
                "id": "{entity}",
                "action_id": "act_of_{id}",
                "reference": "order-of-{entity}",
                "amount": 4200,
                "currency": "EUR",
                "processed_on": "{utc}",
                **data,
            },
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _event("payment_captured", response_code="10000", response_summary="Approved"),
    "failed": _event("payment_declined", response_code="20051", response_summary="Insufficient Funds"),
    "refunded": _event("payment_refunded", response_code="10000", response_summary="Approved"),
    "disputed": _event(
        "dispute_received", id="dsp_of_{entity}", payment_id="{entity}", category="general", reason_code="10.4"
    ),
    "renewed": _event("payment_approved", payment_type="Recurring", response_code="10000"),
}
