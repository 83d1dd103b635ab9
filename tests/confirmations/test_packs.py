"""What comes along asks the provider's API, and believes nothing else: each against a server in the provider's role."""

import asyncio
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from receiver.confirmations.api import Api
from receiver.confirmations.chosen import PACKS
from receiver.confirmations.mercadopago import MercadoPagoPack
from receiver.confirmations.mollie import MolliePack
from receiver.confirmations.pack import Pack
from receiver.confirmations.paypal import PayPalPack
from receiver.errors import ProviderUnclear, SettingsError
from receiver.events import Event, Trust
from receiver.handlers import Confirmed, NotConfirmed
from receiver.testing import make_event
from tests.confirmations.server import Asked, Says, Server

PAYMENT = {"id": "tr_1", "status": "paid", "amount": {"value": "10.00", "currency": "EUR"}}
PAID = {"id": 123, "status": "approved", "status_detail": "accredited", "transaction_amount": 12.5}
SALE = {"id": "WH-1", "event_type": "PAYMENT.SALE.COMPLETED", "resource": {"id": "80F", "amount": {"total": "21.00"}}}
TOKEN = {"access_token": "A21.token", "token_type": "Bearer", "expires_in": 32400}
OPTIONS: dict[str, Any] = {
    "mollie": {"api_key": "test_key"},
    "mercadopago": {"access_token": "APP_USR-1"},
    "paypal": {"client_id": "id", "client_secret": "secret", "webhook_id": ("WRONG", "RIGHT")},
}


def says(document: object, status: int = 200) -> Says:
    return Says(body=json.dumps(document).encode(), status=status)


def _always(document: object, _asked: Asked) -> Says:
    return says(document)


def made(pack: type[Pack], server: Server) -> Pack:
    return pack({**OPTIONS[pack.provider], "api_url": server.url + "/"})


async def asks(pack: type[Pack], server: Server, event: Event) -> Confirmed:
    confirm = made(pack, server)
    try:
        return await confirm(event)
    finally:
        await confirm.close()


def classic(entity_id: str | None = "tr_1", trust: Trust = "none") -> Event:
    return make_event("mollie", "classic", entity_id=entity_id, trust=trust)


def notified(kind: str | None = "payment.updated", entity_id: str | None = "123") -> Event:
    return make_event("mercadopago", kind, entity_id=entity_id, trust="partial")


def sale(external_id: str = "WH-1", **changed: object) -> Event:
    headers = {"paypal-transmission-id": "t-1", "paypal-auth-algo": "SHA256withRSA"}
    body = {**SALE, "id": external_id, **changed}
    return make_event("paypal", "PAYMENT.SALE.COMPLETED", body, external_id=external_id, headers=headers)


def paypal(asked: Asked, kept: object = SALE, right: str = "RIGHT") -> Says:
    """PayPal, whose webhook is `right`."""
    if asked.path == "/v1/oauth2/token":
        return says(TOKEN)
    if asked.method == "GET":
        return says(kept) if kept is not None else says({}, 404)
    assert isinstance(asked.data, dict)
    return says({"verification_status": "SUCCESS" if asked.data["webhook_id"] == right else "FAILURE"})


async def test_mollie_fetches_the_payment() -> None:
    async with Server(lambda _: says(PAYMENT)) as server:
        confirmed = await asks(MolliePack, server, classic())
    assert confirmed == Confirmed(data=PAYMENT, once="paid")
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("GET", "/v2/payments/tr_1?embed=refunds,chargebacks")
    assert asked.headers["authorization"] == "Bearer test_key"


async def test_mollie_tells_states_apart() -> None:
    refund: dict[str, object] = {"id": "re_1", "status": "pending"}
    states: list[dict[str, object]] = [
        {},
        {"status": "open"},
        {"_embedded": {"refunds": [refund]}},
        {"_embedded": {"refunds": [{**refund, "status": "refunded"}]}},
        {"_embedded": {"refunds": [refund, {"id": "re_2", "status": "pending"}]}},
        {"_embedded": {"chargebacks": [{"id": "chb_1", "reversedAt": None}]}},
        {"_embedded": {"chargebacks": [{"id": "chb_1", "reversedAt": "2026-01-01T12:00:00+00:00"}]}},
    ]
    onces = []
    for state in states:
        async with Server(partial(_always, {**PAYMENT, **state})) as server:
            onces.append((await asks(MolliePack, server, classic())).once)
    assert len(set(onces)) == len(states)
    order = {"_embedded": {"refunds": [{"id": "re_2", "status": "pending"}, refund]}}
    async with Server(lambda _: says({**PAYMENT, **order})) as server:
        assert (await asks(MolliePack, server, classic())).once == onces[4]


async def test_mollie_asks_nothing_of_what_is_signed() -> None:
    async with Server(lambda _: says(PAYMENT)) as server:
        assert await asks(MolliePack, server, classic(trust="signed")) == Confirmed()
    assert server.asked == []


async def test_mercado_pago_fetches_the_payment() -> None:
    async with Server(lambda _: says(PAID)) as server:
        confirmed = await asks(MercadoPagoPack, server, notified())
    assert (confirmed.data, confirmed.once) == (PAID, "approved accredited 0")
    (asked,) = server.asked
    assert (asked.path, asked.headers["authorization"]) == ("/v1/payments/123", "Bearer APP_USR-1")
    back = {**PAID, "status_detail": "partially_refunded", "transaction_amount_refunded": 2.5}
    async with Server(lambda _: says(back)) as server:
        assert (await asks(MercadoPagoPack, server, notified())).once == "approved partially_refunded 2.5"


async def test_paypal_is_asked_for_signature_and_content() -> None:
    async with Server(paypal) as server:
        event = sale(resource={"id": "80F", "amount": {"total": "999.00"}})
        confirmed = await asks(PayPalPack, server, event)
    assert confirmed == Confirmed(data=SALE)
    token, wrong, right, kept = server.asked
    assert (token.body, token.headers["authorization"]) == (b"grant_type=client_credentials", "Basic aWQ6c2VjcmV0")
    assert {wrong.path, right.path} == {"/v1/notifications/verify-webhook-signature"}
    assert right.body.endswith(b'"webhook_event": ' + event.body + b"}")
    assert isinstance(right.data, dict)
    assert right.data | {"webhook_event": None} == {
        "auth_algo": "SHA256withRSA",
        "cert_url": "",
        "transmission_id": "t-1",
        "transmission_sig": "",
        "transmission_time": "",
        "webhook_id": "RIGHT",
        "webhook_event": None,
    }
    assert (kept.path, kept.headers["authorization"]) == ("/v1/notifications/webhooks-events/WH-1", "Bearer A21.token")


async def test_paypal_keeps_its_token_until_it_runs_out_or_fails() -> None:
    now = 0.0
    refusals = [401]

    def answer(asked: Asked) -> Says:
        refused = now == 2 and asked.path.endswith("signature") and refusals
        return says({}, refusals.pop()) if refused else paypal(asked)

    def tokens() -> int:
        return [asked.path for asked in server.asked].count("/v1/oauth2/token")

    async with Server(answer) as server:
        confirm = PayPalPack({**OPTIONS["paypal"], "api_url": server.url}, clock=lambda: now)
        await asyncio.gather(*(confirm(sale()) for _ in range(5)))
        assert tokens() == 1
        now = 32_400 - 59
        await confirm(sale())
        assert tokens() == 2
        now = 2
        with pytest.raises(ProviderUnclear, match="answered 401"):
            await confirm(sale())
        await confirm(sale())
        assert tokens() == 3
        await confirm.close()


REFUSED: list[tuple[type[Pack], Event, Callable[[Asked], Says]]] = [
    (MolliePack, classic(), lambda _: says({}, 404)),
    (MolliePack, classic(), lambda _: says({}, 410)),
    (MolliePack, classic("ord_1"), lambda _: says(PAYMENT)),
    (MolliePack, classic("tr_1/../../x"), lambda _: says(PAYMENT)),
    (MolliePack, classic("tr_1\n"), lambda _: says(PAYMENT)),
    (MolliePack, classic(None), lambda _: says(PAYMENT)),
    (MercadoPagoPack, notified(), lambda _: says({}, 404)),
    (MercadoPagoPack, notified("merchant_order"), lambda _: says(PAID)),
    (MercadoPagoPack, notified(None), lambda _: says(PAID)),
    (MercadoPagoPack, notified(entity_id="123?x=y"), lambda _: says(PAID)),
    (MercadoPagoPack, notified(entity_id="\u0661"), lambda _: says(PAID)),
    (PayPalPack, sale(), lambda asked: paypal(asked, right="OTHER")),
    (PayPalPack, sale(), lambda asked: paypal(asked, None)),
    (PayPalPack, sale("WH/1"), paypal),
    (PayPalPack, sale(event_type="PAYMENT.SALE.REFUNDED"), paypal),
    (PayPalPack, sale(resource={"id": "80G"}), paypal),
]


@pytest.mark.parametrize(("pack", "event", "answer"), REFUSED)
async def test_what_the_provider_does_not_know_is_not_so(
    pack: type[Pack], event: Event, answer: Callable[[Asked], Says]
) -> None:
    async with Server(answer) as server:
        with pytest.raises(NotConfirmed):
            await asks(pack, server, event)


UNCLEAR: list[Says] = [
    *(says({}, status) for status in (204, 301, 302, 307, 400, 401, 403, 429, 500, 503)),
    Says(body=b""),
    Says(body=b"[]"),
    Says(body=b"{"),
    Says(body=b'{"id": NaN}'),
    Says(body=b'{"id": "tr_1", "id": "tr_1"}'),
    Says(body=b"[" * 100_000),
    Says(body=b" " * 1_048_577),
    Says(body=b"{}", headers={"Content-Length": "3", "Connection": "close"}),
    says({"id": "tr_2", "status": "paid"}),
    says({"id": "tr_1"}),
    says({"id": "tr_1", "status": 1}),
]
GENUINE: dict[str, Event] = {"mollie": classic(), "mercadopago": notified(), "paypal": sale()}


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS.keys())
@pytest.mark.parametrize("said", UNCLEAR, ids=range(len(UNCLEAR)))
async def test_any_other_answer_is_none(pack: type[Pack], said: Says) -> None:
    def answer(asked: Asked) -> Says:
        return paypal(asked) if asked.path == "/v1/oauth2/token" else said

    async with Server(answer) as server:
        with pytest.raises(ProviderUnclear) as caught:
            await asyncio.wait_for(asks(pack, server, GENUINE[pack.provider]), 10)
    assert not any(value in str(caught.value) for value in ("test_key", "APP_USR-1", "A21.token"))


@pytest.mark.parametrize("token", [{}, {**TOKEN, "access_token": "\u00e9"}, {**TOKEN, "expires_in": "soon"}])
async def test_paypal_without_a_token_is_unclear(token: object) -> None:
    async with Server(lambda asked: says(token) if "oauth2" in asked.path else paypal(asked)) as server:
        with pytest.raises(ProviderUnclear, match="token"):
            await asks(PayPalPack, server, sale())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    async with Server(lambda _: says(PAYMENT)) as other:
        where = {"Location": f"{other.url}/v2/payments/tr_1"}
        async with Server(lambda _: Says(status=status, headers=where)) as server:
            with pytest.raises(ProviderUnclear):
                await asks(MolliePack, server, classic())
    assert other.asked == []


async def test_nobody_there_is_unclear() -> None:
    async with Server(lambda _: says(PAYMENT)) as server:
        confirm = made(MolliePack, server)
    with pytest.raises(ProviderUnclear, match="ConnectError"):
        await confirm(classic())
    await confirm.close()


async def test_what_the_environment_says_is_nothing_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with Server(lambda _: says(PAYMENT)) as server:
        assert (await asks(MolliePack, server, classic())).once == "paid"


@pytest.mark.parametrize(
    "url",
    [
        "http://api.mollie.com",
        "http://127.0.0.1.example.com",
        "ftp://api.mollie.com",
        "https://",
        "api.mollie.com",
        "https://user@api.mollie.com",
        "https://api.mollie.com?x=y",
        "https://api.mollie.com#x",
        "https://api.mollie.com:0",
        "https://[::1",
    ],
)
def test_only_https_to_one_host(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^api_url: "):
        Api(url)
