"""Razorpay's events. Amounts are in paise; the event's id is sent in a header alone."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import HEADERS, Sample


def _event(event_type: str, **contained: Mapping[str, object]) -> Sample:
    return Sample(
        type=event_type,
        payload={
            HEADERS: {"X-Razorpay-Event-Id": "{id}"},
            "entity": "event",
            "account_id": "acc_made_up",
            "event": event_type,
            "contains": list(contained),
            "payload": {name: {"entity": {"entity": name, **entity}} for name, entity in contained.items()},
            "created_at": "{created}",
        },
    )


def _payment(status: str, **rest: object) -> dict[str, object]:
    return {
        "id": "{entity}",
        "amount": 420000,
        "currency": "INR",
        "status": status,
        "order_id": "order_of_{entity}",
        "method": "upi",
        "captured": status != "failed",
        "created_at": "{created}",
        "notes": {},
        **rest,
    }


_REFUND: Final = {"id": "rfnd_of_{entity}", "payment_id": "{entity}", "amount": 420000, "currency": "INR"}
_DISPUTE: Final = {"id": "disp_of_{entity}", "payment_id": "{entity}", "amount": 420000, "currency": "INR"}

SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _event("payment.captured", payment=_payment("captured")),
    "failed": _event("payment.failed", payment=_payment("failed", error_code="BAD_REQUEST_ERROR")),
    "refunded": _event("refund.processed", refund={**_REFUND, "status": "processed"}, payment=_payment("refunded")),
    "disputed": _event("payment.dispute.created", payment=_payment("captured"), dispute={**_DISPUTE, "status": "open"}),
    "renewed": _event(
        "subscription.charged",
        subscription={"id": "sub_of_{entity}", "status": "active", "paid_count": 2},
        payment=_payment("captured"),
    ),
}
