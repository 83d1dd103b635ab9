"""What became of the demo's callbacks, read back from the database and the metrics, never from the sender's memory."""

import asyncio
from typing import Final

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from receiver.cli.demo.shop import COUNT_EFFECTS
from receiver.storage.engine import Connection
from receiver.storage.views import totals

_REJECTED: Final = "receiver_rejected_total"
_LOOK_SECONDS: Final = 0.1
_PATIENCE_SECONDS: Final = 60.0


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The demo's result."""

    sent: int
    accepted: int
    """Events stored."""
    duplicates: int
    rejected: int
    succeeded: int
    """Dispatches, as the next two."""
    retrying: int
    dead: int
    effects: int
    """Rows that the shop's handlers wrote."""

    @property
    def add_up(self) -> bool:
        """Whether every callback is accounted for, and every success has its one effect."""
        return self.sent == self.accepted + self.duplicates + self.rejected and self.effects == self.succeeded


async def settled(connection: Connection, operator_url: str, sent: int) -> Figures:
    """The figures once nothing moves any more, or as they are when a minute is over.

    Args:
        connection: to the shop's database.
        operator_url: where the metrics are.
        sent: callbacks.
    """
    async with httpx.AsyncClient(trust_env=False) as client:
        deadline = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while True:
            quiet, figures = await _look(connection, client, operator_url, sent)
            if quiet or asyncio.get_running_loop().time() > deadline:
                return figures
            await asyncio.sleep(_LOOK_SECONDS)


async def _look(
    connection: Connection, client: httpx.AsyncClient, operator_url: str, sent: int
) -> tuple[bool, Figures]:
    found = await totals(connection)
    figures = Figures(
        sent=sent,
        accepted=found.accepted,
        duplicates=found.duplicates,
        rejected=_rejected((await client.get(f"{operator_url}/metrics")).text),
        succeeded=found.succeeded,
        retrying=found.retrying,
        dead=found.dead,
        effects=int(await connection.fetchval(COUNT_EFFECTS)),
    )
    return not found.pending and not found.retrying and figures.add_up, figures


def _rejected(metrics: str) -> int:
    """The sum over all sources and reasons."""
    samples = (sample for family in text_string_to_metric_families(metrics) for sample in family.samples)
    return int(sum(sample.value for sample in samples if sample.name == _REJECTED))
