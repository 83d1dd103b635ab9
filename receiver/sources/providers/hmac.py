"""Any sender that signs with an HMAC in one header: what else is fixed in a class is a setting here."""

import datetime as dt
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact
from receiver.sources import documents, keys, new_keys, signatures
from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.hmac_settings import SETTINGS, layout, scheme
from receiver.sources.layout import Path
from receiver.sources.options import Option, text
from receiver.sources.samples.hmac import SAMPLES
from receiver.sources.template import HEADERS, headers_in

_SPELLINGS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "hex": lambda digest: digest.hex().encode(),
    "base64": b64encode,
    "base64url": lambda digest: urlsafe_b64encode(digest).rstrip(b"="),
}
"""The one spelling of a signature that is accepted."""
_ID: Final = "id"
_TYPE: Final = "type"
_CREATED: Final = "created_at"
_ENTITY: Final = ("data", "id")
"""Where the samples hold those."""


class Hmac(Provider):
    """One account of a sender that has no provider of its own."""

    name: ClassVar[str] = "hmac"
    title: ClassVar[str] = "Any HMAC"
    settings: ClassVar[Mapping[str, Setting]] = SETTINGS
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("secrets",), ("header",))
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type"})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=4)  # nobody knows; as long as Standard Webhooks'
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)  # likewise; what the least patient give
    success: ClassVar[Ack] = Ack(status=200)
    # As `made_up` has it; every source says its own.
    signature_header = b"x-signature"
    timestamp_header = b"x-timestamp"
    time_window = dt.timedelta(seconds=300)
    about = About(
        signed="What the setting `signed` says, which always holds the raw body, by HMAC under one of the secrets.",
        unsigned="Headers that `signed` does not name, though id and type may be read in them.",
        resends="Nobody knows, so there is no fingerprint: of two callbacks under one id the first counts.",
        key="The id, if it is signed: in the body, or in a header that `signed` names. Else the hash of the body, "
        "together with the type where that stands in a header.",
        retries="As the sender likes. Keys are kept for `retention_days`: let that be longer than it repeats.",
        sources=("RFC 2104, HMAC: Keyed-Hashing for Message Authentication",),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "evt_{unique}"

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Read the scheme, the layout and the keys."""
        self._scheme = scheme(options)
        self._layout = layout(options, self._scheme.signed.headers)
        encoding = text(options, "secret_encoding") or "text"
        self._hmacs = [
            signatures.Hmac(keys.secret_bytes(secret, encoding, f"secrets[{index}]"), self._scheme.algorithm)
            for index, secret in enumerate(keys.secrets(options, "secrets"))
        ]
        clock = self._scheme.clock
        named = {self._scheme.header, clock.header if clock else None, *self._scheme.signed.headers}
        self._wanted = frozenset(name for name in named if name) | self._layout.headers()

    @classmethod
    def made_up(cls) -> dict[str, object]:
        """A secret, and a scheme that signs the time as well."""
        return {
            "secrets": [new_keys.secret()],
            "header": "X-Signature",
            "timestamp_header": "X-Timestamp",
            "signed": "{timestamp}.{body}",
            "id": "id",
            "type": "type",
            "entity": ["data.id"],
            "time": "created_at",
        }

    def kept_headers(self) -> frozenset[bytes]:
        """Those that the settings name."""
        return self.keep_headers | self._wanted

    def authenticate(self, callback: Callback, now: float) -> int:
        """Compare each signature in the header with each secret's HMAC."""
        found = signatures.headers(callback, self._wanted)
        header = found.get(self._scheme.header or b"")
        if not header:
            raise VerificationError("signature_missing")
        items, prefix = self._scheme.items(header), self._scheme.prefix
        candidates = [item[len(prefix) :] for item in items if item.startswith(prefix)]
        if not candidates:
            raise VerificationError("signature_malformed")
        parts = self._scheme.signed.parts(callback.body, self._sent(found, items, now), found)
        for index, secret in enumerate(self._hmacs):
            if signatures.any_equal(candidates, self._encoded(secret.digest(*parts))):
                return index
        raise VerificationError("signature_mismatch")

    def _sent(self, found: Mapping[bytes, bytes], items: list[bytes], now: float) -> bytes:
        """The time as it is spelled, if it is near enough; nothing where none is signed."""
        clock = self._scheme.clock
        if clock is None:
            return b""
        sent = clock.sent(found, items)
        clock.check(sent, now)
        return sent

    def _encoded(self, digest: bytes) -> bytes:
        return _SPELLINGS[self._scheme.encoding](digest)

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event, read as the settings say."""
        return self._layout.read(callback, self.trust)

    def sign(self, payload: Mapping[str, object], now: float) -> Signed:
        """What a sample says in its own members is put where the settings look for it, if nothing stands there."""
        written = {name: part for name, part in payload.items() if name != HEADERS}
        beside = {**self._headers_of(payload), **headers_in(payload)}
        return self.seal(self.render(self._placed(written), now), now, beside)

    def _headers_of(self, payload: Mapping[str, object]) -> dict[str, str]:
        named = {self._layout.id_header: payload.get(_ID), self._layout.type_header: payload.get(_TYPE)}
        return {name.decode().title(): str(value) for name, value in named.items() if name and value is not None}

    def _placed(self, payload: Mapping[str, object]) -> Mapping[str, object]:
        ways = (self._layout.id, self._layout.type, self._layout.occurred_at, *self._layout.entities[:1])
        names = ((_ID,), (_TYPE,), (_CREATED,), _ENTITY)
        values = [documents.member(payload, *name) for name in names]
        for way, value in zip(ways, values, strict=False):
            payload = _with(payload, way, value)
        return payload

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """With the newest secret. A header that is signed and not given gets a value of our own making."""
        if not self._hmacs or self._scheme.header is None:
            raise SettingsError(f"{'header' if self._hmacs else 'secrets'}: is needed to sign")
        clock = self._scheme.clock
        sent = clock.written(now) if clock else b""
        made = {name.decode().title(): documents.derived_id(body)[-16:] for name in self._scheme.signed.headers}
        headers = {
            "Content-Type": "application/json",
            **made,
            **{name.title(): v for name, v in (beside or {}).items()},
        }
        if clock and clock.header:
            headers[clock.header.decode().title()] = sent.decode()
        found = {name.lower().encode(): value.encode() for name, value in headers.items()}
        digest = self._hmacs[0].digest(*self._scheme.signed.parts(body, sent, found))
        items = [self._scheme.prefix + self._encoded(digest)]
        if clock and clock.item:
            items.insert(0, clock.item + sent)
        headers[self._scheme.header.decode().title()] = self._scheme.separator.join(items).decode()
        return Signed(headers=tuple(headers.items()), body=body)


def _with(payload: Mapping[str, object], way: Path | None, value: object) -> Mapping[str, object]:
    """A copy that has `value` at `way`, unless something stands there or on the way to it."""
    if not way or value is None:
        return payload
    first, rest = way[0], way[1:]
    there = payload.get(first)
    if not rest:
        return payload if there is not None else {**payload, first: value}
    if there is None or isinstance(there, Mapping):
        return {**payload, first: _with(there or {}, rest, value)}
    return payload
