"""Adyen: standard notifications, batches whose items are signed one by one; platform notifications, signed whole."""

import datetime as dt
import json
from collections.abc import Mapping
from typing import ClassVar, Final

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact, Trust
from receiver.sources import batches, documents, new_keys, signatures
from receiver.sources.base import About, Ack, Setting, Signed
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.options import Option, text
from receiver.sources.samples.adyen import SAMPLES

_ITEM: Final = "NotificationRequestItem"
_SIGNED: Final = (
    ("pspReference",),
    ("originalReference",),
    ("merchantAccountCode",),
    ("merchantReference",),
    ("amount", "value"),
    ("amount", "currency"),
    ("eventCode",),
    ("success",),
)
"""The members of an item that are signed, in their order."""
_ANSWERS: Final[Mapping[str, Ack]] = {
    "status": Ack(status=202),
    "accepted": Ack(status=200, body=b"[accepted]", content_type="text/plain"),
}
_KEY_BYTES: Final = 32


class Adyen(HmacProvider):
    """One webhook of an Adyen account, standard or of a platform."""

    name: ClassVar[str] = "adyen"
    title: ClassVar[str] = "Adyen"
    trust: ClassVar[Trust] = "partial"
    signature_header = b"hmacsignature"
    encoding = "base64"
    settings: ClassVar[Mapping[str, Setting]] = {
        "secrets": Setting(
            help="HMAC keys of the webhook, 64 hexadecimal digits, newest first; each one verifies",
            secret=True,
            many=True,
            key=True,
        ),
        "answer": Setting(help="accepted for old accounts that want to read [accepted]; status (the default): 202"),
    }
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", b"protocol", signature_header})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=30)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=10)
    success: ClassVar[Ack] = _ANSWERS["status"]
    layout = Layout(
        id=("key",),
        type=("eventCode",),
        entities=(("originalReference",), ("pspReference",)),
        occurred_at=("eventDate",),
    )
    platform = Layout(
        parts=(("type",), ("environment",), ("createdAt",), ("timestamp",), ("data",)),
        type=("type",),
        entities=(("data", "id"), ("data", "sweep", "id"), ("data", "balanceAccount", "id"), ("data", "accountId")),
        occurred_at=("timestamp",),
        whole=True,
    )
    about = About(
        signed="Of each item of a standard notification eight members: `pspReference`, `originalReference`, "
        "`merchantAccountCode`, `merchantReference`, amount, currency, `eventCode` and `success`, by HMAC-SHA256 under "
        "the webhook's key, in base64. Of a platform notification the raw body, in the header `HmacSignature`.",
        unsigned="All other members of an item, `reason` and `additionalData` among them: who has captured a "
        "notification can change them. One item without a valid signature, and the whole callback is refused.",
        resends="What is signed. Items may come in other company. What Adyen has queued keeps the signature of the old "
        "key after a change of keys, so keep that for 30 days.",
        key="`pspReference`, `eventCode` and `success` together: a failed and a successful capture have one reference. "
        "A platform notification: all of it.",
        retries="After 9, 18 and 27 seconds, 2, 5, 10, 15 and 30 minutes, 1, 2, 4 and then every 8 hours, for 30 days.",
        sources=(
            "https://docs.adyen.com/development-resources/webhooks/verify-hmac-signatures",
            "https://docs.adyen.com/development-resources/webhooks/troubleshoot",
            "Adyen (Python), `Adyen.util.is_valid_hmac_notification`, which looks at the first item alone",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Decode the keys and choose the answer."""
        super().__init__(options)
        answer = text(options, "answer") or "status"
        if answer not in _ANSWERS:
            raise SettingsError(f"answer: is one of {', '.join(_ANSWERS)}")
        self._answer = _ANSWERS[answer]

    @classmethod
    def made_up(cls) -> dict[str, object]:
        """One key."""
        return {"secrets": [new_keys.secret() + new_keys.secret()]}

    def acknowledgement(self) -> Ack:
        """As the account wants it."""
        return self._answer

    def key(self, secret: str, setting: str) -> bytes:
        """The bytes that the digits stand for."""
        try:
            raw = bytes.fromhex(secret) if secret.isalnum() else b""
        except ValueError:
            raw = b""
        if len(raw) != _KEY_BYTES:
            raise SettingsError(f"{setting}: is no HMAC key of Adyen's, which has 64 hexadecimal digits")
        return raw

    def authenticate(self, callback: Callback, now: float) -> int:
        """The whole body where it is signed as a whole; else each item, all by one key."""
        if signatures.headers(callback, frozenset({self.signature_header})):
            return super().authenticate(callback, now)
        try:
            found = [_item(raw) for raw in batches.items(callback.body, "notificationItems")]
        except documents.UnreadableError:
            raise VerificationError("signature_missing") from None
        return max([self._check(item) for item in found])

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event for each item, or the one of a platform."""
        try:
            if "notificationItems" not in documents.json_object(callback.body):
                return self.platform.read(callback)
            return tuple(self._fact(raw, callback) for raw in batches.items(callback.body, "notificationItems"))
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)

    def content(self, body: bytes) -> object:
        """The item without its wrapping, or the platform's notification."""
        document = super().content(body)
        return document.get(_ITEM, document) if isinstance(document, dict) else document

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """Each item of a standard notification, or the whole of anything else."""
        try:
            document = json.loads(body)
            entries = document["notificationItems"]
            for entry in entries:
                digest = self.digest(_signed(entry[_ITEM]))
                entry[_ITEM].setdefault("additionalData", {})["hmacSignature"] = self.encoded(digest).decode()
        except (ValueError, TypeError, KeyError):
            return super().seal(body, now, beside)
        return Signed(headers=(("Content-Type", "application/json"),), body=json.dumps(document).encode())

    def _check(self, item: Mapping[str, object]) -> int:
        signature = documents.member(item, "additionalData", "hmacSignature")
        if not isinstance(signature, str) or not signature:
            raise VerificationError("signature_missing")
        if not signature.isascii():
            raise VerificationError("signature_malformed")
        return self.matching([signature.encode()], [_signed(item)])

    def _fact(self, raw: bytes, callback: Callback) -> Fact:
        item = _item(raw)
        named = [_text(item.get(name)) for name in ("pspReference", "eventCode", "success")]
        keyed = {**item, "key": ":".join(named) if named[0] else None}
        return self.layout.fact(keyed, raw, callback, self.trust)


def _item(raw: bytes) -> dict[str, object]:
    found = documents.json_object(raw).get(_ITEM)
    if not isinstance(found, dict):
        raise documents.UnreadableError("batch_malformed")
    return found


def _signed(item: Mapping[str, object]) -> bytes:
    # No member is escaped, whatever stands in it: that is how Adyen signs.
    return ":".join(_text(documents.member(item, *path)) for path in _SIGNED).encode("utf-8", "replace")


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
