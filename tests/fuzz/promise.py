"""What is promised of whatever arrives: facts that PostgreSQL can hold, or the one verification error."""

import datetime as dt
import re
from contextlib import suppress
from typing import Final, get_args

from receiver.errors import VerificationError
from receiver.events import Callback, Fact, Trust
from receiver.inbox.key import dedup_key
from receiver.sources.base import Ack
from receiver.sources.documents import LONGEST_TEXT, holds_nul
from tests.providers.accounts import Account

REASON: Final = re.compile(r"[a-z]+(_[a-z0-9]+)*")
LATEST: Final = 2**32
EARLIEST: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def outcome(one: Account, callback: Callback, now: float) -> tuple[Fact, ...]:
    """The facts, none where it is refused. Any other outcome is a bug, and raises."""
    try:
        facts = one.source.verify(callback, now).facts
    except VerificationError as error:
        reason = error.reason
    else:
        check(one, callback, facts)
        return facts
    assert REASON.fullmatch(reason)
    return ()


def read(one: Account, callback: Callback) -> None:
    """What a source without verification does with it, and what a GET is answered."""
    check(one, callback, one.source.provider.read(callback))
    answer = one.source.provider.challenge(callback.query)
    assert answer is None or isinstance(answer, Ack)


def check(one: Account, callback: Callback, facts: tuple[Fact, ...]) -> None:
    """Each of them can be stored, and what is not odd can be handled."""
    assert facts, "what is genuine is never lost"
    for fact in facts:
        _check_fields(fact)
        if callback.method != "POST":
            continue  # `receiver verify` alone reads such a one; it is never stored
        body = callback.body if fact.body is None else fact.body
        if fact.odd is None:
            _check_handled(one, fact, body)
        else:
            assert REASON.fullmatch(fact.odd)
            with suppress(ValueError):  # the one error that a reader may raise
                one.source.content(body)


def _check_fields(fact: Fact) -> None:
    for text in (fact.external_id, fact.type, fact.entity_id):
        assert text is None or (text and "\0" not in text and len(text.encode()) <= LONGEST_TEXT)
    assert fact.key_time in range(LATEST)
    assert fact.fingerprint is None or len(fact.fingerprint) == 16
    assert fact.livemode in {None, True, False}
    assert fact.trust in get_args(Trust)
    if fact.occurred_at is not None:
        assert fact.occurred_at.tzinfo is not None
        assert fact.occurred_at.astimezone(dt.UTC) >= EARLIEST


def _check_handled(one: Account, fact: Fact, body: bytes) -> None:
    assert fact.external_id
    identity = fact.external_id if fact.identity is None else fact.identity
    assert len(dedup_key(one.id, identity, fact.key_time)) == 20
    content = one.source.content(body)
    assert content is not None
    assert not holds_nul(content), "a handler could not store it"
