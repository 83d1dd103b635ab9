"""Wise: `X-Signature-SHA256`, an RSA-SHA256 signature of the raw body under Wise's own key."""

import datetime as dt
from binascii import b2a_base64
from collections.abc import Mapping
from typing import ClassVar, Final

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from receiver.errors import SettingsError
from receiver.events import Callback, Fact
from receiver.sources import keys, new_keys, signatures
from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.layout import Layout
from receiver.sources.options import Option, texts
from receiver.sources.samples.wise import SAMPLES

_SIGNATURE: Final = b"x-signature-sha256"
_PADDING: Final = PKCS1v15()
_HASH: Final = SHA256()


class Wise(Provider):
    """The webhook subscriptions of one Wise profile or application."""

    name: ClassVar[str] = "wise"
    title: ClassVar[str] = "Wise"
    signature_header = _SIGNATURE
    differs = (("sent_at",), ("@headers", "X-Delivery-Id"))
    settings: ClassVar[Mapping[str, Setting]] = {
        "public_key": Setting(
            help="Wise's public key, PEM or its base64 (production and sandbox have different ones); "
            "several while it is being replaced",
            many=True,
            key=True,
        ),
        "signing_key": Setting(help="for tests: the private key, in PEM, that plays Wise", secret=True),
    }
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("public_key",),)
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", b"x-delivery-id", _SIGNATURE})
    # Eleven intervals from a minute on, each twice the one before, then fourteen of a day.
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=16)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        parts=(("event_type",), ("subscription_id",), ("data",)),
        type=("event_type",),
        entities=(("data", "resource", "id"), ("data", "transfer_reference")),
        occurred_at=("data", "occurred_at"),
    )
    about = About(
        signed="The raw body, by RSA-SHA256 (PKCS #1 v1.5) under Wise's key, in base64.",
        unsigned="The headers, `X-Delivery-Id` among them.",
        resends="`data` and `event_type`; `sent_at` and the delivery id are those of the sending.",
        key="There is no event id: type, subscription and the whole of `data`, which holds what changed and when.",
        retries="25 times over two weeks: after 1, 2, 4 … minutes, then daily. Hopeless statuses, such as 400, "
        "are tried three times only; the receiver's 503 is not one of them.",
        sources=(
            "https://docs.wise.com/api-docs/features/webhooks-notifications/event-handling",
            "https://docs.wise.com/webhooks-notifications",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Parse the keys."""
        values = texts(options, "public_key")
        self._public_keys = [keys.rsa_public_key(value, f"public_key[{i}]") for i, value in enumerate(values)]
        self._signing_key = keys.rsa_signing_key(options, "signing_key")
        if self._signing_key is not None and self._signing_key.public_key() not in self._public_keys:
            raise SettingsError("signing_key: belongs to none of the public keys")

    @classmethod
    def made_up(cls) -> dict[str, object]:
        """A key whose Wise is ourselves."""
        key = new_keys.rsa_key()
        return {"public_key": [new_keys.public_pem(key)], "signing_key": new_keys.private_pem(key)}

    def authenticate(self, callback: Callback, now: float) -> int:
        """Check the signature with each key. No time is signed."""
        del now
        header = signatures.headers(callback, frozenset({_SIGNATURE})).get(_SIGNATURE)
        return signatures.rsa_match(header, callback.body, self._public_keys)

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event."""
        return self.layout.read(callback, self.trust)

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """With the test key."""
        del now
        if self._signing_key is None:
            raise SettingsError("signing_key: is needed to sign")
        signature = b2a_base64(self._signing_key.sign(body, _PADDING, _HASH), newline=False).decode()
        headers = {"Content-Type": "application/json", **(beside or {}), "X-Signature-SHA256": signature}
        return Signed(headers=tuple(headers.items()), body=body)
