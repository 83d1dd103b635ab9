"""Alipay's SDK and we agree on every form, key and signature, but for what is listed.

The SDK checks a string that its user makes. It is made here as its documentation asks: all parameters but `sign` and
`sign_type`, sorted.
"""

import base64
import importlib
from collections.abc import Mapping
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.sources import Provider, forms, made_up
from tests.sources.conftest import NOW, Kit, private_key, provider_with
from tests.sources.oracles.tampering import CHANGES, MODEST, TEXT, Change

utils = importlib.import_module("alipay.aop.api.util.SignatureUtils")  # it has no types
rsa = importlib.import_module("rsa")
RESERVED = {"sign", "sign_type", "charset"}
FORMS = st.dictionaries(TEXT.filter(lambda name: bool(name) and name not in RESERVED), TEXT, min_size=1, max_size=6)
Form = Mapping[str, str]


@pytest.fixture(scope="module")
def alipay(kits: Mapping[str, Kit]) -> Provider:
    return provider_with(kits["alipay"].settings)


@pytest.fixture(scope="module")
def key(kits: Mapping[str, Kit]) -> RSAPrivateKey:
    return private_key(kits["alipay"].settings)


@pytest.fixture(scope="module")
def other(kits: Mapping[str, Kit]) -> RSAPrivateKey:
    return private_key(kits["wechatpay"].settings)


def ours(alipay: Provider, form: Form, signature: str) -> bool:
    body = urlencode({**form, "sign": signature, "sign_type": "RSA2"}).encode()
    try:
        return bool(alipay.verify(Callback(method="POST", headers=[], body=body), NOW).facts)
    except VerificationError:
        return False


def theirs(key: RSAPrivateKey, form: Form, signature: str) -> bool:
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    try:
        return bool(utils.verify_with_rsa(bare(public), utils.get_sign_content(form).encode(), signature))
    except (rsa.VerificationError, ValueError):  # the latter for what is no base64
        return False


def signed(key: RSAPrivateKey, content: str) -> str:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    return str(utils.sign_with_rsa2(bare(private), content, "utf-8"))


def bare(pem: str) -> str:
    """As the SDK wants its keys: the lines between the first and the last."""
    return "\n".join(pem.splitlines()[1:-1])


@MODEST
@given(form=FORMS, name=TEXT, value=TEXT, change=CHANGES)
def test_every_verdict(
    *,
    alipay: Provider,
    key: RSAPrivateKey,
    other: RSAPrivateKey,
    form: dict[str, str],
    name: str,
    value: str,
    change: Change,
) -> None:
    real = signed(key, utils.get_sign_content(form))
    _, altered = change(b"", real)
    changed = {**form, min(form): value}
    added = {**form, name or "x": value} if name not in RESERVED else form
    strange = signed(other, utils.get_sign_content(form))
    for sent, signature in ((form, real), (form, altered), (changed, real), (added, real), (form, strange)):
        found = ours(alipay, sent, signature)
        assert found == (theirs(key, sent, signature) and not respelled(signature, real)) or left_out(sent, form)
        assert found == ((sent, signature) == (form, real) or (signature == real and left_out(sent, form)))


def respelled(signature: str, real: str) -> bool:
    """A difference: base64 with something behind its padding means the same to them, and is none to us."""
    return signature != real and base64.b64decode(signature.encode()) == base64.b64decode(real)


def left_out(sent: Form, form: Form) -> bool:
    """A difference: Alipay's SDKs differ in whether an empty parameter is signed, so either is taken here."""
    return sent != form and {n: v for n, v in sent.items() if v} == form


def test_empty_parameters_may_be_left_out_of_what_is_signed(alipay: Provider, key: RSAPrivateKey) -> None:
    """A difference, as above: they take what they are given."""
    form = {"notify_id": "1", "empty": ""}
    for content in ("empty=&notify_id=1", "notify_id=1"):
        assert ours(alipay, form, signed(key, content))
        assert theirs(key, form, signed(key, content)) == (content == "empty=&notify_id=1")


def test_the_type_of_the_signature_may_be_signed(alipay: Provider, key: RSAPrivateKey) -> None:
    """A difference: messages of the service window sign `sign_type`, and theirs leaves to its user what is signed."""
    signature = signed(key, "notify_id=1&sign_type=RSA2")
    assert ours(alipay, {"notify_id": "1"}, signature)
    assert not theirs(key, {"notify_id": "1"}, signature)


def test_sha1_does_not_count(alipay: Provider, key: RSAPrivateKey) -> None:
    """A difference: they take the digest that the signature names, the broken ones too."""
    signature = base64.b64encode(key.sign(b"notify_id=1", PKCS1v15(), SHA1())).decode()
    assert theirs(key, {"notify_id": "1"}, signature)
    assert not ours(alipay, {"notify_id": "1"}, signature)


@MODEST
@given(form=FORMS)
def test_what_we_sign_is_what_they_sign(kits: Mapping[str, Kit], key: RSAPrivateKey, form: dict[str, str]) -> None:
    """PKCS #1 v1.5 has no randomness."""
    full = {name: value for name, value in form.items() if value} | {"notify_id": "1"}
    sealed = forms.parsed(kits["alipay"].provider.seal(urlencode(full).encode(), NOW).body)
    assert sealed[b"sign"].decode() == signed(key, utils.get_sign_content(full))


def test_a_pkcs1_key_is_read_as_well() -> None:
    """The SDKs' tools write this older form of private keys."""
    settings = made_up("alipay")
    key = load_pem_private_key(str(settings["signing_key"]).encode(), None)
    older = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    assert provider_with({**settings, "signing_key": older}).sign({"notify_id": "1"}, NOW).body
