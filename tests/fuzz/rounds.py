"""What is tried on every provider: garbage, good callbacks spoilt, and anything at all under a good signature."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from msgspec.structs import replace

from receiver.events import Callback, Fact
from receiver.sources.documents import UnreadableError
from receiver.sources.template import HEADERS, headers_in
from tests.fuzz.bodies import Body, odd_bodies, odd_documents
from tests.fuzz.mutated import OPERATIONS, PARTS, PIECES, Change, changed, changes, edited
from tests.fuzz.promise import outcome, read
from tests.providers.accounts import Account, arrived

NOW: Final = float(int(time.time()))
Try: TypeAlias = Callable[[Account, int, int | None], None]
"""Tries so many examples, drawn from that seed."""
PIECES_OF_NOW: Final = (*PIECES, b"%d" % NOW, b"t=%d," % NOW, b"%d" % (NOW * 1000))

GARBLED: Final = ("insert", "overwrite", "replace", "digits")


def garbage(one: Account, examples: int, seed: int | None) -> None:
    """Headers that the provider looks at, query and body, all of them made of pieces: none is genuine."""
    names = sorted({name for name, _ in one.sent(now=NOW).headers} | one.source.provider.kept_headers())
    bytes_ = st.lists(st.sampled_from(PIECES_OF_NOW) | st.binary(max_size=9), max_size=6).map(b"".join)

    @_settings(examples, seed)
    @given(
        method=st.sampled_from(["POST", "GET"]),
        headers=st.lists(st.tuples(st.sampled_from(names), bytes_), max_size=2 * len(names)),
        query=bytes_,
        body=bytes_,
    )
    def tried(method: str, headers: list[tuple[bytes, bytes]], query: bytes, body: bytes) -> None:
        callback = Callback(method=method, headers=headers, query=query, body=body)
        assert not outcome(one, callback, NOW)
        read(one, callback)

    tried()


def spoilt(one: Account, examples: int, seed: int | None) -> None:
    """A good callback after a change or three; what verifies all the same still says the same."""
    good = {what: one.sent(what, now=NOW) for what in one.kind.samples}

    @_settings(examples, seed)
    @given(what=st.sampled_from(sorted(good)), done=changes())
    def tried(what: str, done: list[Change]) -> None:
        callback = changed(good[what], done)
        facts = outcome(one, callback, NOW)
        read(one, callback)
        if facts and all(fact.trust == "signed" and fact.odd is None for fact in facts):
            assert _signed(facts) == _signed(outcome(one, good[what], NOW))

    tried()


def anything_signed(one: Account, examples: int, seed: int | None) -> None:
    """A body and headers beside it after a change or three, and then signed."""
    good = {what: _unsigned(one, what) for what in one.kind.samples}

    @_settings(examples, seed)
    @given(what=st.sampled_from(sorted(good)), done=changes(("body",)), beside=changes(PARTS[2:]))
    def tried(what: str, done: list[Change], beside: list[Change]) -> None:
        body, headers = good[what]
        other = {name: edited(value.encode(), beside).decode("utf-8", "replace") for name, value in headers.items()}
        for sent in (headers, other):
            callback = sealed(one, Body("", edited(body, done), sent))
            if callback is not None:
                outcome(one, callback, NOW)

    tried()


TRIES: Final[Mapping[str, Try]] = {"garbage": garbage, "spoilt": spoilt, "anything signed": anything_signed}


def odd_ones(one: Account, every: int = 1, now: float = NOW) -> Iterator[tuple[str, Callback]]:
    """Each member of each sample odd in each way, signed well at `now`; of all these one in `every`."""
    for what in one.kind.samples:
        for odd in itertools.islice(odd_bodies(one, what, now), 0, None, every):
            callback = sealed(one, odd, now)
            if callback is not None:
                yield odd.case, callback
        if one.kind.trust != "signed":
            good = one.sent(what, now=now)
            for case, body in itertools.islice(odd_documents(good.body), 0, None, every):
                yield f"{what}: unsigned {case}", replace(good, body=body)


def all_keep(one: Account, callbacks: Iterable[tuple[str, Callback]]) -> int:
    """How many there were; the promise is kept for each, or the error names the case."""
    tried = 0
    for case, callback in callbacks:
        try:
            outcome(one, callback, NOW)
        except Exception as error:
            raise AssertionError(f"{one.id}: {case}") from error
        tried += 1
    return tried


def garbled_ones(one: Account) -> Iterator[tuple[str, Callback]]:
    """A good callback with every piece in every header and the body: at its beginning, in its middle, in its stead."""
    good = one.sent(now=NOW)
    for operation, piece in itertools.product(GARBLED, PIECES_OF_NOW):
        case = f"{operation} {piece[:20]!r}"
        for place, (name, value) in enumerate(good.headers):
            for at in (0, len(value) // 2):
                other = name, OPERATIONS[operation](value, at, piece)
                yield f"{name.decode()}: {case}", replace(good, headers=_put(good.headers, place, other))
        yield f"body: {case}", replace(good, body=OPERATIONS[operation](good.body, len(good.body) // 2, piece))


def sealed(one: Account, body: Body, now: float = NOW) -> Callback | None:
    """Signed as the provider would; None where the signature has no place in such a body."""
    try:
        return arrived(one.source.provider.seal(body.body, now, body.beside))
    except UnreadableError:
        return None


def _put(headers: list[tuple[bytes, bytes]], place: int, other: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return [*headers[:place], other, *headers[place + 1 :]]


def _unsigned(one: Account, what: str) -> tuple[bytes, Mapping[str, str]]:
    payload = one.payload(what, now=NOW)
    written = {name: part for name, part in payload.items() if name != HEADERS}
    return one.source.provider.render(written, NOW), headers_in(payload)


def _signed(facts: tuple[Fact, ...]) -> list[tuple[object, ...]]:
    """What a header without a signature cannot change."""
    return [(fact.entity_id, fact.occurred_at, fact.key_time, fact.fingerprint, fact.livemode) for fact in facts]


def _settings(examples: int, seed: int | None) -> Callable[[Callable[[], None]], Callable[[], None]]:
    chosen = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    return lambda tried: chosen(tried if seed is None else seeded(seed)(tried))
