"""The SDK `wechatpayv3` and we agree on every key, signature and resource, but for what is listed."""

import base64
import datetime as dt
import importlib
import json
from collections.abc import Callable, Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources import Provider
from receiver.sources.providers.wechatpay import SIGNATURE_TYPE
from tests.sources.conftest import NOW, Kit, as_callback, first, private_key, provider_with, wechatpay_body
from tests.sources.oracles.tampering import CHANGES, JSON, MODEST, Change

wechatpayv3 = importlib.import_module("wechatpayv3")  # it has no types
PUBLIC = "PUB_KEY_ID_0112345678"
Keys = Mapping[str, RSAPrivateKey]
Theirs = Callable[[Mapping[str, str], bytes], bool]


@pytest.fixture(scope="module")
def keys(kits: Mapping[str, Kit]) -> Keys:
    """By serial: one of a certificate, and a public key with an id."""
    kit = kits["wechatpay"]
    serial = dict(kit.seal(b"").headers)[b"wechatpay-serial"].decode()
    return {serial: private_key(kit.settings), PUBLIC: private_key(kits["alipay"].settings)}


@pytest.fixture(scope="module")
def merchant(kits: Mapping[str, Kit], keys: Keys) -> Provider:
    return provider_with({**kits["wechatpay"].settings, "public_keys": {PUBLIC: pem(keys[PUBLIC])}})


@pytest.fixture(scope="module")
def theirs(kits: Mapping[str, Kit], keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Theirs:
    """The SDK in both its modes. It has all keys, so that it asks no server for them."""
    kit = kits["wechatpay"]
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "platform.pem").write_text(first(kit.settings["certificates"]))
    own = {
        "wechatpay_type": wechatpayv3.WeChatPayType.JSAPI,
        "mchid": "1900000000",
        "private_key": kit.settings["signing_key"],
        "cert_serial_no": "1",
        "appid": "wx",
        "apiv3_key": kit.settings["api_v3_key"],
    }
    by_key = wechatpayv3.WeChatPay(**own, public_key=pem(keys[PUBLIC]), public_key_id=PUBLIC)
    by_certificate = wechatpayv3.WeChatPay(**own, cert_dir=str(folder))

    def verdict(headers: Mapping[str, str], body: bytes) -> bool:
        sdk = by_key if headers["wechatpay-serial"] == PUBLIC else by_certificate
        try:
            return sdk.callback(headers, body) is not None
        except Exception:  # noqa: BLE001 - for what is malformed it raises many kinds, a plain Exception too
            return False

    return verdict


def pem(key: RSAPrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def ours(merchant: Provider, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether it is genuine, and its resource was decrypted."""
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    try:
        (fact,) = merchant.verify(Callback(method="POST", headers=pairs, body=body), NOW).facts
    except VerificationError:
        return False
    return fact.odd is None


def signed(key: RSAPrivateKey, serial: str, body: bytes, sent: str = str(NOW)) -> dict[str, str]:
    signature = key.sign(f"{sent}\nnonce\n".encode() + body + b"\n", PKCS1v15(), SHA256())
    return {
        "wechatpay-serial": serial,
        "wechatpay-timestamp": sent,
        "wechatpay-nonce": "nonce",
        "wechatpay-signature": base64.b64encode(signature).decode(),
        "wechatpay-signature-type": SIGNATURE_TYPE.decode(),
    }


@MODEST
@given(content=JSON, change=CHANGES, data=st.data())
def test_every_verdict(
    *,
    kits: Mapping[str, Kit],
    keys: Keys,
    merchant: Provider,
    theirs: Theirs,
    content: dict[str, object],
    change: Change,
    data: st.DataObject,
) -> None:
    text = json.dumps(content, ensure_ascii=False).encode()
    written = wechatpay_body(kits["wechatpay"], text, resource_type="encrypt-resource")
    serial, used = data.draw(st.sampled_from(list(keys))), data.draw(st.sampled_from(list(keys)))
    real = signed(keys[used], serial, written)
    body, signature = change(written, real["wechatpay-signature"])
    altered = data.draw(st.sampled_from([{}, {"wechatpay-nonce": "other"}, {"wechatpay-timestamp": str(NOW - 1)}]))
    for headers, arrived in (
        (real, written),
        ({**real, "wechatpay-signature": signature}, body),
        ({**real, **altered}, written),
    ):
        found = ours(merchant, headers, arrived)
        assert found == (theirs(headers, arrived) and not respelled(headers, real))
        assert found == ((headers, arrived, serial) == (real, written, used))


def respelled(headers: Mapping[str, str], real: Mapping[str, str]) -> bool:
    """A difference: base64 with something behind its padding means the same to them, and is none to us."""
    sent, meant = headers["wechatpay-signature"], real["wechatpay-signature"]
    return sent != meant and base64.b64decode(sent.encode()) == base64.b64decode(meant)


@MODEST
@given(content=JSON)
def test_they_read_what_we_sign(kits: Mapping[str, Kit], theirs: Theirs, content: dict[str, object]) -> None:
    payload = {**kits["wechatpay"].payload(), "resource": content, "resource_type": "encrypt-resource"}
    callback = as_callback(kits["wechatpay"].provider.sign(payload, NOW))
    headers = {name.decode(): value.decode() for name, value in callback.headers}
    assert theirs(headers, callback.body)
    assert not theirs(headers, callback.body + b"\n")


RESOURCES: Mapping[str, dict[str, object]] = {
    "a text that was changed": {"ciphertext": base64.b64encode(bytes(40)).decode()},
    "a text that is too short": {"ciphertext": "AAAA"},
    "another nonce": {"nonce": "bytes-twelve"},
    "a short nonce": {"nonce": "1"},
    "other associated data": {"associated_data": "refund"},
    "no associated data": {"associated_data": None},
    "another algorithm": {"algorithm": "AEAD_AES_128_GCM"},
    "no nonce": {"nonce": None},
}


@pytest.mark.parametrize("case", RESOURCES)
def test_a_resource_that_cannot_be_opened(
    kits: Mapping[str, Kit], keys: Keys, merchant: Provider, theirs: Theirs, case: str
) -> None:
    body = json.loads(wechatpay_body(kits["wechatpay"], b"{}", resource_type="encrypt-resource"))
    body["resource"] |= RESOURCES[case]
    written = json.dumps(body).encode()
    headers = signed(keys[PUBLIC], PUBLIC, written)
    assert not ours(merchant, headers, written)
    assert not theirs(headers, written)


@pytest.mark.parametrize("apart", [dt.timedelta(minutes=5), dt.timedelta(minutes=-5), dt.timedelta(days=365)])
def test_times_count(
    kits: Mapping[str, Kit], keys: Keys, merchant: Provider, theirs: Theirs, apart: dt.timedelta
) -> None:
    """A difference: they look at no clock. WeChat's own SDKs refuse what is five minutes old, and so do we."""
    body = wechatpay_body(kits["wechatpay"], b"{}", resource_type="encrypt-resource")
    headers = signed(keys[PUBLIC], PUBLIC, body, str(NOW - int(apart.total_seconds())))
    assert theirs(headers, body)
    assert not ours(merchant, headers, body)


def test_the_signature_may_come_without_its_type(
    kits: Mapping[str, Kit], keys: Keys, merchant: Provider, theirs: Theirs
) -> None:
    """A difference: they raise an exception. There is one type, and WeChat's documents do not promise the header."""
    body = wechatpay_body(kits["wechatpay"], b"{}", resource_type="encrypt-resource")
    headers = signed(keys[PUBLIC], PUBLIC, body)
    del headers["wechatpay-signature-type"]
    assert ours(merchant, headers, body)
    assert not theirs(headers, body)
