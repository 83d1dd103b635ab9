"""Flutterwave: `flutterwave-signature` (v4), an HMAC-SHA256 of the body; `verif-hash` (v3), the secret itself."""

import datetime as dt
import hmac
from collections.abc import Mapping
from typing import ClassVar, Final

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact, Trust
from receiver.sources import keys, signatures, times
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
    at_best: ClassVar[Trust] = "signed"
    signature_header = b"flutterwave-signature"
    encoding = "base64"
    differs = (("webhook_id",), ("timestamp",))
    settings: ClassVar[Mapping[str, Setting]] = {
        "secrets": Setting(
            help="secret hashes as set in the dashboard, newest first; each one verifies",
            secret=True,
            many=True,
            key=True,
        ),
        "version": Setting(
            help="v4 if only signed callbacks are to be taken, v3 if only the others; both are otherwise"
        ),
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
        occurred_at=("timestamp",),
        reading=times.from_any,
    )
    about = About(
        signed="v4: the raw body, by HMAC-SHA256 under the secret hash, in base64. v3: nothing; the secret hash itself "
        "is sent in `verif-hash`.",
        unsigned="All of a v3 callback. The token proves who sent it, not what it says: who has seen one, in a log or "
        "a proxy, can write any other, with any amount and state, and can sign as v4 too, with the same secret. So "
        'the trust is `signed` only where the source says `version = "v4"`, and `sender` otherwise: fetch the '
        "transaction by `data.id` and compare state, amount, currency and reference before money moves.",
        resends="What the documents do not say: the members that name the transaction and its state are taken to stay, "
        "`webhook_id` (v4) and times are not.",
        key="There is no id that is known to stay on a resend: type, id, state and references of the transaction "
        "together. A refund, a chargeback and a transfer have an id of their own.",
        retries="Not documented; it repeats where retries are switched on in the dashboard.",
        sources=(
            "https://developer.flutterwave.com/docs/webhooks",
            "https://developer.flutterwave.com/docs/integration-guides/webhooks",
        ),
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
        """One event. Where the token of v3 is taken as well, a signature under it proves no more than the token."""
        return self.layout.read(callback, "signed" if self._taken == ("v4",) else "sender")

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """As v4, or as v3 where only that is taken."""
        if self._taken != ("v3",):
            return super().seal(body, now, beside)
        if not self._secrets:
            raise SettingsError("secrets: is needed to sign")
        return Signed(
            headers=(("Content-Type", "application/json"), ("verif-hash", self._secrets[0].decode())), body=body
        )
