"""Flutterwave: `flutterwave-signature` (v4), an HMAC-SHA256 of the body; `verif-hash` (v3), the secret itself."""

import datetime as dt
import hmac
from collections.abc import Mapping
from typing import ClassVar, Final

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact, Trust
from receiver.sources import keys, signatures
from receiver.sources.base import About, Ack, Setting, Signed
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.options import Option, text
from receiver.sources.samples.flutterwave import SAMPLES

_STATIC: Final = b"verif-hash"
_VERSIONS: Final = ("v3", "v4")


class Flutterwave(HmacProvider):
    """The webhook of one Flutterwave account."""

    name: ClassVar[str] = "flutterwave"
    title: ClassVar[str] = "Flutterwave"
    trust: ClassVar[Trust] = "sender"
    signature_header = b"flutterwave-signature"
    encoding = "base64"
    settings: ClassVar[Mapping[str, Setting]] = {
        "secrets": Setting(
            help="secret hashes as set in the dashboard, newest first; each one verifies",
            secret=True,
            many=True,
            key=True,
        ),
        "version": Setting(help="v3 or v4 if only callbacks of that version are to be taken; both are otherwise"),
    }
    # The static token of v3 is the secret: what is stored must not hold it.
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", signature_header})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=3)  # not documented; a cautious guess
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=10)  # not documented; a cautious guess
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        parts=(("type",), ("event",), *(("data", name) for name in ("id", "status", "reference", "tx_ref", "flw_ref"))),
        type=("type",),
        type_else=("event",),
        entities=(("data", "id"), ("data", "reference"), ("data", "tx_ref")),
        occurred_at=("data", "created_at"),
    )
    about = About(
        signed="v4: the raw body, by HMAC-SHA256 under the secret hash, in base64. v3: nothing; the secret itself is "
        "sent in `verif-hash`.",
        unsigned="All of a v3 callback: the token proves who sent it and not what it says, and who has seen one can "
        "write any other. Its events have the trust `sender`; confirm them by the API before money moves.",
        resends="The members that name the transaction and its state.",
        key="There is no event id: type, id, state and references of the transaction together.",
        retries="Not documented; it repeats where retries are switched on in the dashboard.",
        sources=("https://developer.flutterwave.com/docs/webhooks",),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Take the secrets and the version."""
        super().__init__(options)
        self._secrets = [secret.encode() for secret in keys.secrets(options, "secrets")]
        version = text(options, "version")
        if version is not None and version not in _VERSIONS:
            raise SettingsError("version: is v3 or v4")
        self._taken = (version,) if version else _VERSIONS

    def authenticate(self, callback: Callback, now: float) -> int:
        """By the signature of v4 if there is one, else by the token of v3; as far as the version is taken."""
        found = signatures.headers(callback, frozenset({_STATIC, self.signature_header}))
        if "v4" in self._taken and (self.signature_header in found or _STATIC not in found):
            return super().authenticate(callback, now)
        token = found.get(_STATIC)
        if not token or "v3" not in self._taken:
            raise VerificationError("signature_missing")
        for index, secret in enumerate(self._secrets):
            if hmac.compare_digest(token, secret):
                return index
        raise VerificationError("signature_mismatch")

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event, which a signature vouches for, or only its sender."""
        signed = any(name == self.signature_header for name, _ in callback.headers)
        return self.layout.read(callback, "signed" if signed else "sender")

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """As v4, or as v3 where only that is taken."""
        if self._taken != ("v3",):
            return super().seal(body, now, beside)
        if not self._secrets:
            raise SettingsError("secrets: is needed to sign")
        return Signed(
            headers=(("Content-Type", "application/json"), ("verif-hash", self._secrets[0].decode())), body=body
        )
