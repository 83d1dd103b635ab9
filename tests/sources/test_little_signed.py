"""Providers that sign a part, or send a secret along: what is refused, what vouches, whose key nobody can take."""

import json
from collections.abc import Callable, Mapping

import msgspec
import pytest

from receiver.errors import VerificationError
from receiver.events import Callback, Fact
from receiver.sources import PROVIDERS, Provider, made_up
from tests.sources.conftest import NOW, header, provider_with, with_body, with_header

Change = Callable[[Callback], Callback]
DAY = 86_400
SOURCES: Mapping[str, Mapping[str, object]] = {
    **{name: made_up(name) for name in ("flutterwave", "mercadopago", "midtrans", "mollie", "toss", "xendit")},
    "flutterwave v3": {**made_up("flutterwave"), "version": "v3"},
    "flutterwave v4": {**made_up("flutterwave"), "version": "v4"},
}
ACCOUNTS: Mapping[str, Provider] = {name: provider_with(settings) for name, settings in SOURCES.items()}


def sent(source: str, what: str = "paid", **changes: object) -> Callback:
    """A sample with ids that are always the same, as the provider would send it."""
    kind = PROVIDERS[source.partition(" ")[0]]
    payload = kind.sample(what, external_id="77", entity_id="order1", created=NOW)
    signed = ACCOUNTS[source].sign({**payload, **changes}, NOW)
    headers = [(name.lower().encode(), value.encode()) for name, value in signed.headers]
    return Callback(method="POST", headers=headers, body=signed.body, query=signed.query.encode())


def fact(source: str, callback: Callback, now: float = NOW) -> Fact:
    (found,) = ACCOUNTS[source].verify(callback, now).facts
    return found


def written(callback: Callback, **changes: object) -> Callback:
    """With other members in the body, under the old signature."""
    return with_body(callback, json.dumps({**json.loads(callback.body), **changes}).encode())


def asked(query: bytes) -> Change:
    return lambda callback: msgspec.structs.replace(callback, query=query)


def replaced(name: bytes, old: bytes, new: bytes) -> Change:
    """Change a header; what is to be replaced must be there."""

    def changed(callback: Callback) -> Callback:
        assert old in header(callback, name)
        return with_header(callback, name, header(callback, name).replace(old, new))

    return changed


def headed(name: bytes, *values: bytes) -> Change:
    return lambda callback: with_header(callback, name, *values)


def bodied(**changes: object) -> Change:
    return lambda callback: written(callback, **changes)


REFUSED: Mapping[str, tuple[Change, str]] = {
    "flutterwave: a token beside a bad signature": (
        lambda c: with_header(headed(b"flutterwave-signature", b"AAAA")(c), b"verif-hash", token("flutterwave")),
        "signature_mismatch",
    ),
    "flutterwave: two tokens": (
        lambda c: with_header(with_header(c, b"flutterwave-signature"), b"verif-hash", b"a", b"b"),
        "header_conflict",
    ),
    "flutterwave v3: no token": (headed(b"verif-hash"), "signature_missing"),
    "flutterwave v3: a token that is cut": (
        lambda c: with_header(c, b"verif-hash", token("flutterwave v3")[:-1]),
        "signature_mismatch",
    ),
    "flutterwave v4: only the token": (
        lambda c: with_header(with_header(c, b"flutterwave-signature"), b"verif-hash", token("flutterwave v4")),
        "signature_missing",
    ),
    "flutterwave v4: in hexadecimal": (headed(b"flutterwave-signature", b"00" * 32), "signature_mismatch"),
    "mercadopago: about another thing": (asked(b"data.id=order2"), "signature_mismatch"),
    "mercadopago: about nothing": (asked(b""), "signature_mismatch"),
    "mercadopago: about two things": (asked(b"data.id=order1&data.id=order2"), "query_malformed"),
    "mercadopago: a border moved": (
        lambda c: asked(b"data.id=order1%3Brequest-id%3A" + header(c, b"x-request-id"))(
            with_header(c, b"x-request-id")
        ),
        "signature_malformed",
    ),
    "mercadopago: another request": (headed(b"x-request-id", b"other"), "signature_mismatch"),
    "mercadopago: no request": (headed(b"x-request-id"), "signature_mismatch"),
    "mercadopago: only v2": (replaced(b"x-signature", b",v1=", b",v2="), "signature_missing"),
    "mercadopago: two v1": (replaced(b"x-signature", b",v1=", b",v1=00,v1="), "signature_malformed"),
    "mercadopago: two ts": (replaced(b"x-signature", b"ts=", b"ts=1,ts="), "signature_malformed"),
    "mercadopago: no ts": (replaced(b"x-signature", b"ts=", b"t="), "timestamp_missing"),
    "mercadopago: ts in Arabic digits": (headed(b"x-signature", "ts=\u0661,v1=0".encode()), "header_malformed"),
    "mercadopago: ts with a sign": (replaced(b"x-signature", b"ts=1", b"ts=+1"), "timestamp_malformed"),
    "mercadopago: ts in seconds": (replaced(b"x-signature", b"000,v1", b",v1"), "signature_mismatch"),
    "midtrans: another order": (bodied(order_id="other"), "signature_mismatch"),
    "midtrans: another amount": (bodied(gross_amount="1.00"), "signature_mismatch"),
    "midtrans: an amount of another spelling": (bodied(gross_amount="420000.0"), "signature_mismatch"),
    "midtrans: another status code": (bodied(status_code="201"), "signature_mismatch"),
    "midtrans: a list for an order": (bodied(order_id=["order-of-order1"]), "signature_malformed"),
    "midtrans: no order": (bodied(order_id=None), "signature_malformed"),
    "midtrans: a truth for an amount": (bodied(gross_amount=True), "signature_malformed"),
    "midtrans: a digit of the status moved": (
        bodied(order_id="order-of-order12", status_code="00", gross_amount="420000.00"),
        "signature_malformed",
    ),
    "midtrans: digits of the amount moved": (
        bodied(order_id="order-of-order1200", status_code="420", gross_amount="000.00"),
        "signature_malformed",
    ),
    "midtrans: a signature that is a number": (bodied(signature_key=5), "signature_missing"),
    "midtrans: not ASCII": (bodied(signature_key="é"), "signature_malformed"),
    "midtrans: no JSON": (lambda c: with_body(c, b"signature_key=1"), "signature_missing"),
    "mollie: body changed": (bodied(type="payment-link.expired"), "signature_mismatch"),
    "mollie: an id in a form": (lambda c: with_body(c, b"id=tr_1"), "signature_mismatch"),
    "mollie: an id in a form, unsigned": (lambda _: classic("tr_1"), "signature_missing"),
    "mollie: 20,000 signatures": (headed(b"x-mollie-signature", *[b"00"] * 20_000), "header_malformed"),
    "mollie: not ASCII": (headed(b"x-mollie-signature", "é".encode()), "header_malformed"),
    "toss: unsigned": (headed(b"tosspayments-webhook-signature"), "signature_missing"),
    "toss: no time": (headed(b"tosspayments-webhook-transmission-time"), "timestamp_missing"),
    "toss: another time": (headed(b"tosspayments-webhook-transmission-time", b"2031"), "signature_mismatch"),
    "toss: another version": (replaced(b"tosspayments-webhook-signature", b"v1:", b"v2:"), "signature_malformed"),
    "toss: body changed": (bodied(data={"status": "DONE"}), "signature_mismatch"),
    "xendit: no token": (headed(b"x-callback-token"), "signature_missing"),
    "xendit: two tokens": (headed(b"x-callback-token", b"a", b"b"), "header_conflict"),
    "xendit: a longer token": (
        lambda c: with_header(c, b"x-callback-token", token("xendit") + b"0"),
        "signature_mismatch",
    ),
}


def token(source: str) -> bytes:
    secrets = SOURCES[source]["secrets"]
    assert isinstance(secrets, list)
    return str(secrets[0]).encode()


def classic(payment: str) -> Callback:
    headers = [(b"content-type", b"application/x-www-form-urlencoded")]
    return Callback(method="POST", headers=headers, body=f"id={payment}".encode())


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    source, change, reason = case.partition(":")[0], *REFUSED[case]
    callback = sent(source)
    assert fact(source, callback).odd is None, "what is changed below was fine"
    with pytest.raises(VerificationError) as caught:
        ACCOUNTS[source].verify(change(callback), NOW)
    assert caught.value.reason == reason


TRUSTED: Mapping[str, tuple[Change, str]] = {
    "flutterwave": (lambda c: c, "sender"),
    "flutterwave v3": (headed(b"flutterwave-signature", b"AAAA"), "sender"),
    "flutterwave v4": (lambda c: c, "signed"),
    "mercadopago": (bodied(id=78, action="payment.created"), "partial"),
    "midtrans": (bodied(transaction_status="refund", refund_amount="420000.00"), "partial"),
    "mollie": (lambda c: c, "signed"),
    "toss": (lambda c: c, "signed"),
    "xendit": (bodied(status="PAID", amount=1), "sender"),
}


@pytest.mark.parametrize("source", TRUSTED)
def test_what_vouches_for_an_event(source: str) -> None:
    """And what is not signed may be anything."""
    change, trust = TRUSTED[source]
    assert fact(source, change(sent(source))).trust == trust


def test_without_a_query_the_sender_alone_is_proven() -> None:
    told = fact("mercadopago", sent("mercadopago", data={}))
    other = fact("mercadopago", written(sent("mercadopago", data={}), date_created="2031-01-01T00:00:00Z"))
    assert (told.trust, told.external_id) == ("sender", "77")
    assert told.identity != other.identity, "nobody takes the place of what he cannot foretell"


@pytest.mark.parametrize(
    ("passed", "reason"),
    [(-4 * DAY - 1, "timestamp_future"), (0, None), (4 * DAY, None), (4 * DAY + 1, "timestamp_expired")],
)
def test_mercadopago_takes_a_resend_that_kept_its_time(passed: int, reason: str | None) -> None:
    callback = sent("mercadopago")
    if reason is None:
        assert fact("mercadopago", callback, NOW + passed).external_id == "77"
        return
    with pytest.raises(VerificationError, match=reason):
        ACCOUNTS["mercadopago"].verify(callback, NOW + passed)


@pytest.mark.parametrize("data_id", ["ORD01JQ4S4KY8", "ord01jq4s4ky8", "123"])
def test_mercadopago_names_a_thing_as_the_query_does(data_id: str) -> None:
    """Its id may be signed in lower case; an API wants it as it is."""
    callback = sent("mercadopago", data={"id": data_id})
    assert fact("mercadopago", callback).entity_id == data_id
    assert fact("mercadopago", written(callback, data={"id": "another"})).odd == "entity_contradicts"


def test_an_invented_id_takes_no_other_events_place() -> None:
    """Who has a callback about one payment knows the next notification's id, but cannot name another payment."""
    genuine = fact("mercadopago", sent("mercadopago", data={"id": "victim"}, id=78))
    forged = fact("mercadopago", written(sent("mercadopago", data={"id": "own"}, id=77), id=78))
    assert genuine.external_id == forged.external_id
    assert genuine.identity != forged.identity


def test_an_invented_settlement_takes_no_real_ones_place() -> None:
    settled = sent("midtrans", settlement_time="2025-10-09 16:00:01")
    forged = written(sent("midtrans", "captured"), transaction_status="settlement")
    assert fact("midtrans", settled).external_id == fact("midtrans", forged).external_id
    assert fact("midtrans", settled).identity != fact("midtrans", forged).identity


DIFFERENT: Mapping[str, tuple[str, Mapping[str, object], Mapping[str, object]]] = {
    "midtrans: two partial refunds": (
        "refunded in part",
        {"refunds": [{"refund_key": "a"}]},
        {"refunds": [{"refund_key": "a"}, {"refund_key": "b"}]},
    ),
    "midtrans: challenged, then accepted": ("captured", {"fraud_status": "challenge"}, {"fraud_status": "accept"}),
    "toss: the same state a second time": (
        "seller",
        {"createdAt": "2026-01-01T00:00:00"},
        {"createdAt": "2026-01-02T00:00:00"},
    ),
    "toss: two deposits": ("deposited", {"orderId": "a"}, {"orderId": "b"}),
    "toss: a deposit taken back": ("deposited", {"status": "DONE"}, {"status": "WAITING_FOR_DEPOSIT"}),
    "xendit: two payments of one account": (
        "paid",
        {"status": None, "payment_id": "p1"},
        {"status": None, "payment_id": "p2"},
    ),
    "flutterwave: of an older shape": (
        "paid",
        {"data": None, "type": None, "txRef": "a"},
        {"data": None, "type": None},
    ),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_two_facts_have_two_keys(case: str) -> None:
    source = case.partition(":")[0]
    what, one, other = DIFFERENT[case]
    first, second = (fact(source, sent(source, what, **changes)) for changes in (one, other))
    assert (first.identity or first.external_id) != (second.identity or second.external_id)


def test_partial_refunds_have_ids_of_their_own() -> None:
    """Idempotency keys are made of them."""
    ids = [
        fact("midtrans", sent("midtrans", "refunded in part", **changes)).external_id
        for changes in ({}, {"refunds": None}, {"refunds": None, "refund_amount": "5.00"}, {"refunds": [7]})
    ]
    assert ids == [
        "order1:partial_refund:200:refund-of-order1",
        "order1:partial_refund:200:20000.00",
        "order1:partial_refund:200:5.00",
        "order1:partial_refund:200:20000.00",
    ]


def test_toss_names_a_deposit_which_does_not_name_itself() -> None:
    callback = sent("toss", "deposited")
    assert "eventType" not in json.loads(callback.body)
    found = fact("toss", callback)
    assert (found.type, found.entity_id, found.external_id) == ("DEPOSIT_CALLBACK", "order1", "77")


@pytest.mark.parametrize(
    "values",
    [
        [b"sha256=00", b"{}"],
        [b"{}", b"sha256=00"],
        [b"00, {}"],
        [b"sha256=00,sha256={}"],
    ],
)
def test_mollie_may_sign_with_two_secrets_at_once(values: list[bytes]) -> None:
    callback = sent("mollie")
    real = header(callback, b"x-mollie-signature").removeprefix(b"sha256=")
    both = with_header(callback, b"x-mollie-signature", *(value.replace(b"{}", real) for value in values))
    assert fact("mollie", both).external_id == "77"


def test_mollie_says_test_mode_in_what_is_embedded() -> None:
    live = sent("mollie", _embedded={"entity": {"id": "pl_1", "mode": "live"}})
    assert [fact("mollie", callback).livemode for callback in (sent("mollie"), live)] == [False, True]


CLASSIC: Mapping[bytes, tuple[str | None, str | None]] = {
    b"id=tr_7UhSN1zuXS": ("tr_7UhSN1zuXS", None),
    b"id=tr_7UhSN1zuXS&testByMollie=1": ("tr_7UhSN1zuXS", None),
    b"id=": (None, "id_missing"),
    b"id=%00": (None, "id_invalid"),
    b"id=%ff": (None, "form_malformed"),
    b"id=a&id=b": (None, "form_malformed"),
    b"id=\xc3\xa9": (None, "form_malformed"),
    b"id=" + b"t" * 9_000: (None, "id_invalid"),
}


@pytest.mark.parametrize("body", CLASSIC)
def test_mollie_classic_is_an_id_and_an_event_of_its_own_each_time(body: bytes) -> None:
    (found,) = ACCOUNTS["mollie"].read(with_body(classic(""), body))
    payment, odd = CLASSIC[body]
    assert (found.external_id, found.entity_id, found.odd) == (payment, payment, odd)
    if odd is None:
        assert (found.fresh, found.trust, found.type, found.fingerprint) == (True, "none", "classic", None)
        assert ACCOUNTS["mollie"].content(body) == dict(pair.split("=") for pair in body.decode().split("&"))
