"""Sends signed callbacks over HTTP as a provider would, and measures what it hears."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from statistics import quantiles
from typing import Final

import httpx
import msgspec

from receiver.operate.composed import Payload
from receiver.sources import Source

TIMEOUT_SECONDS: Final = 30.0
_SUCCESS: Final = range(200, 300)


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """One callback to be sent."""

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What came back."""

    status: int | None
    """None: no answer."""
    error: str | None
    """Why there was none."""
    seconds: float

    @property
    def succeeded(self) -> bool:
        """Whether the provider would be content."""
        return self.status in _SUCCESS


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds from the first byte sent to the last byte heard."""

    p50: float
    p90: float
    p99: float
    max: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of sending came to."""

    sent: int
    succeeded: int
    """Answered 2xx."""
    statuses: dict[str, int]
    """By status, or by the name of the error where no answer came."""
    seconds: float
    per_second: float
    latency_ms: Latency | None


def target(base: str, source: str) -> str:
    """Where the callbacks of `source` go: `base` itself if it names a path, else its `/callbacks/{source}`.

    Raises:
        ValueError: `base` is no URL of a web server.
    """
    try:
        url = httpx.URL(base)
    except httpx.InvalidURL as error:
        raise ValueError(f"{base!r} is no URL: {error}") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"{base!r} is no URL such as http://127.0.0.1:8000")
    return base if url.path.strip("/") else str(url.copy_with(path=f"/callbacks/{source}"))


def signed(source: Source, url: str, payloads: Iterable[Payload], token: str | None = None) -> Iterator[Outgoing]:
    """Sign each payload when its turn comes, so that its time is that of its sending.

    Args:
        source: whose keys sign.
        url: where they go.
        payloads: what is sent.
        token: for a source that wants one in the address; default: a new one for each payload.
    """
    whole = url.endswith(f"/callbacks/{source.name}")  # else it is an address of somebody's own making
    for payload in payloads:
        made = source.sign(payload, time.time())
        end = source.address_end(time.time()) if whole else ""
        address = f"{url}/{token}" if end and token else url + end
        yield Outgoing(url=made.at(address), headers=made.headers, body=made.body)


async def send_all(
    callbacks: Iterator[Outgoing],
    *,
    concurrency: int,
    rate: float | None = None,
    heard: Callable[[Heard], None] = lambda _: None,
) -> list[Heard]:
    """Send every callback once; nothing is repeated.

    Args:
        callbacks: taken one by one, when there is room.
        concurrency: most requests in flight.
        rate: most per second; None: as fast as they are answered.
        heard: called after each.
    """
    answers: list[Heard] = []
    pace = _Pace(rate)
    async with _client(concurrency) as client:

        async def worker() -> None:
            for callback in callbacks:
                await pace.turn()
                answers.append(await _send(client, callback))
                heard(answers[-1])

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())
    return answers


def summarise(answers: Sequence[Heard], seconds: float) -> Summary:
    """Count and rank what was heard.

    Args:
        answers: of one run.
        seconds: that it took.
    """
    statuses = Counter(str(answer.status) if answer.status else answer.error or "no answer" for answer in answers)
    return Summary(
        sent=len(answers),
        succeeded=sum(answer.succeeded for answer in answers),
        statuses=dict(sorted(statuses.items())),
        seconds=round(seconds, 3),
        per_second=round(len(answers) / seconds, 1) if seconds > 0 else 0.0,
        latency_ms=_latency([answer.seconds * 1000 for answer in answers if answer.status]),
    )


class _Pace:
    """Hands out moments to send at, `rate` per second."""

    def __init__(self, rate: float | None) -> None:
        self._gap = 1 / rate if rate else 0.0
        self._next = asyncio.get_running_loop().time()

    async def turn(self) -> None:
        """Wait until it is the caller's turn."""
        now = asyncio.get_running_loop().time()
        mine, self._next = self._next, max(self._next, now - self._gap) + self._gap
        if mine > now:
            await asyncio.sleep(mine - now)


@asynccontextmanager
async def _client(concurrency: int) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    # Proxies and .netrc of the environment are not for us: only what the user named is called.
    async with httpx.AsyncClient(limits=limits, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
        yield client


async def _send(client: httpx.AsyncClient, callback: Outgoing) -> Heard:
    begun = time.perf_counter()
    try:
        answer = await client.post(callback.url, content=callback.body, headers=list(callback.headers))
    except httpx.HTTPError as error:
        return Heard(status=None, error=type(error).__name__, seconds=time.perf_counter() - begun)
    return Heard(status=answer.status_code, error=None, seconds=time.perf_counter() - begun)


def _latency(milliseconds: list[float]) -> Latency | None:
    if not milliseconds:
        return None
    if len(milliseconds) == 1:
        milliseconds = milliseconds * 2
    cuts = quantiles(milliseconds, n=100, method="inclusive")
    return Latency(
        p50=round(cuts[49], 2), p90=round(cuts[89], 2), p99=round(cuts[98], 2), max=round(max(milliseconds), 2)
    )
