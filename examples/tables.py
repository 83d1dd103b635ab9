"""Makes the example's tables: in a project of yours this is the work of your own migrations.

python tables.py .receiver     # in the database of the embedded servers that run over this folder
python tables.py               # in the one that RECEIVER_DATABASE_URL names
"""

import asyncio
import os
import sys
from pathlib import Path

import asyncpg

from receiver.embedded import find_running

TABLES = """
CREATE SCHEMA IF NOT EXISTS shop;
CREATE TABLE IF NOT EXISTS shop.payment (
    source text NOT NULL,
    entity_id text NOT NULL,
    amount bigint NOT NULL,
    currency text NOT NULL,
    state text NOT NULL DEFAULT 'paid',
    PRIMARY KEY (source, entity_id)
);
-- Nothing here is unique but the number: that each event has one entry is the receiver's doing.
CREATE TABLE IF NOT EXISTS shop.ledger (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL,
    entity_id text NOT NULL,
    entry text NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now()
);
"""


def database_url(folder: str | None) -> str:
    """The URL of the database. Ends the program where there is none."""
    if folder is None:
        return os.environ.get("RECEIVER_DATABASE_URL") or sys.exit("set RECEIVER_DATABASE_URL, or name a folder")
    running = find_running(Path(folder))
    return running.database_url if running else sys.exit(f"no servers run over {folder}")


async def make_tables(url: str) -> None:
    """Make what is missing."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(TABLES)
    finally:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(make_tables(database_url(sys.argv[1] if len(sys.argv) > 1 else None)))
