"""An event made of a dict."""

import datetime as dt
from collections.abc import Mapping
from typing import Final

import msgspec
import uuid_utils.compat

from receiver.events import Event, Trust

OCCURRED: Final = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
"""When an event happened that says nothing else: the same in every test and run."""

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


def make_event(
    source: str,
    kind: str | None,
    /,
    data: Mapping[str, object] | None = None,
    *,
    provider: str | None = None,
    external_id: str | None = None,
    entity_id: str | None = "entity_1",
    livemode: bool | None = False,
    trust: Trust = "signed",
    occurred_at: dt.datetime | None = OCCURRED,
    received_at: dt.datetime = OCCURRED,
    headers: Mapping[str, str] | None = None,
    handler: str = "handler",
    attempt: int = 1,
    late: bool = False,
    confirmed: object = None,
) -> Event:
    """An event with this content.

    `event.body` is `data` as JSON, and `event.data` is read from it as the worker reads it: what is written as a float
    comes out as a `Decimal`. So it is what the provider sends for Stripe and Standard Webhooks; Alipay sends a form and
    WeChat Pay encrypts, and `signed_callback(…).event()` has such a body.

    Args:
        source: as in `receiver.on`: the account that it came to.
        kind: the provider's event type, or None.
        data: the content; default: an empty object.
        provider: default: a provider of the source's name.
        external_id: the provider's own id; default: a new one.
        entity_id: the payment, order or other object that it is about.
        livemode: False for the provider's test mode.
        trust: what vouches for it.
        occurred_at: the event's own time, aware; by default noon of 2026-01-01, UTC.
        received_at: when it was stored, aware.
        headers: lower-case names.
        handler: of use where you call the function yourself; `run_handler` puts the right name there.
        attempt: number of the run, from 1.
        late: a later event of its lane has been handled before it.
        confirmed: what the source's confirmation said of it.

    Raises:
        ValueError: a time is not aware; no event has one that is not.
    """
    if occurred_at is not None:
        _check_time("occurred_at", occurred_at)
    _check_time("received_at", received_at)
    event_id = uuid_utils.compat.uuid7()
    return Event(
        id=event_id,
        source=source,
        provider=provider or source,
        external_id=external_id or f"evt_{event_id.hex}",
        type=kind,
        entity_id=entity_id,
        livemode=livemode,
        trust=trust,
        occurred_at=occurred_at,
        received_at=received_at,
        headers=headers or {},
        body=_encode(data or {}),
        handler=handler,
        attempt=attempt,
        late=late,
        confirmed=confirmed,
    )


def _check_time(name: str, time: object) -> None:
    if not isinstance(time, dt.datetime) or time.utcoffset() is None:
        raise ValueError(f"{name}: must be a datetime with a time zone, not {time!r}")
