"""Braintree's notifications, as they stand in the XML: a kind, a time and the object itself."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _notification(kind: str, **subject: object) -> Sample:
    return Sample(
        type=kind,
        payload={
            "kind": kind,
            "timestamp": "{utc}",
            "source_merchant_id": "made_up_merchant",
            "subject": subject,
        },
    )


def _transaction(status: str, **rest: object) -> dict[str, object]:
    return {
        "id": "{entity}",
        "status": status,
        "type": "sale",
        "currency_iso_code": "USD",
        "amount": "42.00",
        "order_id": "order_of_{entity}",
        "created_at": "{utc}",
        "updated_at": "{utc}",
        "refund_ids": [],
        **rest,
    }


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _notification("transaction_settled", transaction=_transaction("settled")),
    "failed": _notification("transaction_settlement_declined", transaction=_transaction("settlement_declined")),
    "refunded": _notification(
        "transaction_settled",
        transaction=_transaction("settled", type="credit", refunded_transaction_id="paid_of_{entity}"),
    ),
    "disputed": _notification(
        "dispute_opened",
        dispute={
            "id": "{entity}",
            "kind": "chargeback",
            "status": "open",
            "reason": "fraud",
            "amount_disputed": "42.00",
            "currency_iso_code": "USD",
            "transaction": {"id": "transaction_of_{entity}", "amount": "42.00"},
        },
    ),
    "renewed": _notification(
        "subscription_charged_successfully",
        subscription={
            "id": "{entity}",
            "plan_id": "made_up_plan",
            "status": "Active",
            "price": "42.00",
            "current_billing_cycle": 2,
            "never_expires": True,
            "number_of_billing_cycles": None,
            "transactions": [_transaction("submitted_for_settlement", id="transaction_of_{entity}")],
        },
    ),
}
