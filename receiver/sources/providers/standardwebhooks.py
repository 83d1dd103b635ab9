"""Standard Webhooks, the scheme of Svix and many others: `webhook-id`, `webhook-timestamp`, `webhook-signature`.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md. `v1` is an
HMAC-SHA256, `v1a` an ed25519 signature, both in base64 over `id.timestamp.body`; a list is separated by spaces.

Stays the same on every resend: the id and the body; the timestamp is that of the sending. The spec asks for the
event's own time in the body's `timestamp`, but a sender might write the sending time there, so the key carries none.
"""

import datetime as dt
import hashlib
import hmac
import secrets
from binascii import b2a_base64
from collections.abc import Mapping
from typing import ClassVar, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact
from receiver.sources import documents, keys, new_keys, signatures, times
from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.options import Option
from receiver.sources.samples.standardwebhooks import SAMPLES

TOLERANCE: Final = 300
"""Seconds, both ways, as in the reference libraries."""
_NAMES: Final = (b"webhook-id", b"webhook-timestamp", b"webhook-signature")
_SVIX_NAMES: Final = (b"svix-id", b"svix-timestamp", b"svix-signature")
_WANTED: Final = frozenset(_NAMES + _SVIX_NAMES)
_MOST_ED25519: Final = 8
"""Signatures of the expensive kind that are looked at; a sender who rotates keys sends two."""


class StandardWebhooks(Provider):
    """One endpoint of any sender that follows the specification."""

    name: ClassVar[str] = "standardwebhooks"
    title: ClassVar[str] = "Standard Webhooks"
    settings: ClassVar[Mapping[str, Setting]] = {
        "secrets": Setting(
            help="secrets in base64 with or without whsec_, newest first; each one verifies v1",
            secret=True,
            many=True,
            key=True,
        ),
        "public_keys": Setting(help="ed25519 keys, whpk_…; each one verifies v1a", many=True, key=True),
        "signing_key": Setting(help="for tests: the ed25519 key, whsk_…, that sends with v1a", secret=True),
    }
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("secrets", "public_keys"),)
    keep_headers: ClassVar[frozenset[bytes]] = _WANTED | {b"content-type"}
    # The specification's example schedule ends after 75.6 hours.
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=4)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=15)
    success: ClassVar[Ack] = Ack(status=204)
    signature_header = _NAMES[2]
    timestamp_header = _NAMES[1]
    time_window = dt.timedelta(seconds=TOLERANCE)
    about = About(
        signed="Id, time of the sending and raw body, `id.timestamp.body`: `v1` by HMAC-SHA256, `v1a` by ed25519, both "
        "in base64. Several may be sent, separated by spaces; any one may match.",
        resends="The id and the body; the time, and with it the signature, is that of the sending.",
        key="The header `webhook-id` (or `svix-id`), which is signed.",
        retries="As the sender likes; the specification's example ends after 75.6 hours.",
        sources=(
            "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
            "standardwebhooks (Python), `standardwebhooks.Webhook`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "msg_{unique}"

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Decode the keys."""
        self._secrets = keys.base64_secrets(options, "secrets")
        self._public_keys = keys.ed25519_public_keys(options, "public_keys")
        self._signing_key = keys.ed25519_signing_key(options, "signing_key", self._public_keys)

    @classmethod
    def made_up(cls) -> dict[str, object]:
        """A secret for `v1` and a key for `v1a`."""
        key = Ed25519PrivateKey.generate()
        return {
            "secrets": ["whsec_" + new_keys.base64(secrets.token_bytes(32))],
            "public_keys": ["whpk_" + new_keys.base64(key.public_key().public_bytes_raw())],
            "signing_key": "whsk_" + new_keys.base64(key.private_bytes_raw()),
        }

    def authenticate(self, callback: Callback, now: float) -> int:
        """Try the secrets, then the public keys; a version that has no key here never counts."""
        message, sent, header = _headers(callback)
        signatures.within(signatures.timestamp(sent), now, TOLERANCE)
        entries = header.split(b" ")
        signed = b"%b.%b.%b" % (message, sent, callback.body)
        for index, secret in enumerate(self._secrets):
            if signatures.any_equal(entries, _v1(secret, signed)):
                return index
        return len(self._secrets) + self._asymmetric(entries, signed)

    def _asymmetric(self, entries: list[bytes], signed: bytes) -> int:
        candidates = [entry[4:] for entry in entries if entry.startswith(b"v1a,")]
        if not candidates and not any(entry.startswith(b"v1,") for entry in entries):
            raise VerificationError("signature_malformed")
        for candidate in candidates[:_MOST_ED25519]:
            signature = signatures.strict_base64(candidate)
            if signature is None:
                continue
            for index, key in enumerate(self._public_keys):
                try:
                    key.verify(signature, signed)
                except InvalidSignature:
                    continue
                return index
        raise VerificationError("signature_mismatch")

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event; its id stands in the signed header."""
        try:
            document = documents.json_object(callback.body)
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)
        external_id, id_odd = _identifier(callback)
        type_, type_odd = documents.event_type(document.get("type"))
        fact = Fact(
            external_id=external_id,
            type=type_,
            entity_id=documents.entity(documents.member(document, "data", "id")),
            occurred_at=times.from_iso(document.get("timestamp")),
            key_time=0,
            fingerprint=hashlib.sha256(callback.body).digest()[:16],
            odd=id_odd or type_odd,
        )
        return (fact,)

    def sign(self, payload: Mapping[str, object], now: float) -> Signed:
        """The payload's `id` is the message's."""
        message = payload.get("id")
        return self._seal(self.render(payload, now), now, str(message) if message else None)

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """With the newest secret, and with the test key where there is one."""
        return self._seal(body, now, (beside or {}).get("webhook-id"))

    def _seal(self, body: bytes, now: float, message: str | None) -> Signed:
        message = message or f"msg_{hashlib.sha256(body).hexdigest()[:24]}"
        sent = str(int(now))
        signed = f"{message}.{sent}.".encode() + body
        entries = [_v1(secret, signed).decode() for secret in self._secrets[:1]]
        if self._signing_key is not None:
            entries.append("v1a," + b2a_base64(self._signing_key.sign(signed), newline=False).decode())
        if not entries:
            raise SettingsError("signing_key: is needed to sign, or a secret")
        headers = (
            ("Content-Type", "application/json"),
            ("webhook-id", message),
            ("webhook-timestamp", sent),
            ("webhook-signature", " ".join(entries)),
        )
        return Signed(headers=headers, body=body)


def _v1(secret: bytes, signed: bytes) -> bytes:
    # Compared as text: one spelling of the base64, so nothing is decoded on the way.
    return b"v1," + b2a_base64(hmac.digest(secret, signed, "sha256"), newline=False)


def _headers(callback: Callback) -> tuple[bytes, bytes, bytes]:
    """Id, time and signatures, all from one family of names: what is signed under one is not mixed with the other."""
    found = signatures.headers(callback, _WANTED)
    names = _NAMES if any(name in found for name in _NAMES) else _SVIX_NAMES
    message, sent, header = (found.get(name) for name in names)
    if not message:
        raise VerificationError("id_missing")
    if not sent:
        raise VerificationError("timestamp_missing")
    if not header:
        raise VerificationError("signature_missing")
    return message, sent, header


def _identifier(callback: Callback) -> tuple[str | None, str | None]:
    found: dict[bytes, bytes] = {}
    for name, value in callback.headers:
        found.setdefault(name, value)
    message = found.get(_NAMES[0]) or found.get(_SVIX_NAMES[0]) or b""
    # Only a source without verification gets here with anything but ASCII.
    return documents.identifier(message.decode()) if message.isascii() else (None, "id_invalid")
