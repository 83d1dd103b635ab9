"""What one verification costs, of every provider: a callback that is genuine and one that is not, without HTTP."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from receiver.errors import VerificationError
from receiver.events import Callback
from receiver.settings import made
from receiver.sources import PROVIDERS, Provider, Signed, Source, build_sources, made_up

_NOTES = 10
_NOTE = "About as long as what shops write into such members."
"""They make the samples, which are short, as long as real bodies are: about 1 KB."""
_UNIQUE = "123456789012345"


class Verification(msgspec.Struct):
    """One provider: the fastest of all rounds, since everything else on the machine only adds to it."""

    name: str
    bytes: int
    """Of the body."""
    genuine_us: float
    forged_us: float


def measure(*, rounds: int, seconds: float, step: Callable[[str], None]) -> list[Verification]:
    """All providers in the order of their names.

    Args:
        rounds: every round holds every provider, so that drift hits all alike.
        seconds: how long each of the two is verified over and over in a round.
        step: is told what is going on.
    """
    now = time.time()
    pairs = {name: _pair(name, now) for name in PROVIDERS}
    best = {name: [float("inf"), float("inf")] for name in pairs}
    for number in range(1, rounds + 1):
        for name, (source, callbacks) in pairs.items():
            step(f"round {number} of {rounds}: verifying {name}")
            for which, callback in enumerate(callbacks):
                took = _microseconds(partial(_verify, source, callback, now), seconds)
                best[name][which] = min(best[name][which], took)
    return [
        Verification(name=name, bytes=len(pairs[name][1][0].body), genuine_us=genuine, forged_us=forged)
        for name, (genuine, forged) in best.items()
    ]


def _pair(name: str, now: float) -> tuple[Source, tuple[Callback, Callback]]:
    """An account, and what it takes and refuses."""
    source = _account(name)
    genuine = _sent(source, now)
    source.verify(genuine, now)  # or what is timed below would be a refusal
    # One letter changed has the whole signature checked. Where none covers it, the callback of a stranger's account.
    forged = replace(genuine, body=_changed(genuine.body))
    if _verify(source, forged, now):
        forged = _sent(_account(name), now)
    assert not _verify(source, forged, now)
    return source, (genuine, forged)


def _account(name: str) -> Source:
    return build_sources(made(sources={name: made_up(name)}), Path())[name]


def _sent(source: Source, now: float) -> Callback:
    payload = _payload(type(source.provider), int(now))
    return _arrived(source.sign({**payload, **{f"note_{number}": _NOTE for number in range(_NOTES)}}, now))


def _payload(kind: type[Provider], created: int) -> Mapping[str, object]:
    event = kind.sample_id(_UNIQUE, created)
    return kind.sample(next(iter(kind.samples)), external_id=event, entity_id="order1001", created=created)


def _arrived(signed: Signed) -> Callback:
    headers = [(name.lower().encode(), value.encode()) for name, value in signed.headers]
    return Callback(method="POST", headers=headers, body=signed.body, query=signed.query.encode())


def _changed(body: bytes) -> bytes:
    place = next(at for at in range(len(body) // 2, len(body)) if chr(body[at]).isalnum())
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


def _verify(source: Source, callback: Callback, now: float) -> bool:
    with suppress(VerificationError):
        return bool(source.verify(callback, now).facts)
    return False


def _microseconds(work: Callable[[], object], seconds: float) -> float:
    """How long it takes, over and over for so long."""
    times = 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        work()
        times += 1
    return took / times * 1e6
