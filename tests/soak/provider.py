"""The other side: a provider that sends each callback until it is acknowledged, some more often, few in order."""

import asyncio
import math
import random
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.ingress.accounts import Account
from tests.ingress.ledger import until
from tests.ingress.wire import Line, Reply

CONNECTIONS: Final = 48
EVENTS: Final = 12
"""Of one payment."""
SHUFFLED: Final = 200
"""Callbacks among which the next one is drawn: so far out of order do they arrive."""
STRIPE: Final = (
    "payment_intent.created",
    "payment_intent.processing",
    "payment_intent.succeeded",
    "charge.succeeded",
    "charge.refunded",
    "customer.updated",
)
SHARES: Final = {"stripe": 60, "standardwebhooks": 36, "alipay": 2, "wechatpay": 2}
SUCCESS: Final = frozenset({200, 204})
HONEST: Final = SUCCESS | {503}
"""Whatever happens."""
ANSWER_SECONDS: Final = 12.0
LONGEST_PAUSE: Final = 3.0
AGAIN: Final = 0.15
"""Of what was acknowledged is sent again all the same."""


@dataclass(eq=False)
class Callback:
    """One event on its way."""

    account: Account
    payload: Mapping[str, object]
    external_id: str
    tries: int = 0


@dataclass
class Counts:
    """What a provider knows."""

    made: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    answers: Counter[int] = field(default_factory=Counter)
    sent: int = 0
    silence: int = 0
    """Times that no answer came."""
    odd: list[str] = field(default_factory=list)
    """Answers that no fault explains."""


class Provider:
    """Sends `total` events over so many seconds, and then again whatever was not acknowledged.

    Args:
        accounts: one of each provider.
        ports: of the servers.
        draw: all chance.
        total: events.
        seconds: in which they should be sent; more slowly if the servers cannot.
    """

    def __init__(
        self, accounts: Mapping[str, Account], ports: Sequence[int], draw: random.Random, *, total: int, seconds: float
    ) -> None:
        self.counts = Counts()
        self.hasty = 0
        """How many of the next ones are broken off before their answer."""
        self.no_more = asyncio.Event()
        """Set when nobody else makes events."""
        self._accounts = accounts
        self._ports = ports
        self._draw = draw
        self._total = total
        self._seconds = seconds
        self._queue: asyncio.Queue[Callback] = asyncio.Queue()
        self._pool: deque[Callback] = deque()
        self._entities = 0
        self._numbers = 0
        self._waiting = 0
        self._idle: dict[int, list[Line]] = {port: [] for port in ports}

    async def run(self) -> None:
        """Until all that was made is acknowledged."""
        async with asyncio.TaskGroup() as group:
            senders = [group.create_task(self._send()) for _ in range(CONNECTIONS)]
            started = time.monotonic()
            while (made := len(self.counts.made)) < self._total:
                due = self._total * (time.monotonic() - started) / self._seconds
                # Not further ahead than a provider who slows down as it gets no answers.
                for _ in range(min(int(due) - made, self._total - made, 2_000 - self._queue.qsize())):
                    self.submit(self.make())
                await asyncio.sleep(0.02)
            await self.no_more.wait()
            await until(self._all_is_heard, seconds=math.inf)
            for sender in senders:
                sender.cancel()

    async def _all_is_heard(self) -> bool:
        return not self._waiting and self.counts.acknowledged == self.counts.made

    def make(self) -> Callback:
        """The next event, seldom in order."""
        while len(self._pool) < SHUFFLED:
            self._pool.extend(self._payment())
        self._pool.rotate(self._draw.randrange(SHUFFLED))
        callback = self._pool.popleft()
        self.counts.made.add(callback.external_id)
        return callback

    def submit(self, callback: Callback, after: float = 0) -> None:
        """Send it, some time."""
        self._waiting += 1
        asyncio.get_running_loop().call_later(after, self._queue.put_nowait, callback)

    def _payment(self) -> list[Callback]:
        """All that happens to one payment, a second apart."""
        name = self._draw.choices(list(SHARES), list(SHARES.values()))[0]
        account, self._entities = self._accounts[name], self._entities + 1
        now, entity = int(time.time()) - EVENTS, f"order{self._entities}"
        made = []
        for second in range(EVENTS if name in {"stripe", "standardwebhooks"} else 1):
            self._numbers += 1
            provider = account.source.provider
            event = provider.sample_id(f"{self._numbers:08}", now)
            payload = provider.sample("paid", external_id=event, entity_id=entity, created=now + second)
            if name == "stripe":
                payload["type"] = STRIPE[second % len(STRIPE)]
            made.append(Callback(account, payload, str(payload.get("id", payload.get("notify_id")))))
        return made

    async def deliver(self, callback: Callback) -> bool:
        """Send it once, to any of the servers; whether that was answered with success.

        Signed anew each time, as providers do. The connection is kept for others, if it can be.
        """
        sent = callback.account.signed(callback.payload).raw
        callback.tries += 1
        self.counts.sent += 1
        port = self._draw.choice(self._ports)
        try:
            line = self._idle[port].pop() if self._idle[port] else await Line(port).__aenter__()
        except OSError:
            self.counts.silence += 1
            return False
        reply = await self._ask(line, sent)
        if reply is None:
            self.counts.silence += 1
            line.writer.transport.abort()
            return False
        if reply.headers.get("connection") == "close":
            line.writer.transport.abort()
        else:
            self._idle[port].append(line)
        return self._heard(callback, reply)

    def _heard(self, callback: Callback, reply: Reply) -> bool:
        self.counts.answers[reply.status] += 1
        if reply.status not in HONEST:
            self.counts.odd.append(f"{reply.status} {reply.body[:200]!r} to {callback.external_id}")
        acknowledged = reply.status in SUCCESS
        if acknowledged:
            self.counts.acknowledged.add(callback.external_id)
        return acknowledged

    async def _ask(self, line: Line, sent: bytes) -> Reply | None:
        """The answer; None if none came, or if we did not wait for it."""
        try:
            if self.hasty > 0:
                self.hasty -= 1
                await line.send(sent[: self._draw.randrange(1, len(sent) + 1)])
                return None
            line.writer.write(sent)
            return await line.reply(ANSWER_SECONDS)
        except (OSError, EOFError, TimeoutError):
            return None

    async def _send(self) -> None:
        """One callback after another."""
        while True:
            callback = await self._queue.get()
            acknowledged = await self.deliver(callback)
            self._waiting -= 1
            if not acknowledged and callback.external_id not in self.counts.acknowledged:
                self.submit(callback, self._draw.random() * min(0.2 * 2**callback.tries, LONGEST_PAUSE))
            elif acknowledged and self._draw.random() < AGAIN:
                self.submit(callback, self._draw.random() * LONGEST_PAUSE)
