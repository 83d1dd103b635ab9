"""Braintree: a form whose `bt_payload`, XML in base64, is signed by HMAC-SHA1 under each API key of the account.

`bt_signature` is a list of pairs, `public key|signature`, joined by `&`; the HMAC's key is the SHA-1 of the private
key. The SDKs also take a payload whose last newline was lost on the way, so the event's id is made of the payload with
exactly one: both spellings of one notification are one event.

Braintree asks by GET whether an address is the account's: it sends `bt_challenge`, 20 to 32 hexadecimal digits, and
wants them back signed. Everybody may ask, the key is the same, and digits are base64 too: whoever asked could send the
challenge as a payload, signed by us. What has the form of a challenge is therefore no payload.
"""

import base64
import datetime as dt
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final
from urllib.parse import urlencode

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact
from receiver.sources import documents, forms, new_keys, signatures, times, typed_xml
from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.options import Option, table
from receiver.sources.samples.braintree import SAMPLES

_SIGNATURE: Final = b"bt_signature"
_PAYLOAD: Final = b"bt_payload"
_CHALLENGE: Final = b"bt_challenge"
_CHALLENGES: Final = re.compile(rb"[a-f0-9]{20,32}")
_ROOT: Final = "notification"
_IDS: Final = ("id", "transaction_id", "payment_id", "merchant_public_id")
"""By what names the objects of notifications are called."""


class Braintree(Provider):
    """One webhook destination of a Braintree account."""

    name: ClassVar[str] = "braintree"
    title: ClassVar[str] = "Braintree"
    settings: ClassVar[Mapping[str, Setting]] = {
        "keys": Setting(
            help="API keys, newest first: a table of public keys and their private keys; each pair verifies",
            secret=True,
            mapping=True,
            key=True,
        ),
    }
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("keys",),)
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type"})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(hours=24)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=30)
    success: ClassVar[Ack] = Ack(status=200)
    signature_member = ("bt_signature",)
    about = About(
        signed="`bt_payload`, by HMAC-SHA1 under the SHA-1 of the private API key, in hexadecimal. Every API key of "
        "the account signs: `bt_signature` has a pair for each.",
        resends="The payload, which Braintree documents as a snapshot of when the event happened, its time included. "
        "`bt_signature` changes with the account's API keys.",
        key="There is no event id: the SHA-256 of `bt_payload`.",
        retries="Every hour, for 24 hours in production and 3 in the sandbox, until it hears a 2xx within 30 seconds.",
        sources=(
            "https://developer.paypal.com/braintree/docs/guides/webhooks/parse",
            "https://developer.paypal.com/braintree/docs/guides/webhooks/create",
            "braintree (Python), `WebhookNotificationGateway`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Take the pairs of keys."""
        self._keys: list[tuple[bytes, signatures.Hmac]] = []
        for public, private in table(options, "keys").items():
            if not _visible(public) or "|" in public or "&" in public:
                raise SettingsError("keys: a public key stands in front of each private key")
            if not _visible(private):
                raise SettingsError(f"keys.{public}: is empty, or has white space or letters that no private key has")
            key = hashlib.sha1(private.encode(), usedforsecurity=False).digest()  # how Braintree makes the key
            self._keys.append((public.encode(), signatures.Hmac(key, "sha1")))

    @classmethod
    def made_up(cls) -> dict[str, object]:
        """One pair."""
        return {"keys": {new_keys.secret()[:16]: new_keys.secret()}}

    def authenticate(self, callback: Callback, now: float) -> int:
        """Compare the signatures that stand behind a public key of ours. No time is signed that could be too old."""
        del now
        try:
            form = forms.parsed(callback.body)
        except documents.UnreadableError as error:
            raise VerificationError(error.reason) from None
        payload = form.get(_PAYLOAD)
        if payload is None or not form.get(_SIGNATURE):
            raise VerificationError("signature_missing")
        if _CHALLENGES.fullmatch(payload):
            raise VerificationError("signature_reused")
        return self._matching(form[_SIGNATURE], payload)

    def _matching(self, header: bytes, payload: bytes) -> int:
        if len(header) > signatures.LONGEST_HEADER:  # here it is a parameter, and no header's limit applies
            raise VerificationError("signature_malformed")
        pairs = [pair.partition(b"|") for pair in header.split(b"&")]
        for index, (public, key) in enumerate(self._keys):
            candidates = [signature for name, _, signature in pairs if name == public]
            # As it came, or as it was before its last newline was lost.
            whole, shorter = (key.digest(payload, end).hex().encode() for end in (b"", b"\n"))
            if signatures.any_equal(candidates, whole) | signatures.any_equal(candidates, shorter):
                return index
        raise VerificationError("signature_mismatch")

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One notification."""
        try:
            payload = forms.parsed(callback.body).get(_PAYLOAD, b"")
            return (_fact(payload, _notification(payload)),)
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)

    def content(self, body: bytes) -> object:
        """The notification as a dict, named as in Braintree's SDK: `kind`, `timestamp`, `subject`."""
        return _notification(forms.parsed(body).get(_PAYLOAD, b""))

    def render(self, payload: Mapping[str, object], now: float) -> bytes:
        """The notification in XML."""
        del now
        return typed_xml.written(_ROOT, payload).encode()

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """A form with a pair for each key of the account, as Braintree sends it."""
        del now, beside
        if not self._keys:
            raise SettingsError("keys: is needed to sign")
        payload = base64.encodebytes(body)
        pairs = [b"%b|%b" % (public, key.digest(payload).hex().encode()) for public, key in self._keys]
        form = {_SIGNATURE: b"&".join(pairs), _PAYLOAD: payload}
        return Signed(
            headers=(("Content-Type", "application/x-www-form-urlencoded"),),
            body=urlencode(form).encode(),
        )

    def challenge(self, query: bytes) -> Ack | None:
        """The signature of `bt_challenge` by the newest key."""
        try:
            challenge = forms.parsed(query).get(_CHALLENGE, b"")
        except documents.UnreadableError:
            return None
        if not self._keys or not _CHALLENGES.fullmatch(challenge):
            return None
        public, key = self._keys[0]
        body = b"%b|%b" % (public, key.digest(challenge).hex().encode())
        return Ack(status=200, body=body, content_type="text/plain")


def _visible(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _notification(payload: bytes) -> dict[str, object]:
    """What is in a payload. Raises UnreadableError."""
    raw = signatures.strict_base64(payload.replace(b"\n", b""))
    if raw is None:
        raise documents.UnreadableError("payload_malformed")
    name, content = typed_xml.parsed(raw)
    if name != _ROOT or not isinstance(content, dict):
        raise documents.UnreadableError("xml_unexpected")
    return content


def _fact(payload: bytes, notification: Mapping[str, object]) -> Fact:
    type_, type_odd = documents.event_type(notification.get("kind"))
    occurred_at = times.from_iso(notification.get("timestamp"))
    return Fact(
        external_id="sha256:" + hashlib.sha256(payload.rstrip(b"\n") + b"\n").hexdigest(),
        type=type_,
        entity_id=documents.entity(*_named(notification.get("subject"))),
        occurred_at=occurred_at,
        key_time=times.to_unix(occurred_at),
        fingerprint=None,
        odd=type_odd,
    )


def _named(subject: object) -> Iterator[object]:
    """The ids of what a notification is about, in the order in which they stand there."""
    # What went wrong at Braintree has the object inside.
    inner = documents.member(subject, "api_error_response") or subject
    for thing in inner.values() if isinstance(inner, dict) else ():
        for name in _IDS:
            yield documents.member(thing, name)
