"""Any sender that signs with an HMAC: header, digest, what is signed and where the facts stand are all settings."""

import datetime as dt
from collections.abc import Mapping
from typing import ClassVar

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact
from receiver.sources import new_keys, signatures
from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.hmac_settings import ALGORITHMS, read_layout, read_scheme
from receiver.sources.options import Option
from receiver.sources.samples.hmac import SAMPLES


class AnyHmac(Provider):
    """One sender."""

    name: ClassVar[str] = "hmac"
    title: ClassVar[str] = "Any HMAC"
    settings: ClassVar[Mapping[str, Setting]] = {
        "secrets": Setting(help="shared secrets, newest first; each one verifies", secret=True, many=True, key=True),
        "header": Setting(help="the header with the signature", example="X-Signature"),
        "algorithm": Setting(help=f"{', '.join(ALGORITHMS)}; the first is the default"),
        "encoding": Setting(help="of the signature: hex (the default), base64 or base64url"),
        "secret_encoding": Setting(help="of the secrets: text (the default), hex or base64"),
        "prefix": Setting(help="what stands before the signature, such as sha256="),
        "separator": Setting(help="between several items of the header, such as a comma; none: it holds one signature"),
        "scheme": Setting(help="with a separator: the name of the items that count, such as v1 in t=…,v1=…"),
        "signed": Setting(
            help="what is signed: {body} (the default), {timestamp}, {header:NAME}, and text around them, such as "
            "{timestamp}.{body}"
        ),
        "timestamp_header": Setting(help="the header with the signed time, in Unix seconds"),
        "timestamp_item": Setting(help="or the name of its item in the signature's header, such as t"),
        "tolerance": Setting(help="seconds that the time may be off, either way (default 300)", number=True),
        "id": Setting(help="where the event's id stands in the body, such as data.id; none: the body's hash counts"),
        "id_header": Setting(help="or the header that it stands in; it is taken for not signed"),
        "type": Setting(help="where the event's type stands in the body"),
        "type_header": Setting(help="or the header that it stands in"),
        "entity": Setting(help="where the payment, order or other object is named in the body"),
        "time": Setting(help="where the event's own time stands in the body: ISO 8601, or Unix time"),
    }
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("secrets",), ("header",))
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type"})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(days=7)
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)
    success: ClassVar[Ack] = Ack(status=200)
    # As `made_up` has it; every source says its own.
    signature_header = b"x-signature"
    timestamp_header = b"x-timestamp"
    time_window = dt.timedelta(seconds=300)
    about = About(
        signed="What the setting `signed` says: the body, which must be in it, and whatever the sender puts around it.",
        unsigned="Headers that are not in `signed`. A type that is read from one can be forged by who has captured a "
        "callback; an id that is read from one makes no second event.",
        resends="Taken to be what stands at `id`; without it, the whole body.",
        key="What stands at `id`. Without it, or where the id comes in a header, the body's hash with the type.",
        retries="Not known; keys are kept for at least 7 days.",
        sources=("https://www.rfc-editor.org/rfc/rfc2104",),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "evt_{unique}"

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Read how the sender signs, and where its messages hold what."""
        self._scheme = read_scheme(options)
        self._layout = read_layout(options)

    @classmethod
    def made_up(cls) -> dict[str, object]:
        """A sender that signs a time too."""
        return {
            "secrets": [new_keys.secret()],
            "header": "X-Signature",
            "timestamp_header": "X-Timestamp",
            "signed": "{timestamp}.{body}",
            "id": "id",
            "type": "type",
            "entity": "data.id",
            "time": "created_at",
        }

    def kept_headers(self) -> frozenset[bytes]:
        """Those that the settings name."""
        named = {self._layout.id_header or b"", self._layout.type_header or b""} - {b""}
        return self.keep_headers | self._scheme.headers | named

    def authenticate(self, callback: Callback, now: float) -> int:
        """As the settings say."""
        scheme = self._scheme
        found = signatures.headers(callback, scheme.headers)
        header = found.get(scheme.header)
        if not header:
            raise VerificationError("signature_missing")
        candidates, sent = scheme.candidates(header), scheme.time(found)
        if sent:
            signatures.within(signatures.timestamp(sent), now, scheme.tolerance)
        parts = scheme.parts(callback.body, sent, found)
        for index, secret in enumerate(scheme.hmacs):
            if signatures.any_equal(candidates, scheme.spell(secret.digest(*parts))):
                return index
        raise VerificationError("signature_mismatch")

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One event."""
        return self._layout.read(callback)

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """With the newest secret."""
        scheme = self._scheme
        if not scheme.hmacs:
            raise SettingsError("secrets: is needed to sign")
        sent = b"%d" % int(now)
        headers = {"Content-Type": "application/json", **(beside or {})}
        if scheme.time_header:
            headers[scheme.time_header.decode()] = sent.decode()
        found = {name.lower().encode(): value.encode() for name, value in headers.items()}
        signature = scheme.prefix + scheme.spell(scheme.hmacs[0].digest(*scheme.parts(body, sent, found)))
        items = [scheme.time_item + b"=" + sent] if scheme.time_item else []
        items.append(scheme.item + b"=" + signature if scheme.item else signature)
        headers[scheme.header.decode()] = scheme.separator.join(items).decode()
        return Signed(headers=tuple(headers.items()), body=body)
