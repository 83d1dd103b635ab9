"""WeChat Pay's platform certificates: asked for as a merchant, decrypted, and checked for who signed the list."""

import asyncio
import datetime as dt
import importlib
import json
import re
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback
from receiver.sources.fetched import KeyAnswer
from receiver.sources.options import Option
from receiver.sources.providers.wechatpay import WeChatPay
from receiver.sources.providers.wechatpay_published import DOCUMENT, HOST, PATH
from tests.certificates.conftest import Game, Scene, running
from tests.certificates.publisher import private_pem, said
from tests.certificates.test_paypal import reason
from tests.ingress.accounts import Sent
from tests.ingress.ledger import Ledger
from tests.sources.authorities import Made, leaf

API_KEY = "0123456789abcdef0123456789abcdef"
MERCHANT, SERIAL = "1900000001", "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"


def serial(made: Made) -> str:
    return f"{made.certificate.serial_number:X}"


def sealed(text: str, key: str = API_KEY) -> dict[str, str]:
    """Encrypted as WeChat does it."""
    cipher = AESGCM(key.encode()).encrypt(b"twelve-bytes", text.encode(), b"certificate")
    return {
        "algorithm": "AEAD_AES_256_GCM",
        "nonce": "twelve-bytes",
        "associated_data": "certificate",
        "ciphertext": b64encode(cipher).decode(),
    }


def listed(
    key: RSAPrivateKey, certificates: Sequence[Made], *, by: Made | None = None, api_key: str = API_KEY, age: float = 0
) -> bytes:
    """The API's answer, signed with `key` under the serial of `by`, or of the first."""
    data = [{"serial_no": serial(one), "encrypt_certificate": sealed(one.pem, api_key)} for one in certificates]
    body = json.dumps({"data": data}).encode()
    return signed_answer(key, body, serial(by or certificates[0]), age)


def signed_answer(key: RSAPrivateKey, body: bytes, name: str, age: float = 0) -> bytes:
    sent = int(time.time() - age)
    signature = b64encode(key.sign(b"%d\nn\n%b\n" % (sent, body), PKCS1v15(), SHA256())).decode()
    headers = {
        "Wechatpay-Serial": name,
        "Wechatpay-Signature": signature,
        "Wechatpay-Timestamp": str(sent),
        "Wechatpay-Nonce": "n",
    }
    return said(body, **headers)


def callback(key: RSAPrivateKey, name: str, unique: str = "1") -> Sent:
    """A callback as the platform signs it."""
    resource = sealed(json.dumps({"out_trade_no": "order1", "trade_state": "SUCCESS"}))
    body = json.dumps({"id": f"EV-{unique}", "event_type": "TRANSACTION.SUCCESS", "resource": resource}).encode()
    sent = b"%d" % time.time()
    signature = b64encode(key.sign(b"%b\nn\n%b\n" % (sent, body), PKCS1v15(), SHA256()))
    headers = (
        (b"wechatpay-serial", name.encode()),
        (b"wechatpay-timestamp", sent),
        (b"wechatpay-nonce", b"n"),
        (b"wechatpay-signature", signature),
    )
    return Sent("/callbacks/wechat", headers, body, f"EV-{unique}")


def account(key: RSAPrivateKey) -> dict[str, object]:
    return {
        "provider": "wechatpay",
        "api_v3_key": API_KEY,
        "merchant_key": private_pem(key),
        "merchant_id": MERCHANT,
        "merchant_serial": SERIAL,
    }


def options_of(key: RSAPrivateKey) -> dict[str, Option]:
    """The same as a provider's constructor takes them."""
    return {name: str(value) for name, value in account(key).items() if name != "provider"}


@pytest.fixture(scope="session")
def other_key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@pytest.fixture(scope="session")
def platform(game: Game) -> Made:
    return leaf("Tenpay.com sign", game.key, game.middle)


@asynccontextmanager
async def wechat(game: Game, ledger: Ledger, merchant_key: RSAPrivateKey) -> AsyncIterator[Scene]:
    async with running(game, ledger, HOST, sources={"wechat": account(merchant_key)}) as scene:
        yield scene


async def test_the_list_is_fetched_once(game: Game, ledger: Ledger, platform: Made, other_key: RSAPrivateKey) -> None:
    async with wechat(game, ledger, other_key) as scene:
        scene.publisher.raw = listed(game.key, [platform])
        sent = [callback(game.key, serial(platform), str(number)) for number in range(8)]
        replies = await asyncio.gather(*(scene.served.post(one) for one in sent))
        assert {reply.status for reply in replies} == {204}
        assert scene.publisher.asked == [PATH]
        assert scene.served.counted("receiver_verified_total", source="wechat", secret="fetched") == 8
        assert (await ledger.stored()).keys() == {one.external_id for one in sent}


async def test_unknown_serials_are_one_request_a_minute(
    game: Game, ledger: Ledger, platform: Made, other_key: RSAPrivateKey
) -> None:
    """A forger's serials are in no list: that is certain, and so 401. The id of a public key is in none ever."""
    async with wechat(game, ledger, other_key) as scene:
        scene.publisher.raw = listed(game.key, [platform])
        names = ["PUB_KEY_ID_1", "x", *(f"{number:040X}" for number in range(1, 60))]
        replies = [await scene.served.post(callback(other_key, name)) for name in names]
        assert {(reply.status, reason(reply)) for reply in replies} == {(401, "key_unknown")}
        assert scene.publisher.asked == [PATH]
        assert (await scene.served.post(callback(game.key, serial(platform)))).status == 204
        assert (await scene.served.post(callback(other_key, serial(platform)))).status == 401
        assert scene.publisher.asked == [PATH]


ANSWERS: Mapping[str, tuple[int, str, Callable[[Game, Made, RSAPrivateKey], bytes]]] = {
    "signed by a stranger": (401, "certificate_untrusted", lambda _, p, other: listed(other, [p])),
    "signed under a serial that is not listed": (
        401,
        "certificate_untrusted",
        lambda _, p, other: listed(other, [p], by=leaf("x", other, None)),
    ),
    "unsigned": (
        401,
        "certificate_untrusted",
        lambda _g, p, _: said(json.dumps({"data": [{"encrypt_certificate": sealed(p.pem)}]}).encode()),
    ),
    "another APIv3 key": (401, "certificate_untrusted", lambda g, p, _: listed(g.key, [p], api_key=API_KEY[::-1])),
    "signed long ago": (401, "certificate_untrusted", lambda g, p, _: listed(g.key, [p], age=400)),
    "no JSON": (401, "certificate_malformed", lambda g, p, _: signed_answer(g.key, b"x", serial(p))),
    "no list": (401, "certificate_untrusted", lambda g, p, _: signed_answer(g.key, b'{"data":1}', serial(p))),
    "no certificate": (
        401,
        "certificate_malformed",
        lambda g, p, _: signed_answer(
            g.key, json.dumps({"data": [{"encrypt_certificate": sealed("x")}]}).encode(), serial(p)
        ),
    ),
    "refused": (503, "key_unavailable", lambda *_: b"HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n"),
}


@pytest.fixture(scope="module")
async def refusing(
    game: Game, own_stores: Ledger, other_key: RSAPrivateKey, anyio_backend: str
) -> AsyncIterator[Scene]:
    del anyio_backend
    async with wechat(game, own_stores, other_key) as scene:
        yield scene


@pytest.mark.parametrize("case", ANSWERS)
async def test_answers_that_are_not_wechats(
    refusing: Scene, game: Game, platform: Made, other_key: RSAPrivateKey, case: str
) -> None:
    status, expected, answer = ANSWERS[case]
    refusing.forget()
    refusing.publisher.raw = answer(game, platform, other_key)
    reply = await refusing.served.post(callback(game.key, serial(platform)))
    assert (reply.status, reason(reply)) == (status, expected)
    assert await refusing.ledger.counts() == {}
    assert not await refusing.ledger.redis_keys()


async def test_the_request_is_the_sdks(game: Game, ledger: Ledger, platform: Made, other_key: RSAPrivateKey) -> None:
    """PKCS #1 v1.5 has no randomness: same nonce and time, same header."""
    utils: Any = importlib.import_module("wechatpayv3.utils")
    async with wechat(game, ledger, other_key) as scene:
        scene.publisher.raw = listed(game.key, [platform])
        await scene.served.post(callback(game.key, serial(platform)))
        (head,) = scene.publisher.heads
    ours = re.search(rb"(?i)\r\nauthorization: (.*)\r\n", head)
    assert ours
    said_by_us = ours[1].decode()
    nonce, sent = (re.findall(f'{name}="([^"]*)"', said_by_us)[0] for name in ("nonce_str", "timestamp"))
    with time_machine.travel(int(sent), tick=False):
        assert utils.build_authorization(PATH, "GET", MERCHANT, SERIAL, other_key, nonce_str=nonce) == said_by_us


def test_dates_count_at_each_callback(game: Game, other_key: RSAPrivateKey) -> None:
    """Published and well signed, but over."""
    over = leaf("Tenpay.com sign", game.key, game.middle, ends=dt.datetime(2025, 1, 1, tzinfo=dt.UTC))
    provider = WeChatPay(options_of(other_key))
    head, _, body = listed(game.key, [over]).partition(b"\r\n\r\n")
    headers = dict(line.decode().lower().split(": ", 1) for line in head.split(b"\r\n")[1:])
    signature = re.findall(rb"Wechatpay-Signature: (.*)\r\n", head)[0].decode()
    now = time.time()
    answer = KeyAnswer(document=DOCUMENT, at=now, headers={**headers, "wechatpay-signature": signature}, body=body)
    provider.accept(answer, now)
    assert provider.knows(serial(over).upper())
    sent = callback(game.key, serial(over))
    with pytest.raises(VerificationError, match="certificate_expired"):
        provider.verify(Callback(method="POST", headers=list(sent.headers), body=sent.body), now)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"merchant_id": ""}, "merchant_id: belongs together with merchant_key"),
        ({"merchant_serial": ""}, "merchant_serial: belongs together with merchant_key"),
        ({"merchant_key": ()}, "merchant_id: belongs together with merchant_key"),
        ({"merchant_id": 'x",y="'}, "merchant_id: has letters and digits only"),
        ({"merchant_key": "x"}, "merchant_key: is no private key"),
    ],
)
def test_wrong_settings_are_named(other_key: RSAPrivateKey, changes: Mapping[str, Option], message: str) -> None:
    options = options_of(other_key)
    with pytest.raises(SettingsError) as caught:
        WeChatPay({**options, **changes})
    assert str(caught.value).startswith(message)
