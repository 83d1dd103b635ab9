"""GoCardless: `Webhook-Signature`, an HMAC-SHA256 of the raw body in hexadecimal; a body holds up to 250 events."""

import datetime as dt
from typing import ClassVar, Final

from receiver.events import Callback, Fact
from receiver.sources import batches, documents
from receiver.sources.base import About, Ack
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.samples.gocardless import SAMPLES

# What an event is about is linked under the name of its kind; what it is for stands beside it.
_LINKS: Final = ("payment", "refund", "mandate", "subscription", "payout", "billing_request", "creditor", "customer")


class GoCardless(HmacProvider):
    """One webhook endpoint of a GoCardless account."""

    name: ClassVar[str] = "gocardless"
    title: ClassVar[str] = "GoCardless"
    signature_header = b"webhook-signature"
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", signature_header})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=2)  # eight tries; the last intervals are not documented
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=10)
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        id=("id",),
        type=("type",),
        entities=tuple(("links", name) for name in _LINKS),
        occurred_at=("created_at",),
        keyed=True,
    )
    about = About(
        signed="The raw body with all its events, by HMAC-SHA256 under the endpoint's secret, in hexadecimal. What is "
        "stored of an event is its own part of the body, so its signature cannot be checked again later.",
        resends="The events stay the same; they may come with others. `meta.webhook_id` is that of the sending.",
        key="The event's `id`. The type is `resource_type.action`, such as `payments.confirmed`.",
        retries="8 times, after 1, 2 and 10 minutes and longer; out of order.",
        sources=(
            "https://developer.gocardless.com/api-reference/#appendix-webhooks",
            "gocardless_pro, `gocardless_pro.webhooks.parse`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "EV{unique}"

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event for each item."""
        try:
            return tuple(self._fact(item, callback) for item in batches.items(callback.body, "events"))
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)

    def _fact(self, item: bytes, callback: Callback) -> Fact:
        document = documents.json_object(item)
        kind, action = document.get("resource_type"), document.get("action")
        typed = {**document, "type": f"{kind}.{action}" if kind and action else None}
        return self.layout.fact(typed, item, callback)
