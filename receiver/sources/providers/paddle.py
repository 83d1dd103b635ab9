"""Paddle Billing: `Paddle-Signature: ts=…;h1=…[;h1=…]`, an HMAC-SHA256 over time and raw body."""

import datetime as dt
from collections.abc import Mapping
from typing import ClassVar, Final

from receiver.errors import VerificationError
from receiver.sources import signatures
from receiver.sources.base import About, Ack
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.samples.paddle import SAMPLES

TOLERANCE: Final = 5
"""Seconds, both ways, the SDKs' default; exactly that far is still valid."""


class Paddle(HmacProvider):
    """One notification destination of a Paddle account."""

    name: ClassVar[str] = "paddle"
    title: ClassVar[str] = "Paddle"
    signature_header = b"paddle-signature"
    timestamp_item = b"ts="
    time_window = dt.timedelta(seconds=TOLERANCE)
    differs = (("notification_id",),)
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", signature_header})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=3)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        id=("event_id",), type=("event_type",), entities=(("data", "id"),), occurred_at=("occurred_at",), keyed=True
    )
    about = About(
        signed="The time of the sending and the raw body, `ts:body`, by HMAC-SHA256 under the destination's secret "
        "key, in hexadecimal. While a secret is replaced there are several `h1`, and any one may match; other schemes "
        "do not count.",
        resends="`event_id` and `occurred_at` stay the same; `notification_id`, the time and the signature do not.",
        key="`event_id`: `notification_id` is that of the sending.",
        retries="Live: 60 times in 3 days; sandbox: 3 times in 15 minutes. In no order.",
        sources=(
            "https://developer.paddle.com/webhooks/signature-verification",
            "https://developer.paddle.com/webhooks/respond-to-webhooks",
            "paddle-python-sdk, `paddle_billing.Notifications.Verifier`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "evt_{unique}"

    def candidates(self, header: bytes) -> list[bytes]:
        """All `h1`."""
        found = [item[3:] for item in header.split(b";") if item.startswith(b"h1=")]
        if not found:
            raise VerificationError("signature_malformed")
        return found

    def check_time(self, found: Mapping[bytes, bytes], now: float) -> None:
        """Both ways."""
        signatures.within(signatures.timestamp(_sent(found[self.signature_header])), now, TOLERANCE)

    def signed_parts(self, body: bytes, found: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
        """Time, colon, body."""
        return _sent(found[self.signature_header]), b":", body

    def sent_beside(self, now: float) -> dict[str, str]:
        """The time, where `signed_parts` finds it; `written` puts the signature behind it."""
        return {self.signature_header.decode().title(): f"ts={int(now)}"}

    def written(self, signature: bytes, now: float) -> bytes:
        """Time and signature."""
        return b"ts=%d;h1=%b" % (int(now), signature)


def _sent(header: bytes) -> bytes:
    """The time as it is spelled; it must stand there once."""
    times = [item[3:] for item in header.split(b";") if item.startswith(b"ts=")]
    if not times:
        raise VerificationError("timestamp_missing")
    if len(times) > 1:
        raise VerificationError("timestamp_malformed")
    return times[0]
