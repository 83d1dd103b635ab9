"""PayPal's events. Amounts are decimal strings."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _event(event_type: str, resource_type: str, resource: Mapping[str, object]) -> Sample:
    return Sample(
        type=event_type,
        payload={
            "id": "{id}",
            "event_version": "1.0",
            "create_time": "{utc}",
            "resource_type": resource_type,
            "event_type": event_type,
            "summary": "Made up by receiver",
            "resource": resource,
            "links": [],
        },
    )


_AMOUNT: Final = {"currency_code": "EUR", "value": "42.00"}


def _capture(status: str) -> dict[str, object]:
    return {
        "id": "{entity}",
        "status": status,
        "amount": _AMOUNT,
        "final_capture": True,
        "supplementary_data": {"related_ids": {"order_id": "order_of_{entity}"}},
        "create_time": "{utc}",
        "update_time": "{utc}",
    }


_REFUND: Final = {"id": "{entity}", "status": "COMPLETED", "amount": _AMOUNT, "create_time": "{utc}"}
_DISPUTE: Final = {
    "dispute_id": "{entity}",
    "status": "OPEN",
    "reason": "MERCHANDISE_OR_SERVICE_NOT_RECEIVED",
    "dispute_amount": _AMOUNT,
    "disputed_transactions": [{"seller_transaction_id": "capture_of_{entity}"}],
}
_SALE: Final = {
    "id": "{entity}",
    "state": "completed",
    "amount": {"total": "42.00", "currency": "EUR"},
    "billing_agreement_id": "I-OF-{entity}",
    "create_time": "{utc}",
}

SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _event("PAYMENT.CAPTURE.COMPLETED", "capture", _capture("COMPLETED")),
    "failed": _event("PAYMENT.CAPTURE.DENIED", "capture", _capture("DECLINED")),
    "refunded": _event("PAYMENT.CAPTURE.REFUNDED", "refund", _REFUND),
    "disputed": _event("CUSTOMER.DISPUTE.CREATED", "dispute", _DISPUTE),
    "renewed": _event("PAYMENT.SALE.COMPLETED", "sale", _SALE),
}
