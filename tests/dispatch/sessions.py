"""A program's connection and what it is doing there: calls that are carried out request by request, or through."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Final

import pytest

from receiver.storage.engine import Connection
from tests.dispatch.gate import Gate

_LOOK_SECONDS: Final = 0.002
_SOON_SECONDS: Final = 0.01
_LONGEST_SECONDS: Final = 60.0
_BACKENDS: Final = """
SELECT pid, EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = a.pid AND NOT granted) AS blocked
FROM pg_stat_activity AS a WHERE pid = ANY($1::int[]) AND datname = current_database()
"""
"""Those that are there. Who is granted a lock is not blocked by the time that its giver's answer is heard."""


class Session:
    """One connection behind its gate.

    Args:
        name: for messages.
        gate: opened.
        url: that leads through it.
    """

    def __init__(self, name: str, gate: Gate, url: str) -> None:
        self.name = name
        self.gate = gate
        self.url = url
        self.hurt = True
        """It was cut, or ended, or not yet opened: its call may fail."""
        self.blocked = False
        """Its call was seen to wait in PostgreSQL."""
        self._call: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """A call is under way."""
        return self._call is not None

    @property
    def waits(self) -> bool:
        """Its call waits to be let through."""
        return self.busy and self.gate.waits

    @property
    def settled(self) -> bool:
        """Its call is over, or waits to be let through."""
        return self._call is None or self._call.done() or self.gate.waits

    def start(self, call: Coroutine[None, None, None], *, stepped: bool) -> None:
        """Begin `call`, which uses this connection alone.

        Args:
            call: raises what is a fault of the program.
            stepped: it stops before each of its requests.
        """
        assert not self.busy
        self.gate.shut = stepped
        self.blocked = False
        self._call = asyncio.create_task(call, name=self.name)
        self._call.add_done_callback(lambda _: self.gate.tell())

    def step(self) -> None:
        """Let its next request through."""
        self.gate.let_through()

    def run_on(self) -> None:
        """Let all that it asks through from now on."""
        self.gate.shut = False
        self.gate.let_through()

    def reap(self) -> None:
        """Forget a call that is over; raises what it raised."""
        if self._call is not None and self._call.done():
            call, self._call = self._call, None
            self.gate.shut = False
            call.result()

    async def answered(self, monitor: Connection) -> None:
        """Wait until what was let through is answered, or waits for what another one holds."""
        while self.gate.asking and not (await _backends(monitor, [self.gate.pid])).get(self.gate.pid):
            await self.gate.changes(_LOOK_SECONDS)

    async def abandon(self) -> None:
        """Its program is gone: what it was doing is not heard of any more."""
        self.gate.cut()
        self.gate.shut = False
        call, self._call = self._call, None
        if call is not None:
            call.cancel()
            with suppress(BaseException):
                await call


async def _backends(monitor: Connection, pids: Sequence[int]) -> dict[int, bool]:
    """Which of these backends are there, and whether they are blocked."""
    return {row["pid"]: row["blocked"] for row in await monitor.fetch(_BACKENDS, pids)}


async def settle(monitor: Connection, sessions: Sequence[Session], orphans: set[int]) -> None:
    """Wait until each call is over, waits to be let through, or waits in PostgreSQL for what another one holds.

    Args:
        monitor: to look with.
        sessions: all that there are.
        orphans: backends whose programs are gone; those that have ended are taken out.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    while (unsettled := [session for session in sessions if not session.settled]) or orphans:
        moving = [session for session in unsettled if not session.blocked]
        if moving and clock() < began + _SOON_SECONDS:  # most calls are soon over: PostgreSQL need not be asked
            await moving[0].gate.changes(_LOOK_SECONDS)
            continue
        there = await _backends(monitor, [*orphans, *(session.gate.pid for session in unsettled)])
        orphans &= there.keys()
        for session in unsettled:
            session.blocked = there.get(session.gate.pid, False)
        running = [session for session in unsettled if not session.blocked]
        if not running and all(there[pid] for pid in orphans):
            return
        if running:
            await running[0].gate.changes(_LOOK_SECONDS)
        if clock() > began + _LONGEST_SECONDS:
            pytest.fail(f"{[each.name for each in running] or orphans}: neither done nor waiting")
