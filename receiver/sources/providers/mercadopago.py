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
from receiver.sources.base import About, Ack, Setting, Signed
from receiver.sources.hmac_scheme import HmacProvider
from receiver.sources.layout import Layout
from receiver.sources.samples.mercadopago import SAMPLES

_REQUEST_ID: Final = b"x-request-id"
_DATA_ID: Final = b"data.id"
_MILLISECONDS: Final = 13
"""Digits of a time in milliseconds; one in seconds has ten."""
_THOUSAND: Final = 1000
_HORIZON: Final = dt.timedelta(days=4)


class MercadoPago(HmacProvider):
    """The webhooks of one Mercado Pago application."""

    name: ClassVar[str] = "mercadopago"
    title: ClassVar[str] = "Mercado Pago"
    trust: ClassVar[Trust] = "sender"
    at_best: ClassVar[Trust] = "partial"
    signature_header = b"x-signature"
    timestamp_item = b"ts="
    time_window = _HORIZON
    other_headers = frozenset({_REQUEST_ID})
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type", _REQUEST_ID, signature_header})
    # Every 15 minutes, and after the third time at longer intervals; the last is not documented.
    retry_horizon: ClassVar[dt.timedelta] = _HORIZON
    called_per_payment: ClassVar[bool | None] = True
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=22)
    success: ClassVar[Ack] = Ack(status=200)
    settings: ClassVar[Mapping[str, Setting]] = {
        **HmacProvider.settings,
        "access_token": Setting(help='for confirm = "provider": the token of the account that is paid', secret=True),
        "api_url": Setting(help="where the API is; default: https://api.mercadopago.com"),
    }
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
        signed="The query's `data.id` (as it stands there, or in lower case), the header `x-request-id` and the time, "
        "by HMAC-SHA256 under the application's secret, in hexadecimal. What is missing is left out.",
        unsigned="The body: who has captured a callback can send any other along with it, and so any type, action and "
        "notification id, but about the same `data.id` alone. The trust is `partial`: fetch the thing that `data.id` "
        "names by the API and go by its state. Where the query has no `data.id`, nothing of what the event says is "
        "signed, and the trust is `sender`.",
        resends="The body's `id` and what it says. Whether the time is that of the first sending or of each is not "
        "documented, so one is taken that is up to four days old: to refuse a resend would lose it, while a callback "
        "that is sent again by somebody else is a duplicate, or at worst fetches the same thing once more.",
        key="The signed `data.id` with the notification's `id` and action: who makes up an id can add an event about "
        "the thing that he has a callback of, and can take no other's place. Where the body has no `id`, action, "
        "type, `data.id` and times together.",
        retries="Every 15 minutes until it is answered, later more seldom.",
        sources=(
            "https://www.mercadopago.com.br/developers/en/docs/your-integrations/notifications/webhooks",
            "mercadopago (Python), `mercadopago.webhook.validator`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{unique}"

    def authenticate(self, callback: Callback, now: float) -> int:
        """The parts that are there, with `data.id` as it came or in lower case: documents and SDK differ there."""
        found = signatures.headers(callback, self._wanted)
        header = found.get(self.signature_header)
        if not header:
            raise VerificationError("signature_missing")
        sent, signature = _parts(header)
        signatures.within(_seconds(sent), now, _HORIZON.total_seconds())
        try:
            data_id = forms.parsed(callback.query).get(_DATA_ID, b"")
        except documents.UnreadableError:
            raise VerificationError("query_malformed") from None
        request_id = found.get(_REQUEST_ID, b"")
        if b";" in data_id + request_id:  # it would move the border between the two
            raise VerificationError("signature_malformed")
        try:
            return self.matching([signature], _signed(data_id, request_id, sent))
        except VerificationError:
            return self.matching([signature], _signed(data_id.lower(), request_id, sent))

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event, about what the signed query names, whatever the body says."""
        try:
            document = documents.json_object(callback.body)
            about = forms.parsed(callback.query).get(_DATA_ID, b"").decode()
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)
        except UnicodeDecodeError:
            return (documents.odd("form_malformed"),)
        layout = self.layout if document.get("id") is not None else self.nameless
        if not about:
            fact = layout.fact(document, callback.body, callback, "sender")
            return (msgspec.structs.replace(fact, identity=documents.derived_id(callback.body)),)
        fact = layout.fact({**document, "data": {"id": about}}, callback.body, callback, "partial")
        told = (about.lower(), fact.external_id or "", fact.type or "")
        said = documents.member(document, "data", "id")
        contradicts = said is not None and str(said).lower() != about.lower()
        return (
            msgspec.structs.replace(
                fact,
                identity=documents.derived_id(*(part.encode() for part in told)),
                odd=fact.odd or ("entity_contradicts" if contradicts else None),
            ),
        )

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


def _parts(header: bytes) -> tuple[bytes, bytes]:
    """The values of `ts` and `v1`, each of which stands there once."""
    items = [item.strip().partition(b"=") for item in header.split(b",")]
    sent = [value for name, _, value in items if name == b"ts"]
    found = [value for name, _, value in items if name == b"v1"]
    if not any(sent):
        raise VerificationError("timestamp_missing")
    if not any(found):
        raise VerificationError("signature_missing")
    if len(sent) > 1 or len(found) > 1:
        raise VerificationError("signature_malformed")
    return sent[0], found[0]


def _seconds(sent: bytes) -> int:
    """Unix seconds of a time in seconds or milliseconds."""
    if len(sent) == _MILLISECONDS and sent.isdigit():
        return int(sent) // _THOUSAND
    return signatures.timestamp(sent)


def _signed(data_id: bytes, request_id: bytes, sent: bytes) -> tuple[bytes, ...]:
    named = ((b"id:", data_id), (b"request-id:", request_id), (b"ts:", sent))
    return tuple(part for name, value in named if value for part in (name, value, b";"))
