"""Square's events: the object as it is after the event stands below `data.object`."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample

_MONEY: Final = {"amount": 4200, "currency": "USD"}


def _event(event_type: str, kind: str, thing: Mapping[str, object], entity: str = "{entity}") -> Sample:
    return Sample(
        type=event_type,
        payload={
            "merchant_id": "MADEUPMERCHANT",
            "type": event_type,
            "event_id": "{id}",
            "created_at": "{utc}",
            "data": {"type": kind, "id": entity, "object": {kind: {"id": entity, "created_at": "{utc}", **thing}}},
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _event("payment.updated", "payment", {"status": "COMPLETED", "amount_money": _MONEY}),
    "failed": _event("payment.updated", "payment", {"status": "FAILED", "amount_money": _MONEY}),
    "refunded": _event(
        "refund.updated",
        "refund",
        {"status": "COMPLETED", "payment_id": "{entity}", "amount_money": _MONEY},
        "refund_of_{entity}",
    ),
    "disputed": _event(
        "dispute.created", "dispute", {"state": "EVIDENCE_REQUIRED", "amount_money": _MONEY}, "dispute_of_{entity}"
    ),
    "renewed": _event("invoice.payment_made", "invoice", {"status": "PAID", "subscription_id": "sub_of_{entity}"}),
}
