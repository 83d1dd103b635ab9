"""Adyen: standard notifications, batches whose items are signed one by one; platform notifications, signed whole."""

import datetime as dt
import json
from collections.abc import Mapping
from typing import ClassVar, Final

import msgspec

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact, Trust
from receiver.sources import documents, new_keys, signatures, times
from receiver.sources.base import About, Ack, Setting, Signed
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.options import Option, text
from receiver.sources.providers import adyen_items
from receiver.sources.samples.adyen import SAMPLES

_ANSWERS: Final[Mapping[str, Ack]] = {
    "status": Ack(status=202),
    "accepted": Ack(status=200, body=b"[accepted]", content_type="text/plain"),
}
_KEY_BYTES: Final = 32
_ENDS_OF_AN_ITEM: Final = (b":true", b":false")
"""With which every text ends that an item's signature covers, and no JSON object."""
_LIVE: Final[Mapping[object, bool]] = {"live": True, "test": False}


class Adyen(HmacProvider):
    """One webhook of an Adyen account, standard or of a platform."""

    name: ClassVar[str] = "adyen"
    title: ClassVar[str] = "Adyen"
    trust: ClassVar[Trust] = "partial"
    signature_header = b"hmacsignature"
    signature_member = (adyen_items.BATCH, 0, "NotificationRequestItem", "additionalData", "hmacSignature")
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
        parts=(("type",), ("environment",), ("createdAt",), ("timestamp",), ("data",)),
        type=("type",),
        entities=(("data", "id"), ("data", "sweep", "id"), ("data", "balanceAccount", "id"), ("data", "accountId")),
        occurred_at=("timestamp",),
    )
    """Of a platform notification."""
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
        """The whole body where it is signed as a whole; else each item, and the oldest of the keys that matched counts.

        One key signs both. What an item's signature covers is therefore no body, although that signature would fit.
        """
        if signatures.headers(callback, frozenset({self.signature_header})):
            if callback.body.endswith(_ENDS_OF_AN_ITEM):
                raise VerificationError("signature_reused")
            return super().authenticate(callback, now)
        try:
            items = adyen_items.items(callback.body, documents.strict_object(callback.body))
        except documents.UnreadableError:
            raise VerificationError("signature_missing") from None
        return max(self.matching([adyen_items.signature(item)], [adyen_items.signed(item)]) for item in items)

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event for each item, or the one of a platform."""
        try:
            document = documents.strict_object(callback.body)
            if adyen_items.BATCH not in document:
                return tuple(_of_platform(fact, document) for fact in self.layout.read(callback, "signed"))
            items = adyen_items.items(callback.body, document)
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)
        trust: Trust = "signed" if signatures.first(callback, self.signature_header) else "partial"
        return tuple(adyen_items.fact(item, document.get("live"), trust) for item in items)

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """Each item of a standard notification, or the whole of anything else."""
        try:
            whole = json.loads(body)
            for entry in whole[adyen_items.BATCH]:
                members = entry["NotificationRequestItem"]
                digest = self.digest(adyen_items.signed(adyen_items.Item(members, b"")))
                members.setdefault("additionalData", {})["hmacSignature"] = self.encoded(digest).decode()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, VerificationError):
            return super().seal(body, now, beside)
        return Signed(headers=(("Content-Type", "application/json"),), body=json.dumps(whole).encode())


def _of_platform(fact: Fact, document: Mapping[str, object]) -> Fact:
    occurred_at = fact.occurred_at or times.from_iso(document.get("createdAt"))
    environment = document.get("environment")
    livemode = _LIVE.get(environment) if isinstance(environment, str) else None
    return msgspec.structs.replace(fact, occurred_at=occurred_at, livemode=livemode)
