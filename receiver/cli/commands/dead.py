"""`receiver dead list`: what needs a person."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from receiver.cli.options import AsJson, Embedded, Limit
from receiver.cli.output import emit_json, note, table

if TYPE_CHECKING:
    from receiver.storage.views import DeadRow


def list_dead(
    *,
    handler: Annotated[str | None, typer.Option(help="Only of this handler.")] = None,
    limit: Limit = 50,
    embedded: Embedded = None,
    as_json: AsJson = False,
) -> None:
    """List what no worker will run again by itself."""
    rows = asyncio.run(_list(handler, limit, embedded))
    if as_json:
        emit_json(rows)
        return
    columns = ("ID", "HANDLER", "DIED", "SOURCE", "TYPE", "ENTITY", "RUNS", "BEHIND", "REASON")
    cells = [
        (
            row.id,
            row.handler,
            row.died_at,
            row.source,
            row.type,
            row.entity_id,
            row.attempts,
            row.behind if row.blocks else None,
            row.reason,
        )
        for row in rows
    ]
    table(columns, cells)
    note(f"{len(rows)} dead dispatches" + (", more with --limit" if len(rows) == limit else ""))


async def _list(handler: str | None, limit: int, embedded: Path | None) -> "Sequence[DeadRow]":
    from receiver.cli.servers import opened_database
    from receiver.storage import views

    async with opened_database(embedded) as connection:
        return await views.dead(connection, handler, limit)
