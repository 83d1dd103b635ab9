"""One running service with a source for each conformance vector, made of the vector's keys, and a clock that is set."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from receiver import Receiver
from receiver.certificates import Network
from receiver.settings import made
from tests.ingress.ledger import Ledger
from tests.ingress.serving import serving
from tests.ingress.wire import Reply
from tests.providers.accounts import wire
from tests.providers.line import KeptLine
from tests.sources.vector_exceptions import EXCEPTIONS, UNDECIDED, Exempt
from tests.sources.vector_keys import OTHER_KEY, settings
from tests.sources.vectors import Vector, vectors

EXEMPT: Mapping[str, Exempt] = {**EXCEPTIONS, **UNDECIDED}


@dataclass
class Wound:
    """A clock that shows what it was set to."""

    now: float = 0.0

    def __call__(self) -> float:
        """Unix seconds."""
        return self.now


@dataclass(frozen=True, kw_only=True)
class Played:
    """The service that the vectors are sent to."""

    clock: Wound
    line: KeptLine
    ledger: Ledger

    async def send(self, vector: Vector, key: str = "") -> Reply:
        """Send it at its time, twice, by each door once; the answer, which must be the same."""
        self.clock.now = vector.clock
        source = source_of(vector, key)
        first, second = [await self.line.ask(wire(vector.callback, source, asgi=asgi)) for asgi in (False, True)]
        assert (first.status, first.body) == (second.status, second.body)
        return first


def source_of(vector: Vector, key: str = "") -> str:
    """The name of its source; with its `key` alone, where one is named. Ids are longer than names may be."""
    return f"{vector.provider}-{vectors().index(vector)}{'-' if key else ''}{key}"


def taken(vector: Vector) -> bool:
    """Whether anything is kept of it."""
    if vector.id in EXEMPT:
        return bool(EXEMPT[vector.id].aside or EXEMPT[vector.id].stored)
    return vector.expected["valid"] is True and not vector.expected.get("handshake")


@asynccontextmanager
async def played(ledger: Ledger) -> AsyncIterator[Played]:
    """Run it. It can reach nobody outside: what cannot be verified with the vector's own keys is not."""
    receiver, clock = Receiver(), Wound()
    given = made(
        database_url=ledger.database_url, redis_url=ledger.redis_url, redis_timeout=2.0, sources=dict(_sources())
    )
    network = Network(resolve=_nowhere)
    async with serving(receiver, given, network=network, clock=clock) as served, KeptLine(served.port) as line:
        yield Played(clock=clock, line=line, ledger=ledger)


def _sources() -> Mapping[str, Mapping[str, object]]:
    found = {source_of(vector): settings(vector.provider, vector.keys) for vector in vectors()}
    for vector in vectors():
        if OTHER_KEY in vector.keys:
            found[source_of(vector, OTHER_KEY)] = settings(vector.provider, {"secret": vector.keys[OTHER_KEY]})
    return found


async def _nowhere(host: str) -> Sequence[str]:
    raise OSError(f"{host} is not known here")
