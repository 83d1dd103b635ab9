"""Klarna: `Klarna-Signature`, an HMAC-SHA256 of the raw body in hexadecimal, under the key that a header names."""

import datetime as dt
from typing import ClassVar

from receiver.sources.base import About, Ack
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.samples.klarna import SAMPLES


class Klarna(HmacProvider):
    """The webhooks of one Klarna account."""

    name: ClassVar[str] = "klarna"
    title: ClassVar[str] = "Klarna"
    signature_header = b"klarna-signature"
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", b"klarna-signing-key-id", signature_header})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(hours=24)  # the last of the known tries comes after 21.3 hours
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)  # not documented; a cautious guess
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        id=("metadata", "event_id"),
        type=("metadata", "event_type"),
        entities=(
            ("payload", "payment_request_id"),
            ("payload", "payment_transaction_id"),
            ("payload", "order_id"),
            ("payload", "dispute_id"),
        ),
        occurred_at=("metadata", "occurred_at"),
        keyed=True,
        livemode=("metadata", "live"),
    )
    about = About(
        signed="The raw body, by HMAC-SHA256 under a signing key, in hexadecimal. `Klarna-Signing-Key-Id` names the "
        "key; all that are configured are tried, so the name is not needed.",
        resends="`metadata.event_id` and what the event says.",
        key="`metadata.event_id`.",
        retries="After 10 seconds, 2 and 15 minutes, then 3, 6 and 12 hours.",
        sources=("https://docs.klarna.com/acquirer/klarna/webhooks/setup-your-webhooks/",),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"
