"""Stripe's events, snapshot and thin."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import Sample


def _snapshot(event_type: str, thing: Mapping[str, object]) -> Sample:
    return Sample(
        type=event_type,
        payload={
            "id": "{id}",
            "object": "event",
            "api_version": "2025-06-30.basil",
            "created": "{created}",
            "data": {"object": {"id": "{entity}", **thing}},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": event_type,
        },
    )


def _intent(status: str, received: int, error: Mapping[str, str] | None = None) -> dict[str, object]:
    return {
        "object": "payment_intent",
        "amount": 4200,
        "amount_capturable": 0,
        "amount_received": received,
        "automatic_payment_methods": {"allow_redirects": "always", "enabled": True},
        "canceled_at": None,
        "capture_method": "automatic_async",
        "confirmation_method": "automatic",
        "created": "{created}",
        "currency": "eur",
        "customer": None,
        "description": "Two of the blue ones",
        "last_payment_error": error,
        "livemode": False,
        "metadata": {"order": "{entity}"},
        "payment_method_types": ["card", "sepa_debit"],
        "receipt_email": None,
        "shipping": None,
        "status": status,
        "transfer_group": None,
    }


def _charge(refunded: int) -> dict[str, object]:
    return {
        "object": "charge",
        "amount": 4200,
        "amount_captured": 4200,
        "amount_refunded": refunded,
        "captured": True,
        "created": "{created}",
        "currency": "eur",
        "livemode": False,
        "metadata": {"order": "{entity}"},
        "paid": True,
        "refunded": refunded > 0,
        "status": "succeeded",
    }


_DECLINED: Final = {
    "code": "card_declined",
    "decline_code": "insufficient_funds",
    "message": "Your card has insufficient funds.",
    "type": "card_error",
}
_DISPUTE: Final = {
    "object": "dispute",
    "amount": 4200,
    "charge": "ch_of_{entity}",
    "created": "{created}",
    "currency": "eur",
    "evidence_details": {"due_by": None, "has_evidence": False, "submission_count": 0},
    "is_charge_refundable": False,
    "livemode": False,
    "metadata": {},
    "reason": "product_not_received",
    "status": "needs_response",
}
_RENEWAL: Final = {
    "object": "invoice",
    "amount_due": 4200,
    "amount_paid": 4200,
    "billing_reason": "subscription_cycle",
    "created": "{created}",
    "currency": "eur",
    "livemode": False,
    "metadata": {},
    "parent": {"type": "subscription_details", "subscription_details": {"subscription": "sub_of_{entity}"}},
    "status": "paid",
}

SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _snapshot("payment_intent.succeeded", _intent("succeeded", 4200)),
    "failed": _snapshot("payment_intent.payment_failed", _intent("requires_payment_method", 0, _DECLINED)),
    "refunded": _snapshot("charge.refunded", _charge(4200)),
    "disputed": _snapshot("charge.dispute.created", _DISPUTE),
    "renewed": _snapshot("invoice.paid", _RENEWAL),
    "thin": Sample(
        type="v1.billing.meter.error_report_triggered",
        payload={
            "id": "{id}",
            "object": "v2.core.event",
            "type": "v1.billing.meter.error_report_triggered",
            "livemode": False,
            "created": "{utc}",
            "related_object": {
                "id": "{entity}",
                "type": "billing.meter",
                "url": "/v1/billing/meters/{entity}",
            },
        },
    ),
}
