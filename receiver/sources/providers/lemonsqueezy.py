"""Lemon Squeezy: `X-Signature`, an HMAC-SHA256 of the raw body in hexadecimal."""

import datetime as dt
from typing import ClassVar

from receiver.sources.base import About, Ack
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.samples.lemonsqueezy import SAMPLES


class LemonSqueezy(HmacProvider):
    """One webhook of a Lemon Squeezy store."""

    name: ClassVar[str] = "lemonsqueezy"
    title: ClassVar[str] = "Lemon Squeezy"
    signature_header = b"x-signature"
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", b"x-event-name", signature_header})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(hours=1)  # three more tries within minutes
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)  # not documented; a cautious guess
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        parts=(
            ("meta", "event_name"),
            ("data", "type"),
            ("data", "id"),
            ("data", "attributes", "updated_at"),
            ("data", "attributes", "status"),
        ),
        type=("meta", "event_name"),
        entities=(("data", "id"),),
        occurred_at=("data", "attributes", "updated_at"),
    )
    about = About(
        signed="The raw body, by HMAC-SHA256 under the webhook's signing secret, in hexadecimal.",
        unsigned="The header `X-Event-Name`. It is not read: the body says the same in `meta.event_name`.",
        resends="All members of `data`, as it was when the event happened.",
        key="There is no event id: `meta.event_name`, type, id, `updated_at` and status of the object together.",
        retries="Three more times, after 5, 25 and 125 seconds. Then only its dashboard sends again.",
        sources=("https://docs.lemonsqueezy.com/help/webhooks/signing-requests",),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"
