"""Mercado Pago: `x-signature: ts=…,v1=…`, an HMAC-SHA256 over the query's id, the request's id and the time."""

import datetime as dt
import secrets as randomness
from collections.abc import Mapping
from typing import ClassVar, Final
from urllib.parse import quote

import msgspec

from receiver.errors import VerificationError
from receiver.events import Callback, Fact, Trust
from receiver.sources import documents, forms, signatures
from receiver.sources.base import About, Ack, Signed
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.samples.mercadopago import SAMPLES

_REQUEST_ID: Final = b"x-request-id"
_MILLISECONDS: Final = 13
"""Digits of a time in milliseconds; one in seconds has ten."""
_THOUSAND: Final = 1000
_TOLERANCE: Final = 300


class MercadoPago(HmacProvider):
    """The webhooks of one Mercado Pago application."""

    name: ClassVar[str] = "mercadopago"
    title: ClassVar[str] = "Mercado Pago"
    trust: ClassVar[Trust] = "partial"
    signature_header = b"x-signature"
    timestamp_item = b"ts="
    time_window = dt.timedelta(seconds=_TOLERANCE)
    other_headers = frozenset({_REQUEST_ID})
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", _REQUEST_ID, signature_header})
    # Every 15 minutes, and after the third time at longer intervals; the last is not documented.
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=4)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=22)
    success: ClassVar[Ack] = Ack(status=200)
    layout = Layout(
        id=("id",),
        type=("action",),
        type_else=("type",),
        entities=(("data", "id"), ("resource",)),
        occurred_at=("date_created",),
        livemode=("live_mode",),
    )
    nameless = Layout(
        parts=(("action",), ("type",), ("data", "id"), ("date_created",), ("version",), ("date",)),
        type=("action",),
        type_else=("type",),
        entities=(("data", "id"),),
        occurred_at=("date_created",),
        livemode=("live_mode",),
    )
    about = About(
        signed="The query's `data.id` (in lower case), the header `x-request-id` and the time, by HMAC-SHA256 under "
        "the application's secret, in hexadecimal.",
        unsigned="The body. Who has captured a callback can send any other body along with it within five minutes; the "
        "events have the trust `partial`. Fetch `data.id` by the API before money moves.",
        resends="The body's `id` and what it says; the time, and with it the signature, is that of the sending.",
        key="The notification's `id`. Where the body has none (orders), action, type, `data.id` and times together.",
        retries="Every 15 minutes until it is answered, later more seldom.",
        sources=(
            "https://www.mercadopago.com.br/developers/en/docs/your-integrations/notifications/webhooks",
            "mercadopago (Python), `mercadopago.webhook.validator`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"

    def authenticate(self, callback: Callback, now: float) -> int:
        """Each part that is missing is left out of what is signed, as the provider does."""
        found = signatures.headers(callback, self._wanted)
        header = found.get(self.signature_header)
        if not header:
            raise VerificationError("signature_missing")
        items = dict(item.strip().partition(b"=")[::2] for item in header.split(b","))
        sent, signature = items.get(b"ts"), items.get(b"v1")
        if not sent:
            raise VerificationError("timestamp_missing")
        if not signature:
            raise VerificationError("signature_missing")
        signatures.within(_seconds(sent), now, _TOLERANCE)
        return self.matching([signature], _signed(_data_id(callback.query), found.get(_REQUEST_ID, b""), sent))

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event, about what the signed query names, whatever the body says."""
        try:
            document = documents.json_object(callback.body)
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)
        signed = _data_id(callback.query).decode("utf-8", "replace")
        said = documents.member(document, "data", "id")
        layout = self.layout if document.get("id") is not None else self.nameless
        named = {**document, "data": {"id": signed}} if signed else document
        fact = layout.fact(named, callback.body, callback, self.trust)
        if signed and said is not None and str(said).lower() != signed:
            fact = msgspec.structs.replace(fact, odd=fact.odd or "entity_contradicts")
        return (fact,)

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """For the body's `data.id`, which goes into the query."""
        try:
            data_id = str(documents.member(documents.json_object(body), "data", "id") or "")
        except documents.UnreadableError:
            data_id = ""
        request_id, sent = randomness.token_hex(16), b"%d" % int(now * _THOUSAND)
        digest = self.digest(*_signed(data_id.lower().encode(), request_id.encode(), sent))
        signature = b"ts=%b,v1=%b" % (sent, self.encoded(digest))
        headers = {"Content-Type": "application/json", **(beside or {}), "x-request-id": request_id}
        query = f"data.id={quote(data_id)}" if data_id else ""
        return Signed(headers=(*headers.items(), ("x-signature", signature.decode())), body=body, query=query)


def _seconds(sent: bytes) -> int:
    """Unix seconds of a time in seconds or milliseconds."""
    if len(sent) == _MILLISECONDS and sent.isdigit():
        return int(sent) // _THOUSAND
    return signatures.timestamp(sent)


def _data_id(query: bytes) -> bytes:
    try:
        return forms.parsed(query).get(b"data.id", b"").lower()
    except documents.UnreadableError:
        raise VerificationError("query_malformed") from None


def _signed(data_id: bytes, request_id: bytes, sent: bytes) -> tuple[bytes, ...]:
    named = ((b"id:", data_id), (b"request-id:", request_id), (b"ts:", sent))
    return tuple(part for name, value in named if value for part in (name, value, b";"))
