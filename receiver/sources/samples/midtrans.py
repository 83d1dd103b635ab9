"""Midtrans' notifications. Amounts are strings with two decimals."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _notification(status: str, code: str, **rest: object) -> Sample:
    return Sample(
        type=status,
        payload={
            "transaction_time": "{china_plain}",
            "transaction_status": status,
            "transaction_id": "{entity}",
            "status_message": "midtrans payment notification",
            "status_code": code,
            "payment_type": "credit_card",
            "order_id": "order-of-{entity}",
            "merchant_id": "MADEUP",
            "gross_amount": "420000.00",
            "fraud_status": "accept",
            "currency": "IDR",
            **rest,
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _notification("settlement", "200"),
    "captured": _notification("capture", "200", bank="mandiri"),
    "failed": _notification("deny", "202", fraud_status="deny"),
    "refunded": _notification("refund", "200", refund_amount="420000.00"),
    "refunded in part": _notification(
        "partial_refund",
        "200",
        refund_amount="20000.00",
        refunds=[{"refund_chargeback_id": 1, "refund_amount": "20000.00", "refund_key": "refund-of-{entity}"}],
    ),
    "disputed": _notification("chargeback", "200"),
    "pending": _notification("pending", "201", payment_type="bank_transfer"),
}
