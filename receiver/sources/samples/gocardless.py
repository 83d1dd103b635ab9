"""GoCardless' webhooks: a list of events, here of one."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _event(kind: str, action: str, link: str, cause: str) -> Sample:
    return Sample(
        type=f"{kind}.{action}",
        payload={
            "events": [
                {
                    "id": "{id}",
                    "created_at": "{utc}",
                    "resource_type": kind,
                    "action": action,
                    "links": {link: "{entity}"},
                    "details": {"origin": "gocardless", "cause": cause, "description": "Made up."},
                    "metadata": {},
                }
            ],
            "meta": {"webhook_id": "WB_of_{id}"},
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _event("payments", "confirmed", "payment", "payment_confirmed"),
    "failed": _event("payments", "failed", "payment", "insufficient_funds"),
    "refunded": _event("refunds", "created", "refund", "refund_created"),
    "disputed": _event("payments", "charged_back", "payment", "authorisation_disputed"),
    "renewed": _event("subscriptions", "payment_created", "subscription", "payment_created"),
}
