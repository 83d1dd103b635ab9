"""Alipay (China): a form whose `sign` is RSA-SHA256 ("RSA2") over its own sorted parameters.

Sources: https://docs.open.alipay.com/204/105301 (asynchronous notification), the official SDKs' `rsaCheckV1` and
`checkNotifySign`, and https://github.com/alipay/alipay-sdk-nodejs-all/issues (17, 27, 30): messages differ in whether
`sign_type` is signed, and SDKs in whether parameters without a value are.

Stays the same on every resend: `notify_id` and the business parameters. `notify_time` and `timestamp` are those of
the sending, and with them `sign` changes. `notify_id` carries the time of its own making: one that was sent again at
10:54:03 for a payment of 10:51:30 (issue 30) reads 2019051500222**105131**… Since it is read from the id alone, what
it yields is as constant as the id, whatever it means.
"""

import datetime as dt
from binascii import b2a_base64
from collections.abc import Iterator, Mapping
from typing import ClassVar, Final
from urllib.parse import urlencode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact, Verified, parse_exactly
from receiver.sources import documents, forms, keys, new_keys, signatures, times
from receiver.sources.base import About, Ack, Provider, Setting, Signed
from receiver.sources.options import Option, texts
from receiver.sources.samples.alipay import SAMPLES
from receiver.sources.template import SHANGHAI

_SIGN: Final = b"sign"
_SIGN_TYPE: Final = b"sign_type"
_RSA2: Final = b"RSA2"
_NOT_SIGN: Final = frozenset({_SIGN})
_NEITHER: Final = frozenset({_SIGN, _SIGN_TYPE})
_RESENT: Final = _NEITHER | frozenset({b"notify_time", b"timestamp", b"utc_timestamp"})
"""What may differ between two sendings of one notification."""
_TYPES: Final = ("trade_status", "notify_type", "msg_method", "method")
_ENTITIES: Final = (
    "trade_no",
    "auth_no",
    "agreement_no",
    "commodity_order_id",
    "order_id",
    "out_trade_no",
    "out_order_no",
    "out_biz_no",
)
"""Where the object of a message is named: Alipay's own number first, then the merchant's."""
_TIMES: Final = ("gmt_refund", "gmt_close", "gmt_payment", "gmt_create")
_ID_HEAD: Final = 19
"""Digits of a notify_id that tell when it was made."""
_YEARS: Final = range(2004, 2100)
"""Those in which there is an Alipay; an id of another form that happens to begin with digits is seldom in them."""
_PADDING: Final = PKCS1v15()
_HASH: Final = SHA256()
_Form = Mapping[bytes, bytes]


class Alipay(Provider):
    """One application of an Alipay merchant."""

    name: ClassVar[str] = "alipay"
    title: ClassVar[str] = "Alipay"
    settings: ClassVar[Mapping[str, Setting]] = {
        "public_key": Setting(
            help="Alipay's public key (not the application's own): PEM, its base64, or Alipay's certificate in PEM; "
            "several while it is being replaced",
            many=True,
            key=True,
        ),
        "signing_key": Setting(help="for tests: the private key, in PEM, that plays Alipay", secret=True),
    }
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("public_key",),)
    keep_headers: ClassVar[frozenset[bytes]] = frozenset({b"content-type"})
    retry_horizon: ClassVar[dt.timedelta] = dt.timedelta(hours=25)
    called_per_payment: ClassVar[bool | None] = True
    answer_deadline: ClassVar[dt.timedelta] = dt.timedelta(seconds=5)  # not documented; a cautious guess
    signature_member = ("sign",)
    differs = (("notify_time",), ("timestamp",), ("utc_timestamp",))
    success: ClassVar[Ack] = Ack(status=200, body=b"success", content_type="text/plain")
    about = About(
        signed="The form's parameters, decoded once and sorted, without `sign` and mostly without `sign_type`, by "
        "RSA-SHA256 (RSA2) under Alipay's key, in base64. Messages differ in whether `sign_type` is signed, and in "
        "whether parameters without a value are; all four ways are taken.",
        unsigned="`sign`, `sign_type` and empty parameters, which `event.data` leaves out. And no time is signed: a "
        "captured callback verifies for ever, and is a duplicate for as long as keys are kept.",
        resends="`notify_id` and the business parameters; `notify_time`, `timestamp` and `sign` change.",
        key="`notify_id`, with the hour that stands in it. Payment, refund and finish of one trade have an id each: "
        "to go by `trade_no` would take the refund for a duplicate of the payment.",
        retries="After 4, 10 and 10 minutes, 1, 2, 6 and 15 hours: 25 hours in all.",
        sources=(
            "https://docs.open.alipay.com/204/105301",
            "alipay-sdk-nodejs-all, issues 17, 27 and 30",
            "alipay-sdk-python, `alipay.aop.api.util.SignatureUtils`",
        ),
    )
    samples = SAMPLES
    id_form: ClassVar[str] = "{china_day}00222{china_clock}{unique}"

    def __init__(self, options: Mapping[str, Option]) -> None:
        """Parse the keys."""
        values = texts(options, "public_key")
        self._public_keys = [keys.rsa_public_key(value, f"public_key[{i}]") for i, value in enumerate(values)]
        self._signing_key = keys.rsa_signing_key(options, "signing_key")
        if self._signing_key is not None and self._signing_key.public_key() not in self._public_keys:
            raise SettingsError("signing_key: belongs to none of the public keys")

    def authenticate(self, callback: Callback, now: float) -> int:
        """Check `sign` as RSA2, whatever `sign_type` claims. Alipay signs no time that could be too old."""
        del now
        return self._check(_form_to_check(callback))

    def read(self, callback: Callback) -> tuple[Fact, ...]:
        """One notification."""
        try:
            return (_fact(forms.parsed(_raw(callback))),)
        except documents.UnreadableError as error:
            return (documents.odd(error.reason),)

    def verify(self, callback: Callback, now: float) -> Verified:
        """As for every provider, but the form is taken apart only once."""
        del now
        form = _form_to_check(callback)
        matched = self._check(form)
        try:
            fact = _fact(form)
        except documents.UnreadableError as error:
            fact = documents.odd(error.reason)
        return Verified(facts=(fact,), secret=matched)

    def content(self, body: bytes) -> object:
        """The parameters as strings, without those that may not have been signed: the signature's, and empty ones."""
        form = forms.parsed(body)
        return _strings({name: value for name, value in form.items() if name not in _NEITHER})

    def render(self, payload: Mapping[str, object], now: float) -> bytes:
        """The payload as a form, sent at `now`; its `charset` is kept to."""
        sent = dt.datetime.fromtimestamp(int(now), SHANGHAI).strftime("%Y-%m-%d %H:%M:%S")
        strings = {"charset": "utf-8", "notify_time": sent, **{name: str(value) for name, value in payload.items()}}
        charset = strings["charset"]
        return urlencode({name.encode(charset): value.encode(charset) for name, value in strings.items()}).encode()

    def seal(self, body: bytes, now: float, beside: Mapping[str, str] | None = None) -> Signed:
        """A form, with the signature of its parameters."""
        del now, beside
        if self._signing_key is None:
            raise SettingsError("signing_key: is needed to sign")
        form = forms.parsed(body)
        charset = form.get(b"charset", b"utf-8").decode("ascii", "replace")
        signature = self._signing_key.sign(_joined(form, _NEITHER), _PADDING, _HASH)
        form |= {_SIGN: b2a_base64(signature, newline=False), _SIGN_TYPE: _RSA2}
        content_type = f"application/x-www-form-urlencoded; charset={charset}"
        return Signed(headers=(("Content-Type", content_type),), body=urlencode(form).encode())

    @classmethod
    def made_up(cls) -> dict[str, object]:
        """A key whose Alipay is ourselves."""
        key = new_keys.rsa_key()
        return {"public_key": [new_keys.public_pem(key)], "signing_key": new_keys.private_pem(key)}

    def _check(self, form: _Form) -> int:
        sign = form.get(_SIGN)
        if not sign:
            raise VerificationError("signature_missing")
        signature = signatures.strict_base64(sign)
        if signature is None:
            raise VerificationError("signature_malformed")
        for signed in _signed(form):
            for index, key in enumerate(self._public_keys):
                try:
                    key.verify(signature, signed, _PADDING, _HASH)
                except InvalidSignature:
                    continue
                return index
        raise VerificationError("signature_mismatch")


def _raw(callback: Callback) -> bytes:
    # A browser's return to the shop is signed in the same way, in the query. It is for `receiver verify` only.
    return callback.query if callback.method == "GET" else callback.body


def _form_to_check(callback: Callback) -> dict[bytes, bytes]:
    try:
        return forms.parsed(_raw(callback))
    except documents.UnreadableError as error:
        raise VerificationError(error.reason) from None


def _joined(form: _Form, without: frozenset[bytes], *, empty: bool = False) -> bytes:
    """`name=value` of all but some names, sorted; those without a value only if `empty`."""
    kept = [b"%b=%b" % pair for pair in sorted(form.items()) if pair[0] not in without and (empty or pair[1])]
    return b"&".join(kept)


def _signed(form: _Form) -> Iterator[bytes]:
    """What may have been signed, the usual first: at most four strings."""
    # Frameworks are known to drop `sign_type` on the way; the official Node SDK puts it back as well.
    typed = {**form, _SIGN_TYPE: form.get(_SIGN_TYPE) or _RSA2}
    yield _joined(form, _NEITHER)
    yield _joined(typed, _NOT_SIGN)
    if not all(form.values()):
        yield _joined(form, _NEITHER, empty=True)
        yield _joined(typed, _NOT_SIGN, empty=True)


def _strings(form: _Form) -> dict[str, str]:
    return forms.strings(form, form.get(b"charset", b"utf-8"))


def _fact(form: _Form) -> Fact:
    forms.check_one_reading((name, value) for name, value in form.items() if value and name not in _NEITHER)
    strings = _strings(form)
    external_id, id_odd = documents.identifier(strings.get("notify_id", ""))
    type_, type_odd = documents.event_type(_first(strings, _TYPES))
    made_at = _made_at(external_id)
    nul = "text_nul" if any("\0" in part for pair in strings.items() for part in pair) else None
    return Fact(
        external_id=external_id,
        type=type_,
        entity_id=_entity(strings),
        occurred_at=times.from_iso(_first(strings, _TIMES), SHANGHAI) or made_at,
        key_time=int(made_at.timestamp()) if made_at else 0,
        fingerprint=_fingerprint(form),
        odd=id_odd or type_odd or nul,
    )


def _first(strings: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((strings[name] for name in names if name in strings), None)


def _entity(strings: Mapping[str, str]) -> str | None:
    found = documents.entity(*(strings.get(name) for name in _ENTITIES))
    if found is not None or "biz_content" not in strings:
        return found
    # Messages of the newer kind hold their business parameters as JSON in one.
    try:
        content = parse_exactly(strings["biz_content"].encode())
    except ValueError:
        return None
    return documents.entity(*(documents.member(content, name) for name in _ENTITIES))


def _made_at(notify_id: str | None) -> dt.datetime | None:
    """The time in a notify_id: day, five digits that say what it is, time of day, all in Beijing's time."""
    head = (notify_id or "")[:_ID_HEAD]
    if len(head) != _ID_HEAD or not (head.isascii() and head.isdigit()):
        return None
    day = int(head[:4]), int(head[4:6]), int(head[6:8])
    clock = int(head[13:15]), int(head[15:17]), int(head[17:19])
    try:
        made = dt.datetime(*day, *clock, tzinfo=SHANGHAI)
    except ValueError:
        return None
    return made if made.year in _YEARS else None


def _fingerprint(form: _Form) -> bytes:
    kept = sorted(pair for pair in form.items() if pair[1] and pair[0] not in _RESENT)
    return documents.fingerprint(*(part for pair in kept for part in pair))
