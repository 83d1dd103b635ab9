"""Paystack's events. Amounts are in kobo; there is no event id."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _event(event_type: str, **data: object) -> Sample:
    return Sample(
        type=event_type,
        payload={
            "event": event_type,
            "data": {"id": "9{created}", "domain": "test", "amount": 420000, "currency": "NGN", **data},
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _event("charge.success", reference="{entity}", status="success", paid_at="{utc}", channel="card"),
    "failed": _event("transfer.failed", reference="{entity}", status="failed", transfer_code="TRF_of_{entity}"),
    "refunded": _event("refund.processed", transaction_reference="{entity}", status="processed"),
    "disputed": _event("charge.dispute.create", transaction_reference="{entity}", status="awaiting-merchant-feedback"),
    "renewed": _event(
        "invoice.update", reference="{entity}", invoice_code="INV_of_{entity}", status="success", paid=True
    ),
}
