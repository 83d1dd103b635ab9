"""What the demo's four providers send: payments and refunds, some of them twice, and forgeries of both.

200 callbacks: 120 payments of 120 orders, 29 refunds, one payment of an order that the shop never had; 30 of these
150 sent again; 20 that were not signed by the provider, or are not what it signed.
"""

import itertools
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from receiver.operate.composed import Payload, Recipe, compose
from receiver.operate.sender import Outgoing
from receiver.sources import Source

ORDERS: Final = 120
REFUNDS: Final = 29
RESENT: Final = 30
FORGED: Final = 20
SENT: Final = ORDERS + REFUNDS + 1 + RESENT + FORGED
BUSY: Final = 6
"""Orders whose warehouse is busy at first: their handler fails once and is run again."""

FORGERIES: Final = ("stranger", "changed", "stranger", "changed", "expired")
"""Signed with another key, changed after signing, signed an hour ago. Five, which has no divisor in common with the
number of providers, so that each meets all of them."""
_TIMELESS: Final = frozenset({"alipay"})
"""Signs no time: there is nothing that could be expired."""
_REFUNDING: Final = ("stripe", "standardwebhooks", "wechatpay")
_HOUR: Final = 3600
_STRIDE: Final = 83
"""Has no divisor in common with 200: every callback is sent once, in an order that looks like chance."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One callback before it is signed."""

    source: Source
    payload: Payload
    forgery: str | None = None


def order_names() -> list[str]:
    """Names of the shop's orders."""
    run = secrets.token_hex(2)
    return [f"order-{run}-{number:03}" for number in range(ORDERS)]


def plan(sources: Mapping[str, Source], orders: Sequence[str], now: float) -> list[Planned]:
    """All 200 callbacks in the order in which they are sent.

    Args:
        sources: one for each provider, under the provider's name.
        orders: see `order_names`.
        now: Unix seconds.
    """
    created = int(now)
    genuine = [*_genuine(sources, orders, created)]
    resent = genuine[:: len(genuine) // RESENT][:RESENT]
    together = [*genuine, *resent, *_forged(sources, orders[:FORGED], created)]
    return [together[index * _STRIDE % len(together)] for index in range(len(together))]


def outgoing(planned: Sequence[Planned], strangers: Mapping[str, Source], url: str) -> Iterator[Outgoing]:
    """Sign each callback when its turn comes.

    Args:
        planned: see `plan`.
        strangers: sources like the configured ones, with keys that nobody knows.
        url: of the public listener.
    """
    for callback in planned:
        source = callback.source
        signer = strangers[source.name] if callback.forgery == "stranger" else source
        made = signer.sign(callback.payload, time.time() - (_HOUR if callback.forgery == "expired" else 0))
        body = _changed(made.body) if callback.forgery == "changed" else made.body
        yield Outgoing(url=f"{url}/callbacks/{source.name}", headers=made.headers, body=body)


def _genuine(sources: Mapping[str, Source], orders: Sequence[str], created: int) -> Iterator[Planned]:
    yield from _payments(sources, orders, created)
    refunding = [
        (order, name) for order, name in zip(orders, itertools.cycle(sources), strict=False) if name in _REFUNDING
    ]
    for order, name in refunding[:REFUNDS]:
        yield _planned(sources[name], "refunded", order, created)
    yield _planned(sources["stripe"], "paid", f"{orders[0]}-of-another-shop", created)


def _forged(sources: Mapping[str, Source], orders: Sequence[str], created: int) -> Iterator[Planned]:
    for planned, kind in zip(_payments(sources, orders, created), itertools.cycle(FORGERIES), strict=False):
        timeless = planned.source.provider.name in _TIMELESS
        yield replace(planned, forgery="changed" if kind == "expired" and timeless else kind)


def _payments(sources: Mapping[str, Source], orders: Sequence[str], created: int) -> Iterator[Planned]:
    for order, source in zip(orders, itertools.cycle(sources.values()), strict=False):
        yield _planned(source, "paid", order, created)


def _planned(source: Source, kind: str, order: str, created: int) -> Planned:
    recipe = Recipe(source=source, kind=kind)
    return Planned(source=source, payload=compose(recipe, secrets.token_hex(6), created, entity_id=order))


def _changed(body: bytes) -> bytes:
    """One bit of it flipped, where every provider signs."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
