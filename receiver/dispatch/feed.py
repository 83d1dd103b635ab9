"""What is leased, and how far ahead: far enough that no slot waits, not so far that others could have helped."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import structlog

from receiver.dispatch.line import Line
from receiver.dispatch.pauses import RECONNECT
from receiver.dispatch.quotas import Quotas
from receiver.storage.leases import Ask, Claim, Lease, LeaseConnection

log = structlog.get_logger(__name__)

BATCH: Final = 128
"""Most slots that are leased for at once: 32 were 10 % slower, for slots ran dry before the next claim came back."""
_AHEAD_SECONDS: Final = 0.06
"""How long what is leased ahead should last: a claim takes that long where all processors are busy."""
_SUSPECTS: Final = 32
"""Most that wait for the one slot that runs them."""
_WEIGHT: Final = 0.1
"""Of the newest run, in the mean."""


class Feed:
    """Leases dispatches and hands them to the slots.

    Args:
        connection: for leasing.
        quotas: how much of which handler.
        slots: how many runs there may be at once.
        heard: set from outside when something may be due.
        poll_seconds: between looks when nothing is heard.
        draw: random numbers from 0 to 1.
    """

    def __init__(
        self,
        connection: LeaseConnection,
        quotas: Quotas,
        *,
        slots: int,
        heard: asyncio.Event,
        poll_seconds: float,
        draw: Callable[[], float],
    ) -> None:
        self.held: set[Lease] = set()
        """All that is leased and not yet done."""
        self.line = Line(self._done, quotas.turns)
        """For the slots,"""
        self.suspects = Line(self._suspect_done, quotas.turns)
        """and for the one that runs suspects."""
        self._connection = connection
        self._quotas = quotas
        self._slots = slots
        self._heard = heard
        self._poll_seconds = poll_seconds
        self._draw = draw
        self._room_made = asyncio.Event()
        self._lacking = 0
        """Runs that must end before there can be room: `run` sleeps until then."""
        self._mean_seconds = _AHEAD_SECONDS
        self.stopping = False
        """Nothing is leased any more."""

    async def run(self) -> None:
        """Lease until `stop`."""
        while not self.stopping:
            room = self._room()
            if room <= 0:
                self._lacking = 1 - room
                self._room_made.clear()
                await self._room_made.wait()
                continue
            self._heard.clear()
            asked = self._quotas.ask(room)
            claim = await self._lease(asked)
            for lease in claim.leases:
                (self.suspects if lease.suspect else self.line).put(lease)
            self.held.update(claim.leases)
            if not self._quotas.heard(asked, claim):
                probe = self._quotas.seconds_to_probe()
                await self._pause(self._poll_seconds if probe is None else min(probe, self._poll_seconds))

    def stop(self) -> None:
        """Lease no more."""
        self.stopping = True
        self._heard.set()
        self._room_made.set()

    async def quiet(self) -> None:
        """Returns once all that was taken is done."""
        while self.held:
            self._room_made.clear()
            await self._room_made.wait()

    def drain(self) -> list[Lease]:
        """Take out all that no slot has taken."""
        left = self.line.drain() + self.suspects.drain()
        self.held.difference_update(left)
        return left

    def _room(self) -> int:
        """For how many slots to lease now; 0 or less while too few are missing to be worth a statement."""
        ahead = min(BATCH, int(self._slots * _AHEAD_SECONDS / self._mean_seconds))
        room = int(self._slots + ahead - self._quotas.load())
        return min(room, BATCH) if room > ahead // 2 else room - ahead // 2

    def _done(self, lease: Lease, seconds: float) -> None:
        self._mean_seconds += _WEIGHT * (seconds * self._quotas.batches[lease.handler] - self._mean_seconds)
        self._suspect_done(lease, seconds)

    def _suspect_done(self, lease: Lease, _seconds: float) -> None:
        self.held.discard(lease)
        if self._quotas.done(lease):
            self._heard.set()
        self._lacking -= 1
        if self._lacking <= 0 or self.stopping:
            self._room_made.set()

    async def _lease(self, asked: Mapping[str, Ask]) -> Claim:
        tries = 0
        while asked and not self.stopping:
            try:
                # Suspects run one at a time: however many there are, they must not fill the memory.
                return await self._connection.lease(asked, suspects=self.suspects.waiting < _SUSPECTS)
            except Exception as error:  # noqa: BLE001 - a fault of ours must not end the feed in silence
                tries += 1
                log.warning("lease_failed", error=type(error.__cause__ or error).__name__)
                self._heard.clear()
                await self._pause(RECONNECT.delay(tries, self._draw()))
        return Claim(leases=(), seen={})

    async def _pause(self, seconds: float) -> None:
        """Until something is heard, or `seconds` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._heard.wait()
