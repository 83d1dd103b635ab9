"""Coinbase Commerce's events: the charge as it was at the event."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _event(event_type: str, status: str) -> Sample:
    return Sample(
        type=event_type,
        payload={
            "id": "delivery_of_{id}",
            "scheduled_for": "{utc}",
            "attempt_number": 1,
            "event": {
                "id": "{id}",
                "type": event_type,
                "api_version": "2018-03-22",
                "created_at": "{utc}",
                "data": {
                    "code": "{entity}",
                    "name": "Two of the blue ones",
                    "created_at": "{utc}",
                    "pricing": {"local": {"amount": "42.00", "currency": "EUR"}},
                    "timeline": [{"time": "{utc}", "status": status}],
                    "metadata": {"order": "{entity}"},
                },
            },
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "created": _event("charge:created", "NEW"),
    "pending": _event("charge:pending", "PENDING"),
    "paid": _event("charge:confirmed", "COMPLETED"),
    "failed": _event("charge:failed", "EXPIRED"),
    "late": _event("charge:delayed", "UNRESOLVED"),
}
