"""Midtrans: `signature_key` in the body, a SHA-512 over order, status code, amount and the server key."""

import datetime as dt
import hashlib
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import ClassVar, Final

import msgspec

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact, Trust
from receiver.sources import documents, keys, new_keys, signatures, times
from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.layout import Layout
from receiver.sources.options import Option
from receiver.sources.samples.midtrans import SAMPLES

_SIGNATURE: Final = "signature_key"
_HEADERS: Final = (("Content-Type", "application/json"),)
_SIGNED: Final = {
    "order_id": re.compile(r".+", re.DOTALL),
    "status_code": re.compile(r"[2-5][0-9]{2}"),
    "gross_amount": re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?"),
}
"""What is signed, one behind the other with nothing between, and how each is spelled: so that few other ways to cut the
same text into three are left."""
_TELLING: Final = (
    *_SIGNED,
    "transaction_id",
    "transaction_status",
    "fraud_status",
    "transaction_time",
    "settlement_time",
    "refund_amount",
    "refunds",
)
"""Members that tell one notification from another and that a resend repeats."""
_JAKARTA: Final = dt.timezone(dt.timedelta(hours=7))

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class Midtrans(Provider):
    """One Midtrans account."""

    name: ClassVar[str] = "midtrans"
    title: ClassVar[str] = "Midtrans"
    trust: ClassVar[Trust] = "partial"
    settings: ClassVar[Mapping[str, Setting]] = {
        "secrets": Setting(help="server keys, newest first; each one verifies", secret=True, many=True, key=True),
    }
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("secrets",),)
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type"})
    # 2, 10, 30, 90 and 210 minutes.
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(hours=6)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)  # it waits 15, and asks for less than 5
    signature_member = (_SIGNATURE,)
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        id=("key",),
        type=("transaction_status",),
        entities=(("transaction_id",), ("order_id",)),
        occurred_at=("transaction_time",),
        reading=lambda value: times.from_iso(value, _JAKARTA),
    )
    about = About(
        signed="`order_id`, `status_code` and `gross_amount` (as they are spelled) with the server key behind them, by "
        "SHA-512, in hexadecimal. It is no HMAC, but the key is long and at the end.",
        unsigned="All else, `transaction_status`, `fraud_status`, `transaction_id` and `refund_amount` among them: who "
        "has seen a notification can make a `capture` into a `settlement`, or a `settlement` into a `refund` or a "
        "`chargeback`: they have one status code. And nothing stands between the three that are signed, so a digit may "
        "be moved from one into the next: order `a-1` of `200200.00` can be told as order `a-1200` of `200.00`. The "
        "trust is `partial`: ask `GET /v2/{order_id}/status` and compare status, order and amount before money moves.",
        resends="All that the notification says. Midtrans promises only that it may come more than once.",
        key="There is no event id. Shown is transaction, status and status code, with the last refund where there is "
        "one; the key is made of these, of what is signed, of the fraud status, the amounts and the times. So a "
        "payment's `capture` and its `settlement`, which have one status code, are two events, two partial refunds "
        "are two, and a forger who does not know the time of settlement cannot take the place of the real one.",
        retries="After 2, 10, 30, 90 and 210 minutes at most, fewer for some statuses; out of order.",
        sources=(
            "https://docs.midtrans.com/docs/https-notification-webhooks",
            "https://docs.midtrans.com/reference/best-practices-to-handle-notification",
            "https://docs.midtrans.com/reference/handle-notifications",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Take the server keys."""
        self._secrets = [secret.encode() for secret in keys.secrets(options, "secrets")]

    @classmethod
    def made_up(cls) -> dict[str, object]:
        """One server key."""
        return {"secrets": ["SB-Mid-server-" + new_keys.secret()]}

    def authenticate(self, callback: Callback, now: float) -> int:
        """Compare `signature_key`."""
        del now
        try:
            document = documents.json_object(callback.body)
        except documents.UnreadableError:
            raise VerificationError("signature_missing") from None
        given = document.get(_SIGNATURE)
        if not isinstance(given, str) or not given:
            raise VerificationError("signature_missing")
        signed = _signed(document)
        if signed is None or not given.isascii():
            raise VerificationError("signature_malformed")
        for index, secret in enumerate(self._secrets):
            if signatures.any_equal([given.encode()], _signature(signed, secret)):
                return index
        raise VerificationError("signature_mismatch")

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event."""
        try:
            document = documents.json_object(callback.body)
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)
        fact = self.layout.fact({**document, "key": _name(document)}, callback.body, callback, self.trust)
        told = (documents.constant(document.get(name)) for name in _TELLING)
        return (msgspec.structs.replace(fact, identity=documents.derived_id(*told)),)

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """With `signature_key` in the body, where that is a JSON object; nothing else can be signed."""
        del now, beside
        if not self._secrets:
            raise SettingsError("secrets: is needed to sign")
        try:
            document = documents.json_object(body)
        except documents.UnreadableError:
            return Signed(headers=_HEADERS, body=body)
        signed = "".join(_spelled(document.get(name)) or "" for name in _SIGNED).encode()
        document[_SIGNATURE] = _signature(signed, self._secrets[0]).decode()
        return Signed(headers=_HEADERS, body=_encode(document))


def _signed(document: Mapping[str, object]) -> bytes | None:
    """The text that is signed, or None if a part of it is not spelled as Midtrans spells it."""
    parts = {name: _spelled(document.get(name)) for name in _SIGNED}
    if not all(part is not None and _SIGNED[name].fullmatch(part) for name, part in parts.items()):
        return None
    return "".join(part for part in parts.values() if part is not None).encode()


def _spelled(value: object) -> str | None:
    """Text as it came; they are strings, but a number is what it is written as, to its last zero."""
    return str(value) if type(value) in {str, int, Decimal} else None


def _signature(signed: bytes, secret: bytes) -> bytes:
    return hashlib.sha512(signed + secret).hexdigest().encode()


def _name(document: Mapping[str, object]) -> object:
    """What operators call the event: transaction, status, status code and, if there is one, the last refund."""
    transaction = document.get("transaction_id")
    if not (isinstance(transaction, str) and transaction):
        return "" if transaction is None else transaction  # missing, or nothing that an event can be called by
    refunds = document.get("refunds")
    last = refunds[-1] if isinstance(refunds, list) and refunds else {}
    refund = documents.member(last, "refund_key") or document.get("refund_amount")
    named = [document.get(name) for name in ("transaction_id", "transaction_status", "status_code")]
    return ":".join(str(part) for part in ([*named, refund] if refund else named))
