"""Certificates from outside, in a message or fetched, spoilt below their encoding: known, or the one error."""

import itertools
import json
from base64 import encodebytes
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qsl, urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources.fetched import KeyAnswer
from receiver.sources.new_keys import certificate_pem
from receiver.sources.providers.paypal import PayPal
from receiver.sources.providers.wechatpay import WeChatPay
from receiver.sources.providers.wechatpay_published import DOCUMENT
from tests.certificates.test_wechatpay import options_of, sealed
from tests.fuzz.mutated import Change, changes, edited
from tests.fuzz.promise import outcome
from tests.fuzz.rounds import NOW
from tests.providers.accounts import account

MODEST: Final = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SPOILT: Final = changes(("body",))
MAYBE: Final[st.SearchStrategy[list[Change]]] = st.just([]) | SPOILT


def pem(der: bytes) -> bytes:
    """In its envelope, whatever it is."""
    return b"-----BEGIN CERTIFICATE-----\n%b-----END CERTIFICATE-----\n" % encodebytes(der)


@MODEST
@given(in_der=SPOILT, in_pem=MAYBE)
def test_of_unionpay_in_each_message(in_der: list[Change], in_pem: list[Change]) -> None:
    good = account("unionpay").sent(now=NOW)
    _with_certificate(good, edited(pem(edited(_der_in(good), in_der)), in_pem))


def test_each_byte_of_one_that_comes_in_a_message() -> None:
    """Length, tag, version, name, date, extension (0x13 makes two of one kind), key or signature: each byte of it."""
    good = account("unionpay").sent(now=NOW)
    der = _der_in(good)
    for at, byte in itertools.product(range(len(der)), (0x13, 0x20, 0xFF)):
        _with_certificate(good, pem(der[:at] + bytes([byte]) + der[at + 1 :]))


def _der_in(callback: Callback) -> bytes:
    (der,) = _ders(dict(parse_qsl(callback.body))[b"signPubKeyCert"])
    return der


def _with_certificate(good: Callback, certificate: bytes) -> None:
    form = {**dict(parse_qsl(good.body, keep_blank_values=True)), b"signPubKeyCert": certificate}
    outcome(account("unionpay"), replace(good, body=urlencode(form).encode()), NOW)


@MODEST
@given(in_der=SPOILT, in_pem=MAYBE, which=st.integers(0, 1))
def test_of_paypal_where_it_is_published(in_der: list[Change], in_pem: list[Change], which: int) -> None:
    one = account("paypal")
    assert isinstance(one.source.provider, PayPal)
    published = one.settings["certificates"]
    assert isinstance(published, Mapping)
    ((address, good),) = published.items()
    ders = _ders(str(good).encode())
    spoilt = [edited(der, in_der) if at == which % len(ders) else der for at, der in enumerate(ders)]
    answer = KeyAnswer(document=address, at=NOW, headers={}, body=edited(b"".join(map(pem, spoilt)), in_pem))
    with suppress(VerificationError):
        one.source.provider.accept(answer, NOW)


@pytest.fixture(scope="module")
def key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def wechat(key: RSAPrivateKey) -> WeChatPay:
    return WeChatPay(options_of(key))


@pytest.fixture(scope="module")
def platform(key: RSAPrivateKey) -> bytes:
    return certificate_pem(key).encode()


@MODEST
@given(in_der=MAYBE, in_pem=MAYBE, in_list=MAYBE)
def test_of_wechat_pay_in_its_list(
    wechat: WeChatPay, platform: bytes, in_der: list[Change], in_pem: list[Change], in_list: list[Change]
) -> None:
    spoilt = edited(pem(edited(_ders(platform)[0], in_der)), in_pem).decode("utf-8", "replace")
    body = edited(json.dumps({"data": [{"serial_no": "1", "encrypt_certificate": sealed(spoilt)}]}).encode(), in_list)
    names = ("serial", "timestamp", "nonce", "signature")
    headers = {f"wechatpay-{name}": edited(b"%d" % NOW, in_list).decode("latin-1") for name in names}
    with suppress(VerificationError):
        wechat.accept(KeyAnswer(document=DOCUMENT, at=NOW, headers=headers, body=body), NOW)


def _ders(chain: bytes) -> list[bytes]:
    return [one.public_bytes(Encoding.DER) for one in load_pem_x509_certificates(chain)]
