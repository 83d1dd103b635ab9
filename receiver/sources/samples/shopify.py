"""Shopify's webhooks: the body is the object itself; topic, shop and ids are sent in headers."""

from collections.abc import Mapping
from typing import Final

from receiver.sources.template import HEADERS, Sample


def _webhook(topic: str, **thing: object) -> Sample:
    return Sample(
        type=topic,
        payload={
            HEADERS: {
                "X-Shopify-Topic": topic,
                "X-Shopify-Event-Id": "{id}",
                "X-Shopify-Webhook-Id": "delivery-of-{id}",
                "X-Shopify-Shop-Domain": "made-up.myshopify.com",
                "X-Shopify-API-Version": "2026-01",
            },
            "id": "{entity}",
            "created_at": "{utc}",
            "updated_at": "{utc}",
            "currency": "EUR",
            **thing,
        },
    )


SAMPLES: Final[Mapping[str, Sample]] = {
    "paid": _webhook("orders/paid", financial_status="paid", total_price="42.00", test=False),
    "failed": _webhook("order_transactions/create", kind="sale", status="failure", amount="42.00"),
    "refunded": _webhook("refunds/create", order_id="{entity}", transactions=[{"kind": "refund", "amount": "42.00"}]),
    "disputed": _webhook("disputes/create", order_id="{entity}", type="chargeback", amount="42.00", status="open"),
    "renewed": _webhook("subscription_billing_attempts/success", order_id="{entity}", ready=True),
}
