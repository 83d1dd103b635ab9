"""Toss Payments: of two kinds of event the body and time are signed; all other events are not signed at all."""

import datetime as dt
from collections.abc import Mapping
from typing import ClassVar, Final

from receiver.errors import VerificationError
from receiver.events import Callback, Fact, Trust
from receiver.sources import documents, signatures, times
from receiver.sources.base import About, Ack
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.samples.toss import SAMPLES
from receiver.sources.template import HEADERS

_TIME: Final = b"tosspayments-webhook-transmission-time"
_ID: Final = b"tosspayments-webhook-transmission-id"
_SEOUL: Final = dt.timezone(dt.timedelta(hours=9))
_DEPOSIT: Final = "DEPOSIT_CALLBACK"


def _time(value: object) -> dt.datetime | None:
    """Written without an offset, and meant in Seoul."""
    return times.from_iso(value, _SEOUL)


class Toss(HmacProvider):
    """The webhooks of one Toss Payments shop."""

    name: ClassVar[str] = "toss"
    title: ClassVar[str] = "Toss Payments"
    trust: ClassVar[Trust] = "none"
    at_best: ClassVar[Trust] = "signed"
    signature_header = b"tosspayments-webhook-signature"
    timestamp_header = _TIME
    differs = ((HEADERS, _ID.decode()),)
    encoding = "base64"
    other_headers = frozenset({_TIME})
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", _TIME, _ID, signature_header})
    # 1, 4, 16, 64, 256, 1024 and 4096 minutes.
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=4)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=10)
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        id_header=_ID,
        parts=(("eventType",), ("createdAt",), ("data",)),
        type=("eventType",),
        entities=(
            ("data", "paymentKey"),
            ("data", "id"),
            ("data", "orderId"),
            ("data", "billingKey"),
            ("data", "customerKey"),
        ),
        occurred_at=("createdAt",),
        reading=_time,
    )
    deposits = Layout(
        id_header=_ID,
        parts=(("transactionKey",), ("orderId",), ("status",), ("secret",), ("createdAt",)),
        type=("eventType",),
        entities=(("orderId",),),
        occurred_at=("createdAt",),
        reading=_time,
    )
    """Of deposits to a virtual account: one flat object, which does not say what kind of event it is."""
    about = About(
        signed="Of `payout.changed` and `seller.changed` the raw body and the time of transmission, by HMAC-SHA256 "
        "under the security key, in base64 behind `v1:`; there are two values while the key is replaced, and any one "
        "may match.",
        unsigned="All other events, those about payments among them: anybody can write them, with any payment, amount "
        "and state. A source with a security key refuses them. A source that is to take them must say "
        '`verification = "none"`, and then their trust is `none`: fetch `paymentKey` (or `orderId`) by the API and go '
        "by what that says. A `DEPOSIT_CALLBACK` holds the `secret` of its payment, which only you and Toss know: "
        "compare it, and still fetch the payment.",
        resends="Event type, `createdAt` and `data`; the time of transmission and the count of retries are those of "
        "the sending. Whether the transmission's id stays is not documented, so nothing depends on it.",
        key="Event type, `createdAt` and the whole of `data` together: the same state may be reached twice, at two "
        "times. The transmission's id is shown as the external id where it is sent; it is not signed.",
        retries="7 times: after 1, 4, 16, 64, 256, 1,024 and 4,096 minutes.",
        sources=(
            "https://docs.tosspayments.com/guides/v2/webhook",
            "https://docs.tosspayments.com/guides/learn/virtual-account-webhook",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "wtx-{unique}"

    def candidates(self, header: bytes) -> list[bytes]:
        """All `v1:`."""
        found = [item.strip()[3:] for item in header.split(b",") if item.strip().startswith(b"v1:")]
        if not found:
            raise VerificationError("signature_malformed")
        return found

    def signed_parts(self, body: bytes, found: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
        """Body, colon, time as it is spelled."""
        if not found.get(_TIME):
            raise VerificationError("timestamp_missing")
        return body, b":", found[_TIME]

    def sent_beside(self, now: float) -> dict[str, str]:
        """The time of the transmission, in Seoul."""
        sent = dt.datetime.fromtimestamp(int(now), _SEOUL).isoformat()
        return {_TIME.decode(): sent, "tosspayments-webhook-transmission-retried-count": "0"}

    def written(self, signature: bytes, now: float) -> bytes:
        """As it is sent."""
        del now
        return b"v1:" + signature

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event; without a signature nothing vouches for it."""
        trust: Trust = "signed" if signatures.first(callback, self.signature_header) else "none"
        try:
            document = documents.json_object(callback.body)
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)
        if "eventType" not in document and "transactionKey" in document:
            return (self.deposits.fact({**document, "eventType": _DEPOSIT}, callback.body, callback, trust),)
        return (self.layout.fact(document, callback.body, callback, trust),)
