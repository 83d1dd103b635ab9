"""Mollie: `X-Mollie-Signature: sha256=…` over the raw body; or, of old, a form with an id and nothing else."""

import datetime as dt
import secrets as randomness
from typing import ClassVar, Final

from receiver.events import Callback, Fact
from receiver.sources import documents, forms
from receiver.sources.base import About, Ack
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
    signature_header = b"x-mollie-signature"
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", signature_header})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(hours=26)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=15)
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        id=("id",),
        type=("type",),
        type_else=("event_type",),
        entities=(("entityId",), ("_embedded", "entity", "id")),
        occurred_at=("createdAt",),
    )
    about = About(
        signed="The raw body, by HMAC-SHA256 under the webhook's signing secret, in hexadecimal, with or without "
        "`sha256=` before it. Classic webhooks, the `webhookUrl` of a payment, sign nothing.",
        unsigned="All of a classic callback: only an id arrives, from anybody. Such a source must say "
        '`verification = "none"`, its events have the trust `none`, and the state is to be fetched by the API.',
        resends="Signed: the event's `id`. Classic: a resend cannot be told from the callback of the next change of "
        "state, since both are the same `id=tr_…`.",
        key="Signed: `id`. Classic: each delivery is an event of its own, for to take the second for a duplicate would "
        "lose the refund that comes after the payment; a confirmation that fetches the state makes them one.",
        retries="10 times within 26 hours.",
        sources=(
            "https://docs.mollie.com/reference/webhooks",
            "https://docs.mollie.com/reference/webhooks-new",
            "mollie-api-php, `src/Webhooks/SignatureValidator.php`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "event_{unique}"

    def candidates(self, header: bytes) -> list[bytes]:
        """The signature, and those of other secrets behind commas while a secret is replaced."""
        return [item.strip().removeprefix(_PREFIX) for item in header.split(b",")]

    def written(self, signature: bytes, now: float) -> bytes:
        """As it is sent."""
        del now
        return _PREFIX + signature

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event."""
        return (_classic(callback),) if callback.body.startswith(b"id=") else self.layout.read(callback)

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
        # New each time: see `about.key`.
        external_id=None if entity is None else f"{entity}@{randomness.token_hex(8)}",
        type=CLASSIC,
        entity_id=entity,
        occurred_at=None,
        key_time=0,
        fingerprint=None,
        trust="none",
        odd=odd,
    )
