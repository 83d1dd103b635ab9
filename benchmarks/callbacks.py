"""Signed callbacks of a realistic size, as bytes ready to be sent."""

import hashlib
import hmac
import json
import random
import time
from collections.abc import Sequence

SECRET = "whsec_benchmark"
PATH = "/callbacks/stripe"
_MARK = "evt_00000000000000000000"


def _template() -> tuple[bytes, bytes]:
    """A payment intent of about 1.7 KB around the place of the event's id."""
    intent = {
        "id": "pi_3PbenchmarkAAAAAAAAAAAAA",
        "object": "payment_intent",
        "amount": 4200,
        "amount_received": 4200,
        "currency": "eur",
        "customer": "cus_Qbenchmark",
        "description": "Order 1001",
        "latest_charge": "ch_3PbenchmarkAAAAAAAAAAAAA",
        "metadata": {"order_id": "1001", "basket": "b-77", "campaign": "autumn"},
        "payment_method": "pm_1PbenchmarkAAAAAAAAAAAAA",
        "payment_method_options": {
            "card": {"installments": None, "network": None, "request_three_d_secure": "automatic"}
        },
        "payment_method_types": ["card"],
        "shipping": {"address": {"city": "Utrecht", "country": "NL", "line1": "Oudegracht 1", "postal_code": "3511AA"}},
        "charges": {
            "object": "list",
            "data": [
                {"id": "ch_3P", "paid": True, "amount": 4200, "outcome": {"risk_level": "normal", "type": "authorized"}}
            ],
        },
        "status": "succeeded",
    }
    event = {
        "id": _MARK,
        "object": "event",
        "api_version": "2024-06-20",
        "created": int(time.time()),
        "data": {"object": intent},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": "req_benchmark", "idempotency_key": "5f0c1c1e-benchmark"},
        "type": "payment_intent.succeeded",
    }
    before, _, after = json.dumps(event, indent=2).encode().partition(_MARK.encode())
    return before, after


def requests(ids: Sequence[int], *, path: str = PATH) -> list[bytes]:
    """One signed request for each of `ids`; the same id gives the same event."""
    before, after = _template()
    moment = str(int(time.time()))
    made = []
    for number in ids:
        body = b"%bevt_%020d%b" % (before, number, after)
        digest = hmac.digest(SECRET.encode(), moment.encode() + b"." + body, hashlib.sha256).hex()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Stripe/1.0\r\nAccept: */*\r\n"
            f"Content-Type: application/json; charset=utf-8\r\nCache-Control: no-cache\r\n"
            f"Stripe-Signature: t={moment},v1={digest}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


def ids(count: int, *, duplicates: float, start: int, seed: int = 7) -> list[int]:
    """Event numbers of which a share of `duplicates` was sent shortly before, shuffled in among the new ones."""
    chance = random.Random(seed)
    fresh = start
    made: list[int] = []
    for _ in range(count):
        if made and chance.random() < duplicates:
            made.append(chance.choice(made[-2000:]))
        else:
            made.append(fresh)
            fresh += 1
    return made


def body() -> bytes:
    """A callback's body alone."""
    return requests([1])[0].partition(b"\r\n\r\n")[2]
