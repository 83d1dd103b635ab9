"""Chains as we judge them and as OpenSSL does; and UnionPay's messages, known by the certificate that they bring."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import crypto

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback
from receiver.sources import chains
from receiver.sources.options import Option
from receiver.sources.providers.unionpay import COMPANY, UnionPay
from tests.sources.authorities import BEGINS, ENDS, Made, authority, leaf

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
NAME = f"041@8310000000083040@{COMPANY}@00016495"


@dataclass(frozen=True)
class Case:
    """A leaf, what is configured, and when."""

    leaf: Made
    intermediates: Sequence[Made]
    roots: Sequence[Made]
    now: dt.datetime = NOW


@pytest.fixture(scope="session")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


ROOT = authority("root")
OTHER_ROOT = authority("root")
"""Of the same name, with another key."""
MIDDLE = authority("middle", ROOT)
LOWEST = authority("lowest", MIDDLE)
SHORT = authority("short", ROOT, path_length=0)
TOO_LOW = authority("too low", SHORT)
NO_ISSUER = authority("no issuer", ROOT, ca=False)
RENAMED = Made(MIDDLE.certificate, ROOT.key)
"""Issues under the name of one with the key of another."""
HALF = authority("half", ROOT, ca=False, issue=True)
"""Its usage says that it may issue, its constraints that it may not."""
SHORT_LIVED = authority("short-lived", ROOT, ends=dt.datetime(2025, 1, 1, tzinfo=dt.UTC))
STALE_ROOT = authority("stale", ends=dt.datetime(2025, 1, 1, tzinfo=dt.UTC))
BELOW_STALE = authority("below stale", STALE_ROOT)
EDGE = dt.timedelta(seconds=1)

CASES: Mapping[str, Callable[[RSAPrivateKey], Case]] = {
    "root": lambda key: Case(leaf(NAME, key, ROOT), [], [ROOT]),
    "one between": lambda key: Case(leaf(NAME, key, MIDDLE), [MIDDLE], [ROOT]),
    "two between": lambda key: Case(leaf(NAME, key, LOWEST), [LOWEST, MIDDLE], [ROOT]),
    "second root": lambda key: Case(leaf(NAME, key, MIDDLE), [MIDDLE], [OTHER_ROOT, ROOT]),
    "the one between is missing": lambda key: Case(leaf(NAME, key, MIDDLE), [], [ROOT]),
    "the root is missing": lambda key: Case(leaf(NAME, key, MIDDLE), [MIDDLE], [STALE_ROOT]),
    "another root of the name": lambda key: Case(leaf(NAME, key, ROOT), [], [OTHER_ROOT]),
    "another root of the name above": lambda key: Case(leaf(NAME, key, MIDDLE), [MIDDLE], [OTHER_ROOT]),
    "issued by itself": lambda key: Case(leaf(NAME, key, None), [MIDDLE], [ROOT]),
    "issued by a leaf": lambda key: Case(leaf(NAME, key, leaf("middle", key, ROOT)), [MIDDLE], [ROOT]),
    "issued by what may not": lambda key: Case(leaf(NAME, key, NO_ISSUER), [NO_ISSUER], [ROOT]),
    "issued by half of one": lambda key: Case(leaf(NAME, key, HALF), [HALF], [ROOT]),
    "issued under another name": lambda key: Case(leaf(NAME, key, RENAMED), [MIDDLE], [ROOT]),
    "longer than allowed": lambda key: Case(leaf(NAME, key, TOO_LOW), [TOO_LOW, SHORT], [ROOT]),
    "as long as allowed": lambda key: Case(leaf(NAME, key, SHORT), [SHORT], [ROOT]),
    "strange and critical": lambda key: Case(leaf(NAME, key, ROOT, strange=True), [], [ROOT]),
    "over": lambda key: Case(leaf(NAME, key, MIDDLE), [MIDDLE], [ROOT], now=ENDS + EDGE),
    "not yet": lambda key: Case(leaf(NAME, key, MIDDLE), [MIDDLE], [ROOT], now=BEGINS - EDGE),
    "first second": lambda key: Case(leaf(NAME, key, MIDDLE), [MIDDLE], [ROOT], now=BEGINS),
    "last second but one": lambda key: Case(leaf(NAME, key, MIDDLE), [MIDDLE], [ROOT], now=ENDS - EDGE),
    "only the one between is over": lambda key: Case(leaf(NAME, key, SHORT_LIVED), [SHORT_LIVED], [ROOT]),
    "only the root above one between is over": lambda key: Case(
        leaf(NAME, key, BELOW_STALE), [BELOW_STALE], [STALE_ROOT]
    ),
    "only the root is over": lambda key: Case(leaf(NAME, key, STALE_ROOT), [], [STALE_ROOT]),
}
VALID = {
    "root",
    "one between",
    "two between",
    "second root",
    "as long as allowed",
    "first second",
    "last second but one",
}


def ours(case: Case) -> bool:
    roots, between = ([made.certificate for made in some] for some in (case.roots, case.intermediates))
    try:
        _, window = chains.Issuers(roots, between, setting="intermediates").leads(case.leaf.certificate)
        window.check(case.now.timestamp())
    except (SettingsError, VerificationError):
        return False
    return True


def openssl(case: Case) -> bool:
    store = crypto.X509Store()
    for root in case.roots:
        store.add_cert(crypto.X509.from_cryptography(root.certificate))
    store.set_time(case.now)
    between = [crypto.X509.from_cryptography(made.certificate) for made in case.intermediates]
    leaf = crypto.X509.from_cryptography(case.leaf.certificate)
    try:
        crypto.X509StoreContext(store, leaf, between).verify_certificate()
    except crypto.X509StoreContextError:
        return False
    return True


@pytest.mark.parametrize("name", CASES)
def test_openssl_agrees_about_chains(key: RSAPrivateKey, name: str) -> None:
    case = CASES[name](key)
    assert (ours(case), openssl(case)) == (name in VALID, name in VALID)


@pytest.mark.parametrize(("sign", "ca"), [(False, False), (True, True)])
def test_a_leaf_must_be_made_for_signing(key: RSAPrivateKey, sign: bool, ca: bool) -> None:
    """A difference: ours is the stricter one; OpenSSL asks for no purpose unless it is told one."""
    case = Case(leaf(NAME, key, ROOT, sign=sign, ca=ca), [], [ROOT])
    assert not ours(case)
    assert openssl(case)


def test_small_keys_do_not_count() -> None:
    small = generate_private_key(65537, 1024)
    assert not ours(Case(leaf(NAME, small, ROOT), [], [ROOT]))


def source(key: RSAPrivateKey, signing: Made, **more: Option) -> UnionPay:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    options: dict[str, Option] = {"roots": (ROOT.pem,), "intermediates": (MIDDLE.pem,)}
    return UnionPay({**options, "signing_key": private, "signing_certificate": signing.pem, **more})


def sent(provider: UnionPay, **changes: str) -> Callback:
    created = int(NOW.timestamp())
    payload = provider.sample("paid", external_id="order20260101", entity_id="782209081322060674028", created=created)
    signed = provider.sign({**payload, **changes}, created)
    return Callback(method="POST", headers=[], body=signed.body)


def refusal(provider: UnionPay, callback: Callback, now: dt.datetime = NOW) -> str:
    with pytest.raises(VerificationError) as caught:
        provider.verify(callback, now.timestamp())
    return caught.value.reason


IMPOSTORS: Mapping[str, Callable[[RSAPrivateKey], Made]] = {
    "issued by itself": lambda key: leaf(NAME, key, None),
    "issued by another root of the name": lambda key: leaf(NAME, key, OTHER_ROOT),
    "a merchant of the same authority": lambda key: leaf("041@8310000000083040@某商户有限公司@1", key, MIDDLE),
    "the name in another part": lambda key: leaf(f"041@{COMPANY}@某商户有限公司@1", key, MIDDLE),
    "the name and more": lambda key: leaf(f"041@8310000000083040@{COMPANY}某@1", key, MIDDLE),
    "the name and no parts": lambda key: leaf(COMPANY, key, MIDDLE),
    "five parts": lambda key: leaf(f"{NAME}@1", key, MIDDLE),
    "not for signing": lambda key: leaf(NAME, key, MIDDLE, sign=False),
}


@pytest.mark.parametrize("name", IMPOSTORS)
def test_impostors_sign_well_and_are_refused(key: RSAPrivateKey, name: str) -> None:
    impostor = source(key, IMPOSTORS[name](key))
    assert refusal(impostor, sent(impostor)) == "certificate_untrusted"
    genuine = source(key, leaf(NAME, key, MIDDLE))
    assert genuine.verify(sent(genuine), NOW.timestamp()).secret == 0


@pytest.mark.parametrize("now", [ENDS + EDGE, BEGINS - EDGE])
def test_dates_count_at_each_callback(key: RSAPrivateKey, now: dt.datetime) -> None:
    """Also of a certificate that was fine before and is remembered."""
    provider = source(key, leaf(NAME, key, MIDDLE))
    callback = sent(provider)
    provider.verify(callback, NOW.timestamp())
    assert refusal(provider, callback, now) == "certificate_expired"


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        ("", "certificate_missing"),
        ("x", "certificate_malformed"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", "certificate_malformed"),
        (ROOT.pem * 20, "certificate_malformed"),
        (ROOT.pem, "certificate_untrusted"),
    ],
)
def test_what_is_no_certificate_of_theirs(key: RSAPrivateKey, certificate: str, reason: str) -> None:
    provider = source(key, leaf(NAME, key, MIDDLE))
    form = dict(parse_qsl(sent(provider).body.decode()))
    body = urlencode({**form, "signPubKeyCert": certificate}).encode()
    assert refusal(provider, Callback(method="POST", headers=[], body=body)) == reason


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("signature", "", "signature_missing"),
        ("signature", "AAA", "signature_malformed"),
        ("signature", "AAAA", "signature_mismatch"),
        ("signMethod", "11", "signature_type_unknown"),
        ("version", "5.0.0", "signature_type_unknown"),
        ("txnAmt", "1", "signature_mismatch"),
        ("more", "1", "signature_mismatch"),
        ("more", "", "signature_mismatch"),
    ],
)
def test_what_is_not_as_signed(key: RSAPrivateKey, name: str, value: str, reason: str) -> None:
    provider = source(key, leaf(NAME, key, MIDDLE))
    form = dict(parse_qsl(sent(provider).body.decode(), keep_blank_values=True))
    body = urlencode({**form, name: value}).encode()
    assert refusal(provider, Callback(method="POST", headers=[], body=body)) == reason


def key_of(provider: UnionPay, callback: Callback) -> tuple[str | None, int]:
    (fact,) = provider.verify(callback, NOW.timestamp()).facts
    return fact.external_id, fact.key_time


def test_resends_share_a_key_and_other_facts_do_not(key: RSAPrivateKey) -> None:
    provider = source(key, leaf(NAME, key, MIDDLE))
    paid = key_of(provider, sent(provider))
    renewed = source(key, leaf(NAME, key, MIDDLE))
    assert key_of(renewed, sent(renewed, traceNo="2", settleDate="0102", respMsg="成功")) == paid
    others = [
        {"txnType": "04"},
        {"respCode": "51"},
        {"orderId": "another1"},
        {"txnTime": "20260102000000"},
        {"merId": "1"},
    ]
    assert len({paid, *(key_of(provider, sent(provider, **other)) for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("changes", "odd"),
    [
        ({"orderId": ""}, "id_missing"),
        ({"orderId": "a:b"}, "id_missing"),
        ({"orderId": "a\0b"}, "text_nul"),
        ({"respMsg": "a\0b"}, "text_nul"),
        ({"encoding": "utf-7"}, "charset_unknown"),
        ({"encoding": "gbk"}, None),
    ],
)
def test_what_cannot_be_handled_is_odd(key: RSAPrivateKey, changes: Mapping[str, str], odd: str | None) -> None:
    provider = source(key, leaf(NAME, key, MIDDLE))
    (fact,) = provider.verify(sent(provider, **{"respMsg": "余额不足", **changes}), NOW.timestamp()).facts
    assert fact.odd == odd


def test_handlers_see_no_certificate(key: RSAPrivateKey) -> None:
    provider = source(key, leaf(NAME, key, MIDDLE))
    content = provider.content(sent(provider).body)
    assert isinstance(content, dict)
    assert content["txnAmt"] == "420000"
    assert not {"signature", "signPubKeyCert"} & set(content)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"intermediates": (LOWEST.pem,)}, "intermediates: holds a certificate that leads to no root"),
        ({"intermediates": (NO_ISSUER.pem,)}, "intermediates: holds a certificate that leads to no root"),
        ({"roots": (NO_ISSUER.pem,)}, "roots: holds a certificate that may not issue"),
        ({"roots": ("x",)}, "roots[0]: is no certificate in PEM"),
        ({"signing_certificate": ""}, "signing_certificate: belongs together with signing_key"),
    ],
)
def test_wrong_settings_are_named(key: RSAPrivateKey, options: Mapping[str, Option], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        source(key, leaf(NAME, key, MIDDLE), **options)
    assert str(caught.value).startswith(message)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_bit_of_a_message_may_change(data: st.DataObject) -> None:
    form = {name.encode(): value.encode() for name, value in parse_qsl(sent(MADE_UP).body.decode())}
    name = data.draw(st.sampled_from(sorted(form)))
    changed = bytearray(form[name])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    body = urlencode({**form, name: bytes(changed)}).encode()
    with pytest.raises(VerificationError):
        MADE_UP.verify(Callback(method="POST", headers=[], body=body), NOW.timestamp())


def made_up() -> UnionPay:
    options: dict[str, Option] = {}
    for name, value in UnionPay.made_up().items():
        options[name] = tuple(value) if isinstance(value, list) else str(value)
    return UnionPay(options)


MADE_UP = made_up()
