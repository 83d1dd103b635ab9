"""Mollie: `X-Mollie-Signature: sha256=…` over the raw body; or, of old, a form with an id and nothing else."""

import datetime as dt
from collections.abc import Mapping
from typing import ClassVar, Final

from receiver.errors import VerificationError
from receiver.events import Callback, Fact, Trust
from receiver.sources import documents, forms, signatures
from receiver.sources.base import About, Ack, Setting
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.samples.mollie import SAMPLES

_PREFIX: Final = b"sha256="
CLASSIC: Final = "classic"
"""The type of the events that only an id came for."""


class Mollie(HmacProvider):
    """One webhook of a Mollie organisation; or, with `verification = "none"`, the webhook URL of its payments."""

    name: ClassVar[str] = "mollie"
    title: ClassVar[str] = "Mollie"
    trust: ClassVar[Trust] = "none"
    at_best: ClassVar[Trust] = "signed"
    signature_header = b"x-mollie-signature"
    signature_repeats = True
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", signature_header})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(hours=26)
    called_per_payment: ClassVar[bool | None] = None
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=15)
    success: ClassVar[Ack] = Ack(status=200)
    settings: ClassVar[Mapping[str, Setting]] = {
        **HmacProvider.settings,
        "api_key": Setting(help='for confirm = "provider": the key that may read payments', secret=True),
        "api_url": Setting(help="where the API is; default: https://api.mollie.com"),
    }
    layout = Layout(
        id=("id",),
        type=("type",),
        type_else=("event_type",),
        entities=(("entityId",), ("_embedded", "entity", "id")),
        occurred_at=("createdAt",),
        livemode=("_embedded", "entity", "mode"),
    )
    about = About(
        signed="The raw body, by HMAC-SHA256 under the webhook's signing secret, in hexadecimal, with or without "
        "`sha256=` before it; while a secret is replaced there is a signature for each. Classic webhooks, the "
        "`webhookUrl` of a payment, sign nothing.",
        unsigned="All of a classic callback: an id arrives and nothing else, from anybody, about any payment, as often "
        "as they like. It states no fact, it only says: look. Such a source must say "
        '`verification = "none"`, and its events have the trust `none`: fetch the payment by its id, take the state '
        "from the answer, and do what the state asks for once for each id and state.",
        resends="Signed: the event's `id`. Classic: a resend cannot be told from the callback of the next change of "
        "state, since both are the same `id=tr_…`.",
        key="Signed: `id`. Classic: each delivery is an event of its own, with the event's own id behind the payment's "
        "(`tr_…@0199…`), for to take the second for a duplicate would lose the refund that comes after the payment. "
        "So a resend is handled again, and a handler must know what it has done for this id and state.",
        retries="10 times within 26 hours.",
        sources=(
            "https://docs.mollie.com/reference/webhooks",
            "https://docs.mollie.com/reference/webhooks-new",
            "mollie-api-php, `src/Webhooks/SignatureValidator.php`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "event_{unique}"

    def authenticate(self, callback: Callback, now: float) -> int:
        """Any one signature may match, in several headers or behind commas, where a proxy has joined them."""
        del now
        given = [value for name, value in callback.headers if name == self.signature_header and value]
        if not given:
            raise VerificationError("signature_missing")
        joined = b",".join(given)
        if len(joined) > signatures.LONGEST_HEADER or not joined.isascii():
            raise VerificationError("header_malformed")
        return self.matching([item.strip().removeprefix(_PREFIX) for item in joined.split(b",")], (callback.body,))

    def written(self, signature: bytes, now: float) -> bytes:
        """As it is sent."""
        del now
        return _PREFIX + signature

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event."""
        if callback.body.startswith(b"id="):
            return (_classic(callback),)
        return self.layout.read(callback)

    def content(self, body: bytes) -> object:
        """The document, or the form of a classic callback."""
        if not body.startswith(b"id="):
            return super().content(body)
        return {name.decode(): value.decode() for name, value in forms.parsed(body).items()}


def _classic(callback: Callback) -> Fact:
    try:
        value = forms.parsed(callback.body)[b"id"].decode()
    except (documents.UnreadableError, UnicodeDecodeError):
        return documents.odd("form_malformed")
    entity, odd = documents.identifier(value)
    return Fact(
        external_id=entity,
        fresh=True,  # see `about.key`
        type=CLASSIC,
        entity_id=entity,
        occurred_at=None,
        key_time=0,
        fingerprint=None,
        trust="none",
        odd=odd,
    )
