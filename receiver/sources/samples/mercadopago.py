"""Mercado Pago's webhooks: they name what has changed, and say little more."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _event(action: str, kind: str) -> Sample:
    return Sample(
        type=action,
        payload={
            "id": "{id}",
            "live_mode": False,
            "type": kind,
            "date_created": "{utc}",
            "user_id": 1,
            "api_version": "v1",
            "action": action,
            "data": {"id": "{entity}"},
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "created": _event("payment.created", "payment"),
    "paid": _event("payment.updated", "payment"),
    "ordered": _event("order.updated", "order"),
    "disputed": _event("chargebacks.created", "topic_chargebacks_wh"),
    "renewed": _event("subscription_authorized_payment.created", "subscription_authorized_payment"),
}
