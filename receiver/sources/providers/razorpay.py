"""Razorpay: `X-Razorpay-Signature`, an HMAC-SHA256 of the raw body in hexadecimal."""

import datetime as dt
from typing import ClassVar, Final

from receiver.sources import times
from receiver.sources.base import About, Ack
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.samples.razorpay import SAMPLES

_EVENT_ID: Final = b"x-razorpay-event-id"
_OBJECTS: Final = ("payment", "order", "refund", "subscription", "payment_link", "invoice", "dispute", "settlement")
"""Members of `payload`. Several may stand there: what is paid comes before what is paid for."""


class Razorpay(HmacProvider):
    """One webhook of a Razorpay account."""

    name: ClassVar[str] = "razorpay"
    title: ClassVar[str] = "Razorpay"
    signature_header = b"x-razorpay-signature"
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", signature_header, _EVENT_ID})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(hours=24)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        id_header=_EVENT_ID,
        type=("event",),
        entities=tuple(("payload", name, "entity", "id") for name in _OBJECTS),
        occurred_at=("created_at",),
        reading=times.from_unix,
        keyed=True,
        whole=True,
    )
    about = About(
        signed="The raw body, by HMAC-SHA256 under the webhook's secret, in hexadecimal.",
        unsigned="The event's id, which is sent in the header `x-razorpay-event-id` alone.",
        resends="The body and the id stay the same; retries are signed with the secret that the webhook had at first.",
        key="The hash of the body: who sends a captured callback again under another id gets no second event.",
        retries="For 24 hours, ever more seldom; a webhook that fails for so long is switched off.",
        sources=(
            "https://razorpay.com/docs/webhooks/validate-test/",
            "https://razorpay.com/docs/webhooks/best-practices/",
            "razorpay-python, `Utility.verify_webhook_signature`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"
