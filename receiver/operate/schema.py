"""Brings the schema up: migrations, then the partitions of the coming months."""

import asyncio

import msgspec

from receiver.inbox.faults import UNREACHABLE
from receiver.operate.database import unavailable
from receiver.storage import migrate


class Migrated(msgspec.Struct, frozen=True, kw_only=True):
    """What a migration did."""

    before: str | None
    """The revision before; None: there was no schema."""
    after: str | None
    """The revision now; one that this program does not know was made by a newer one and is left alone."""
    partitions: list[str]
    """Those made now."""


def bring_up(url: str) -> Migrated:
    """Migrate to the newest revision and make partitions. Blocks; not to be called on an event loop.

    Raises:
        StoreUnavailable: Postgres cannot be reached, or refused.
    """
    try:
        before = asyncio.run(migrate.current(url))
        if before in {None, *migrate.older_revisions()}:
            migrate.upgrade(url)
        partitions = asyncio.run(migrate.make_partitions(url))
        return Migrated(before=before, after=asyncio.run(migrate.current(url)), partitions=partitions)
    except UNREACHABLE as error:
        raise unavailable(url, error) from error
