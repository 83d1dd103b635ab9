"""Stripe: `Stripe-Signature: t=…,v1=…[,v1=…]`, an HMAC-SHA256 over time and raw body.

Sources: https://docs.stripe.com/webhooks, https://docs.stripe.com/event-destinations, and the official SDK's verifier.

Stays the same on every resend of an event: all of it but `pending_webhooks`, which counts the endpoints that have not
answered yet, and the header. `data` is a snapshot taken when the event was created. It is rendered in the endpoint's
API version, so two endpoints of different versions send one event with two bodies: give each a source of its own.
"""

import datetime as dt
import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import ClassVar, Final

import msgspec

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact
from receiver.sources import documents, keys, signatures, times
from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.options import Option
from receiver.sources.samples.stripe import SAMPLES

TOLERANCE: Final = 300
"""Seconds, the SDKs' default. Some of them accept any future time; a signed future time is refused here."""
_SIGNATURE: Final = b"stripe-signature"
_WANTED: Final = frozenset({_SIGNATURE})


class _Stable(msgspec.Struct):
    """The members that make up the fingerprint, as they are spelled."""

    object: msgspec.Raw = msgspec.Raw()
    id: msgspec.Raw = msgspec.Raw()
    type: msgspec.Raw = msgspec.Raw()
    created: msgspec.Raw = msgspec.Raw()
    account: msgspec.Raw = msgspec.Raw()
    context: msgspec.Raw = msgspec.Raw()
    livemode: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()
    related_object: msgspec.Raw = msgspec.Raw()


_stable = msgspec.json.Decoder(_Stable).decode


class Stripe(Provider):
    """One webhook endpoint (or event destination) of a Stripe account."""

    name: ClassVar[str] = "stripe"
    title: ClassVar[str] = "Stripe"
    settings: ClassVar[Mapping[str, Setting]] = {
        "secrets": Setting(
            help="signing secrets of the endpoint, whsec_…, newest first; each one verifies",
            secret=True,
            many=True,
            key=True,
        ),
    }
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("secrets",),)
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", _SIGNATURE})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=3)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=10)  # not documented; a cautious guess
    success: ClassVar[Ack] = Ack(status=200)
    signature_header = _SIGNATURE
    timestamp_item = b"t="
    time_window = dt.timedelta(seconds=TOLERANCE)
    differs = (("pending_webhooks",),)
    about = About(
        signed="The time of the sending and the raw body, `t.body`, by HMAC-SHA256 under the endpoint's secret, whose "
        "`whsec_` is part of the key, in hexadecimal. Several `v1` may be sent; any one may match, `v0` never counts.",
        resends="All of the event but `pending_webhooks`, which counts the endpoints that have not answered; and not "
        "the header. `data` is a snapshot of the event's moment.",
        key="The event's `id`, with the hour of `created` before it. An event in another API version is a "
        "contradiction: give each endpoint a source of its own.",
        retries="For 3 days, ever more seldom; in test mode three times within hours.",
        sources=(
            "https://docs.stripe.com/webhooks",
            "https://docs.stripe.com/event-destinations",
            "stripe-python, `stripe.WebhookSignature`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "evt_{unique}"

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Take the secrets. The whole string is the key, its `whsec_` included."""
        self._secrets = [signatures.Hmac(secret.encode()) for secret in keys.secrets(options, "secrets")]

    @classmethod
    def made_up(cls) -> dict[str, object]:
        """One secret."""
        return {"secrets": ["whsec_" + secrets.token_hex(16)]}

    def authenticate(self, callback: Callback, now: float) -> int:
        """Compare every `v1` with each secret's HMAC; `v0` and schemes to come never count."""
        header = signatures.headers(callback, _WANTED).get(_SIGNATURE)
        if not header:
            raise VerificationError("signature_missing")
        sent, candidates = _parsed(header)
        signatures.within(signatures.timestamp(sent), now, TOLERANCE)
        for index, secret in enumerate(self._secrets):
            if signatures.any_equal(candidates, secret.digest(sent, b".", callback.body).hex().encode()):
                return index
        raise VerificationError("signature_mismatch")

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event: a snapshot (`event`) or a thin one (`v2.core.event`)."""
        try:
            return (_fact(callback.body),)
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)

    def render(self, payload: Mapping[str, object], now: float) -> bytes:
        """As Stripe writes it, indented."""
        del now
        return json.dumps(payload, indent=2, ensure_ascii=False).encode()

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """With the newest secret."""
        del beside
        if not self._secrets:
            raise SettingsError("secrets: is needed to sign")
        sent = int(now)
        digest = self._secrets[0].digest(b"%d." % sent, body).hex()
        headers = (
            ("Content-Type", "application/json; charset=utf-8"),
            ("Stripe-Signature", f"t={sent},v1={digest}"),
        )
        return Signed(headers=headers, body=body)


def _parsed(header: bytes) -> tuple[bytes, list[bytes]]:
    """The time as it is spelled, since that is what is signed, and the `v1` signatures."""
    sent: bytes | None = None
    candidates: list[bytes] = []
    for item in header.split(b","):
        name, _, value = item.partition(b"=")
        if name == b"v1":
            candidates.append(value)
        elif name == b"t":
            if sent is not None:
                raise VerificationError("timestamp_malformed")
            sent = value
    if sent is None:
        raise VerificationError("timestamp_missing" if candidates else "signature_malformed")
    if not candidates:
        raise VerificationError("signature_missing")
    return sent, candidates


def _fact(body: bytes) -> Fact:
    document = documents.json_object(body)
    external_id, id_odd = documents.identifier(document.get("id"), given="id" in document)
    type_, type_odd = documents.event_type(document.get("type"))
    created = document.get("created")
    # Snapshot events count seconds, thin ones write ISO 8601.
    occurred_at = times.from_iso(created) if isinstance(created, str) else times.from_unix(created)
    livemode = document.get("livemode")
    return Fact(
        external_id=external_id,
        type=type_,
        entity_id=documents.entity(
            documents.member(document, "data", "object", "id"), documents.member(document, "related_object", "id")
        ),
        occurred_at=occurred_at,
        key_time=times.to_unix(occurred_at),
        fingerprint=_fingerprint(body),
        livemode=livemode if isinstance(livemode, bool) else None,
        odd=id_odd or type_odd,
    )


def _fingerprint(body: bytes) -> bytes | None:
    try:
        stable = _stable(body)
    except (msgspec.MsgspecError, RecursionError):  # stricter in some corner than the parser that accepted it
        return None
    # JSON cannot hold a NUL, so this join can only be read one way.
    return hashlib.sha256(b"\0".join(msgspec.structs.astuple(stable))).digest()[:16]
