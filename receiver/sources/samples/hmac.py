"""Messages in a shape of our own, for senders whose shape only the settings know."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _message(event_type: str, status: str) -> Sample:
    return Sample(
        type=event_type,
        payload={
            "id": "{id}",
            "type": event_type,
            "created_at": "{utc}",
            "data": {"id": "{entity}", "status": status, "amount": 4200, "currency": "EUR"},
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _message("payment.paid", "paid"),
    "failed": _message("payment.failed", "failed"),
    "refunded": _message("payment.refunded", "refunded"),
    "disputed": _message("payment.disputed", "disputed"),
    "renewed": _message("subscription.renewed", "active"),
}
