"""Genuine but odd in ways of one scheme: acknowledged, kept whole with a reason, owed to no handler."""

import json
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.ingress.accounts import Account, Sent
from tests.ingress.ledger import Ledger
from tests.ingress.program import Program
from tests.ingress.wire import ask
from tests.providers.odd import BODIES, LONG

Accounts = Mapping[str, Account]
IDS: Mapping[str, tuple[object, str]] = {
    "9 KB": (LONG, "id_invalid"),
    "NUL": ("evt\0", "json_nul"),
    "an array": (["evt_1"], "id_invalid"),
    "null": (None, "id_invalid"),
    "a number": (17, "id_invalid"),
    "empty": ("", "id_missing"),
}
FORMS: Mapping[str, tuple[dict[bytes, bytes], str]] = {
    "no id": ({b"trade_no": b"1"}, "id_missing"),
    "9 KB": ({b"notify_id": LONG.encode()}, "id_invalid"),
    "NUL in the id": ({b"notify_id": b"1\0"}, "id_invalid"),
    "NUL elsewhere": ({b"notify_id": b"1", b"subject": b"a\0b"}, "text_nul"),
    "not UTF-8": ({b"notify_id": b"1", b"subject": b"\xff\xfe"}, "text_invalid"),
    "a surrogate": ({b"notify_id": b"1", b"subject": b"\xed\xa0\x80"}, "text_invalid"),
    "UTF-16": ({b"notify_id": b"1", b"subject": "ab".encode("utf-16")}, "text_invalid"),
    "unknown charset": ({b"notify_id": b"1", b"charset": b"klingon"}, "charset_unknown"),
}


async def check_odd(program: Program, ledger: Ledger, account: Account, sent: Sent, reason: str) -> None:
    """It is taken like any other, and lies in quarantine as it came."""
    before = await ledger.counts()
    ack = account.source.provider.success
    for delivery in (1, 2):
        reply = await ask(program.port, sent.raw)
        assert (reply.status, reply.body) == (ack.status, ack.body)
        rows = await ledger.query(
            "SELECT provider, reason, deliveries FROM receiver.quarantine WHERE source = $1 AND body = $2",
            account.name,
            sent.body,
        )
        assert rows == [(account.name, reason, delivery)]
    after = await ledger.counts()
    assert after == {**before, "quarantine": before.get("quarantine", 0) + 1}
    assert await ledger.redis_keys() == 0
    await check_alive(program, account)


async def check_alive(program: Program, account: Account) -> None:
    """The next one is looked at as if nothing had been."""
    forged = account.sent().with_body(b"{}")
    assert (await ask(program.port, forged.raw)).status == 401


@pytest.mark.parametrize("name", ["stripe", "wechatpay"])
@pytest.mark.parametrize("case", IDS)
async def test_ids(program: Program, own_stores: Ledger, accounts: Accounts, name: str, case: str) -> None:
    """Standard Webhooks has its id in a header, where HTTP itself keeps such things out."""
    value, reason = IDS[case]
    account = accounts[name]
    whole = {"id": value, "type": "a.b"} if name == "stripe" else {**wechat(account, b"{}"), "id": value}
    await check_odd(program, own_stores, account, account.sealed(json.dumps(whole).encode()), reason)


@pytest.mark.parametrize("length", [513, len(LONG)])
async def test_a_long_id_in_a_header(program: Program, own_stores: Ledger, accounts: Accounts, length: int) -> None:
    account = accounts["standardwebhooks"]
    await check_odd(program, own_stores, account, account.sent(id="m" * length), "id_invalid")


@pytest.mark.parametrize("case", FORMS)
async def test_forms(program: Program, own_stores: Ledger, accounts: Accounts, case: str) -> None:
    form, reason = FORMS[case]
    sent = accounts["alipay"].sealed(urlencode(form).encode())
    await check_odd(program, own_stores, accounts["alipay"], sent, reason)


@pytest.mark.parametrize("case", BODIES)
async def test_encrypted_resources(program: Program, own_stores: Ledger, accounts: Accounts, case: str) -> None:
    text, reason = BODIES[case]
    account = accounts["wechatpay"]
    sent = account.sealed(json.dumps(wechat(account, text)).encode())
    await check_odd(program, own_stores, account, sent, f"resource_{reason}")


@pytest.mark.parametrize("value", [5, ["a"], LONG])
async def test_types(program: Program, own_stores: Ledger, accounts: Accounts, value: object) -> None:
    sent = accounts["stripe"].sealed(json.dumps({"id": "evt_type", "type": value}).encode())
    await check_odd(program, own_stores, accounts["stripe"], sent, "type_invalid")


async def test_headers_are_kept_without_what_no_table_holds(
    program: Program, own_stores: Ledger, accounts: Accounts
) -> None:
    """Latin-1 in a header that is kept: it is stored as the characters that the bytes stand for."""
    sent = accounts["stripe"].sealed(b"[]").with_header(b"content-type", b"text/\xfc")
    await check_odd(program, own_stores, accounts["stripe"], sent, "json_not_object")
    kept = await own_stores.query("SELECT headers->>'content-type' FROM receiver.quarantine WHERE body = '[]'")
    assert kept == [("text/ü",)]


def wechat(account: Account, text: bytes) -> dict[str, object]:
    """A notification whose resource is `text`, encrypted."""
    cipher = AESGCM(str(account.settings["api_v3_key"]).encode())
    sealed = cipher.encrypt(b"twelve-bytes", text, b"transaction")
    resource = {
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": b64encode(sealed).decode(),
        "associated_data": "transaction",
        "nonce": "twelve-bytes",
    }
    return {"id": "EV-odd", "event_type": "TRANSACTION.SUCCESS", "resource": resource}
