"""`receiver dead list` and `receiver replay`: what needs a person, and running it again."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from receiver.cli.options import AsJson, Embedded, Limit
from receiver.cli.output import emit, emit_json, note, table

if TYPE_CHECKING:
    from receiver.operate.replays import Replayed
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
    columns = ("ID", "HANDLER", "DIED", "SOURCE", "TYPE", "ENTITY", "RUNS", "REASON")
    cells = [
        (row.id, row.handler, row.died_at, row.source, row.type, row.entity_id, row.attempts, row.reason)
        for row in rows
    ]
    table(columns, cells)
    note(f"{len(rows)} dead dispatches" + (", more with --limit" if len(rows) == limit else ""))


def replay(
    event_id: Annotated[
        str | None, typer.Argument(metavar="[EVENT]", help="The event's own id, or the provider's.")
    ] = None,
    *,
    handler: Annotated[
        str | None, typer.Option(help="All that is dead of this handler; with EVENT, only this handler's part of it.")
    ] = None,
    embedded: Embedded = None,
    as_json: AsJson = False,
) -> None:
    """Run again what is dead: one event's, or all of a handler."""
    if event_id is None and handler is None:
        raise typer.BadParameter("name an event, or a handler with --handler", param_hint="EVENT")
    done = asyncio.run(_replay(event_id, handler, embedded))
    if as_json:
        emit_json(done)
    else:
        emit(f"{done.replayed} dispatches are due again: {', '.join(done.handlers)}")


async def _list(handler: str | None, limit: int, embedded: Path | None) -> "Sequence[DeadRow]":
    from receiver.cli.servers import opened_database
    from receiver.storage import views

    async with opened_database(embedded) as connection:
        return await views.dead(connection, handler, limit)


async def _replay(event_id: str | None, handler: str | None, embedded: Path | None) -> "Replayed":
    from receiver.cli.servers import opened_database
    from receiver.operate.replays import replay_event, replay_handler

    async with opened_database(embedded) as connection:
        if event_id is not None:
            return await replay_event(connection, event_id, handler)
        return await replay_handler(connection, handler or "")
