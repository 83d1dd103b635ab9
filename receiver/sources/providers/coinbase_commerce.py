"""Coinbase Commerce: `X-CC-Webhook-Signature`, an HMAC-SHA256 of the raw body.

Coinbase's later products send with Hook0: `X-Hook0-Signature: t=…,v0=…,h=…,v1=…`. `v1` is over `t.names.values.body`,
names and values being those of the headers in `h`; `v0`, of older senders, is over `t.body`. Where both are sent `v1`
alone counts, as in Hook0's libraries.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from receiver.errors import VerificationError
from receiver.events import Callback, Fact
from receiver.sources import signatures
from receiver.sources.base import About, Ack
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.samples.coinbase_commerce import SAMPLES

TOLERANCE: Final = 300
"""Seconds, both ways, of Hook0's signatures."""
_HOOK0: Final = b"x-hook0-signature"
_EVENT_ID: Final = b"x-event-id"
_MOST_NAMES: Final = 32
"""Headers that a signature of Hook0's may cover."""


class CoinbaseCommerce(HmacProvider):
    """One webhook subscription of a Coinbase Commerce account, or of anybody who sends with Hook0."""

    name: ClassVar[str] = "coinbase_commerce"
    title: ClassVar[str] = "Coinbase Commerce"
    signature_header = b"x-cc-webhook-signature"
    differs = (("id",), ("attempt_number",), ("scheduled_for",))
    keep_headers: ClassVar[frozenset[bytes]] = frozenset(
        {b"content-type", signature_header, _HOOK0, _EVENT_ID, b"x-event-type", b"x-hook0-id"}
    )
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=3)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)  # not documented; a cautious guess
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        id=("event", "id"),
        type=("event", "type"),
        entities=(("event", "data", "code"), ("event", "data", "id")),
        occurred_at=("event", "created_at"),
        keyed=True,
    )
    later = Layout(
        id_header=_EVENT_ID,
        type=("eventType",),
        type_else=("event",),
        entities=(("id",),),
        occurred_at=("updatedAt",),
    )
    """Of the products that send with Hook0. Their bodies have no id: `id` is the payment link's."""
    about = About(
        signed="The raw body, by HMAC-SHA256 under the shared secret, in hexadecimal. With `X-Hook0-Signature` a time "
        "and the headers that it names are signed as well; where that header is, it decides alone, and in it `v1`.",
        resends="`event` stays the same; `attempt_number` and `scheduled_for` beside it change.",
        key="`event.id`. Later products have none in the body: the hash of the body. Their header `x-event-id`, signed "
        "or not, is what operators see and no more: who has a callback could move the points between the signed "
        "headers, or leave `v1` out, and would have a second event.",
        retries="For 3 days, ever more seldom, at least once an hour.",
        sources=(
            "https://docs.cdp.coinbase.com/commerce/webhooks",
            "coinbase-commerce-python, `coinbase_commerce.webhook`",
            "https://docs.cdp.coinbase.com/webhooks/verify-signatures",
            "hook0, `clients/go/signature.go` and `clients/conformance/signature.json`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"

    def authenticate(self, callback: Callback, now: float) -> int:
        """By Hook0's signature where there is one, else by Coinbase's own."""
        header = signatures.headers(callback, frozenset({_HOOK0})).get(_HOOK0)
        if header is None:
            return super().authenticate(callback, now)
        items = _items(header)
        if b"v1" not in items and b"v0" not in items:
            raise VerificationError("signature_missing")
        sent = items.get(b"t")
        if sent is None:
            raise VerificationError("timestamp_missing")
        signatures.within(signatures.timestamp(sent), now, TOLERANCE)
        if b"v1" in items:
            return self.matching([items[b"v1"]], _signed(callback, sent, _names(items)))
        return self.matching([items[b"v0"]], (sent, b".", callback.body))

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event, of whichever product signs so."""
        facts = super().read(callback)
        if not signatures.first(callback, _HOOK0) or facts[0].odd is None:
            return facts
        return self.later.read(callback, self.trust)


def _items(header: bytes) -> Mapping[bytes, bytes]:
    """The parts of a signature of Hook0's, each of which stands there once."""
    found: dict[bytes, bytes] = {}
    for item in header.split(b","):
        name, _, value = item.partition(b"=")
        if name in found:
            raise VerificationError("signature_malformed")
        found[name] = value
    return found


def _names(items: Mapping[bytes, bytes]) -> list[bytes]:
    """The headers that are signed, as they are spelled."""
    names = items.get(b"h", b"").split()
    if len(names) > _MOST_NAMES:
        raise VerificationError("signature_malformed")
    return names


def _signed(callback: Callback, sent: bytes, wanted: Sequence[bytes]) -> tuple[bytes, ...]:
    """Time, names of headers, their values, body, joined by points. A header that is named must be there."""
    given = signatures.headers(callback, frozenset(wanted))
    if any(name not in given for name in wanted):
        raise VerificationError("header_missing")
    values = b".".join(given[name] for name in wanted)
    return sent, b".", b" ".join(wanted), b".", values, b".", callback.body
