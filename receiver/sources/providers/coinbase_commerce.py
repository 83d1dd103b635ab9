"""Coinbase Commerce: `X-CC-Webhook-Signature`, an HMAC-SHA256 of the raw body; or `X-Hook0-Signature`, with a time."""

import datetime as dt
from collections.abc import Mapping
from typing import ClassVar, Final

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources import signatures
from receiver.sources.base import About, Ack
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.samples.coinbase_commerce import SAMPLES

TOLERANCE: Final = 300
"""Seconds, both ways, of Hook0's signatures."""
_HOOK0: Final = b"x-hook0-signature"
_MOST_NAMES: Final = 32
"""Headers that a signature of Hook0's may cover."""


class CoinbaseCommerce(HmacProvider):
    """One webhook subscription of a Coinbase Commerce account, or of anybody who sends with Hook0."""

    name: ClassVar[str] = "coinbase_commerce"
    title: ClassVar[str] = "Coinbase Commerce"
    signature_header = b"x-cc-webhook-signature"
    differs = (("id",), ("attempt_number",), ("scheduled_for",))
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", signature_header, _HOOK0})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=3)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)  # not documented; a cautious guess
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        id=("event", "id"),
        type=("event", "type"),
        type_else=("event",),
        entities=(("event", "data", "code"), ("event", "data", "id")),
        occurred_at=("event", "created_at"),
        keyed=True,
    )
    about = About(
        signed="The raw body, by HMAC-SHA256 under the shared secret, in hexadecimal. With `X-Hook0-Signature` a time "
        "and the headers that it names are signed as well; where that header is, `v1` in it decides alone.",
        resends="`event` stays the same; `attempt_number` and `scheduled_for` beside it change.",
        key="`event.id`.",
        retries="For 3 days, ever more seldom, at least once an hour.",
        sources=(
            "https://docs.cdp.coinbase.com/commerce/webhooks",
            "coinbase-commerce-python, `coinbase_commerce.webhook`",
            "hook0, `clients/go/signature_test.go`",
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
        sent, candidates = items.get(b"t", []), items.get(b"v1", [])
        if not candidates:
            raise VerificationError("signature_missing")
        if len(sent) != 1:
            raise VerificationError("timestamp_malformed" if sent else "timestamp_missing")
        signatures.within(signatures.timestamp(sent[0]), now, TOLERANCE)
        signed = _signed(callback, sent[0], b" ".join(items.get(b"h", [])))
        return self.matching(candidates, signed)


def _items(header: bytes) -> Mapping[bytes, list[bytes]]:
    found: dict[bytes, list[bytes]] = {}
    for item in header.split(b","):
        name, _, value = item.partition(b"=")
        found.setdefault(name, []).append(value)
    return found


def _signed(callback: Callback, sent: bytes, names: bytes) -> tuple[bytes, ...]:
    """Time, names of headers, their values, body, joined by points. A header that is named must be there."""
    wanted = [name.lower() for name in names.split(b" ") if name]
    if len(wanted) > _MOST_NAMES:
        raise VerificationError("signature_malformed")
    given = signatures.headers(callback, frozenset(wanted))
    if any(name not in given for name in wanted):
        raise VerificationError("header_missing")
    values = b".".join(given[name] for name in wanted)
    return sent, b".", names, b".", values, b".", callback.body
