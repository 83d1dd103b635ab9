"""Flutterwave's events, in the shape of v4. There is no event id."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _event(event_type: str, status: str, **data: object) -> Sample:
    return Sample(
        type=event_type,
        payload={
            "type": event_type,
            "timestamp": "{created}",
            "data": {
                "id": "{entity}",
                "amount": 42000,
                "currency": "NGN",
                "status": status,
                "reference": "order-of-{entity}",
                "created_at": "{utc}",
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
