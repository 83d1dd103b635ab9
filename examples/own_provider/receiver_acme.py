"""Acme Pay: `Acme-Signature`, an HMAC-SHA256 over the time in `Acme-Time`, a point and the raw body."""

import datetime as dt
from collections.abc import Mapping
from typing import ClassVar

from receiver.providers import About, Ack, HmacProvider, Layout, Sample, VerificationError, signatures, times


def _event(event_type: str, status: str) -> Sample:
    return Sample(
        type=event_type,
        payload={
            "id": "{id}",
            "event": event_type,
            "created": "{created}",
            "payment": {"id": "{entity}", "status": status, "amount": 4200, "currency": "EUR"},
        },
    )


class AcmePay(HmacProvider):
    """One webhook of an Acme Pay account."""

    name: ClassVar[str] = "acme"
    title: ClassVar[str] = "Acme Pay"
    signature_header = b"acme-signature"
    timestamp_header = b"acme-time"
    other_headers = frozenset({timestamp_header})
    time_window = dt.timedelta(minutes=5)
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", signature_header, timestamp_header})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=2)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=10)
    success: ClassVar[Ack] = Ack(status=204)
    layout = Layout(
        id=("id",),
        type=("event",),
        entities=(("payment", "id"),),
        occurred_at=("created",),
        reading=times.from_unix,
        keyed=True,
        whole=True,
    )
    about = About(
        signed="The time in `Acme-Time` and the raw body, by HMAC-SHA256, in hexadecimal.",
        resends="The body stays the same; the time, and with it the signature, is that of the sending.",
        key="`id`.",
        retries="Hourly, for two days.",
        sources=("https://acme.example/docs/webhooks",),
    )
    samples: ClassVar[Mapping[str, Sample]] = {
        "paid": _event("payment.paid", "paid"),
        "failed": _event("payment.failed", "failed"),
        "refunded": _event("payment.refunded", "refunded"),
    }
    id_form: ClassVar[str] = "acme_{unique}"

    def check_time(self, found: Mapping[bytes, bytes], now: float) -> None:
        """Five minutes, both ways."""
        sent = signatures.timestamp(_sent(found))
        signatures.within(sent, now, self.time_window.total_seconds())

    def signed_parts(self, body: bytes, found: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
        """Time, point, body."""
        return _sent(found), b".", body

    def sent_beside(self, now: float) -> dict[str, str]:
        """The time, for `receiver send`."""
        return {"Acme-Time": str(int(now))}


def _sent(found: Mapping[bytes, bytes]) -> bytes:
    """The time as it is spelled, since that is what is signed."""
    sent = found.get(AcmePay.timestamp_header)
    if not sent:
        raise VerificationError("timestamp_missing")
    return sent
