"""Klarna's events: what is common to all stands in `metadata`."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _event(event_type: str, **payload: object) -> Sample:
    return Sample(
        type=event_type,
        payload={
            "metadata": {
                "event_id": "{id}",
                "event_type": event_type,
                "event_version": "v2",
                "occurred_at": "{utc}",
                "subject_account_id": "krn:partner:global:account:test:MADEUP",
                "live": False,
            },
            "payload": payload,
        },
    )


def _request(state: str) -> dict[str, object]:
    return {"payment_request_id": "{entity}", "state": state, "previous_state": "IN_PROGRESS"}


def _transaction(state: str) -> dict[str, object]:
    return {"payment_transaction_id": "{entity}", "state": state, "amount": 4200, "currency": "EUR"}


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _event("payment.transaction.state-change.captured", **_transaction("CAPTURED")),
    "failed": _event("payment.request.state-change.expired", **_request("EXPIRED")),
    "refunded": _event("payment.refund.state-change.refunded", **_transaction("REFUNDED")),
    "disputed": _event("payment.dispute.state-change.open", dispute_id="dispute_of_{entity}", state="OPEN"),
    "authorized": _event("payment.request.state-change.authorized", **_request("AUTHORIZED")),
}
