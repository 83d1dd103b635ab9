"""Paystack: `x-paystack-signature`, an HMAC-SHA512 of the raw body in hexadecimal, under the secret API key."""

import datetime as dt
from collections.abc import Mapping
from typing import ClassVar, Final

from receiver.sources.base import About, Ack, Setting
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.samples.paystack import SAMPLES

_IDS: Final = (
    "reference",
    "transaction_reference",
    "transfer_code",
    "invoice_code",
    "subscription_code",
    "refund_reference",
    "id",
)
"""Members of `data` that name what an event is about; which of them are there depends on the event."""
_STATES: Final = ("status", "paid", "paid_at", "updatedAt", "updated_at", "resolution")
"""Those that tell two events about one thing apart."""


class Paystack(HmacProvider):
    """One Paystack account."""

    name: ClassVar[str] = "paystack"
    title: ClassVar[str] = "Paystack"
    signature_header = b"x-paystack-signature"
    algorithm = "sha512"
    settings: ClassVar[Mapping[str, Setting]] = {
        "secrets": Setting(
            help="secret API keys, sk_live_… or sk_test_…, newest first; each one verifies",
            secret=True,
            many=True,
            key=True,
        ),
    }
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", signature_header})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(hours=73)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)  # not documented; a cautious guess
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        parts=(("event",), *(("data", name) for name in (*_IDS, *_STATES))),
        type=("event",),
        entities=tuple(("data", name) for name in _IDS),
        occurred_at=("data", "paid_at"),
    )
    about = About(
        signed="The raw body, by HMAC-SHA512 under the account's secret API key, in hexadecimal.",
        resends="The members that name the thing and its state. Whether the bytes stay the same is not documented.",
        key="There is no event id: event, reference (or the other names that `data` has) and state together. A payment "
        "and its refund differ in the event, two updates of one invoice in its state.",
        retries="Live: every 3 minutes four times, then hourly for 72 hours; test: hourly for 72 hours.",
        sources=("https://paystack.com/docs/payments/webhooks/",),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"
