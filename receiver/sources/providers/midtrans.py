"""Midtrans: `signature_key` in the body, a SHA-512 over order, status code, amount and the server key."""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from typing import ClassVar, Final

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact, Trust
from receiver.sources import documents, keys, new_keys, signatures, times
from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.layout import Layout
from receiver.sources.options import Option
from receiver.sources.samples.midtrans import SAMPLES

_SIGNATURE: Final = "signature_key"
_SIGNED: Final = ("order_id", "status_code", "gross_amount")
_JAKARTA: Final = dt.timezone(dt.timedelta(hours=7))


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
        unsigned="All else, `transaction_status`, `fraud_status` and `transaction_id` among them: who has captured a "
        "notification can make a `capture` a `settlement` of it. Confirm by the API before money moves.",
        resends="All of it, as far as is known.",
        key="There is no event id: transaction, status and status code together. A payment's `capture` and its "
        "`settlement` have one status code.",
        retries="After 2, 10, 30, 90 and 210 minutes at most, fewer for some statuses; out of order.",
        sources=("https://docs.midtrans.com/docs/https-notification-webhooks",),
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
        if not given.isascii():
            raise VerificationError("signature_malformed")
        for index, secret in enumerate(self._secrets):
            if signatures.any_equal([given.encode()], _signature(document, secret)):
                return index
        raise VerificationError("signature_mismatch")

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event."""
        try:
            document = documents.json_object(callback.body)
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)
        named = [document.get(name) for name in ("transaction_id", "transaction_status", "status_code")]
        keyed = {**document, "key": ":".join(map(str, named)) if named[0] else None}
        return (self.layout.fact(keyed, callback.body, callback, self.trust),)

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """With `signature_key` in the body, where that is a JSON object; nothing else can be signed."""
        del now, beside
        if not self._secrets:
            raise SettingsError("secrets: is needed to sign")
        try:
            document = json.loads(body)
            document[_SIGNATURE] = _signature(document, self._secrets[0]).decode()
            body = json.dumps(document).encode()
        except (ValueError, TypeError, AttributeError, RecursionError):
            pass
        return Signed(headers=(("Content-Type", "application/json"),), body=body)


def _signature(document: Mapping[str, object], secret: bytes) -> bytes:
    parts = [str(document.get(name) or "").encode("utf-8", "replace") for name in _SIGNED]
    return hashlib.sha512(b"".join([*parts, secret])).hexdigest().encode()
