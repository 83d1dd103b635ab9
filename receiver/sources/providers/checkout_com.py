"""Checkout.com: `Cko-Signature`, an HMAC-SHA256 of the raw body in hexadecimal."""

import datetime as dt
from typing import ClassVar

from receiver.sources.base import About, Ack
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.samples.checkout_com import SAMPLES


class CheckoutCom(HmacProvider):
    """One webhook action of a Checkout.com workflow."""

    name: ClassVar[str] = "checkout_com"
    title: ClassVar[str] = "Checkout.com"
    signature_header = b"cko-signature"
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", signature_header})
    # 5, 10, 15, 30 minutes, 1, 4 and twice 12 hours.
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(hours=30)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=10)
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        id=("id",),
        type=("type",),
        entities=(("data", "id"), ("data", "payment_id")),
        occurred_at=("created_on",),
    )
    about = About(
        signed="The raw body, by HMAC-SHA256 under the signature key of the workflow's webhook action, in hexadecimal.",
        resends="The event's `id`. Whether every resend has the same bytes and the same `created_on` is not "
        "documented, so the key holds neither.",
        key="`id`, which is that of the event and not of the sending.",
        retries="After 5, 10, 15 and 30 minutes, then 1, 4, 12 and 12 hours; at least once, in no order.",
        sources=(
            "https://www.checkout.com/docs/developer-resources/event-notifications/receive-webhooks.md",
            "https://www.checkout.com/docs/workflows/retrigger-events",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "evt_{unique}"
