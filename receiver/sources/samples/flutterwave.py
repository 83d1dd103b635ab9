"""Flutterwave's events, in the shape of v4. It has an id, of which nobody knows whether a resend keeps it."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _event(event_type: str, status: str, **data: object) -> Sample:
    return Sample(
        type=event_type,
        payload={
            "webhook_id": "wbk_{id}",
            "timestamp": "{created_ms}",
            "type": event_type,
            "data": {
                "id": "{entity}",
                "amount": 42000,
                "currency": "NGN",
                "status": status,
                "reference": "order-of-{entity}",
                "created_datetime": "{utc}",
                **data,
            },
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _event("charge.completed", "succeeded"),
    "failed": _event("charge.failed", "failed", processor_response={"type": "insufficient_funds"}),
    "refunded": _event("refund.completed", "succeeded", charge_id="{entity}"),
    "disputed": _event("chargeback.initiated", "initiated", charge_id="{entity}"),
    "paid out": _event("transfer.completed", "succeeded"),
}
