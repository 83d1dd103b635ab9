"""`receiver audit list`: who did what, and why."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from receiver.cli.options import AsJson, Embedded, Limit
from receiver.cli.output import emit_json, note, table

if TYPE_CHECKING:
    from receiver.storage.audit import AuditRow


def list_audit(
    *,
    subject: Annotated[str | None, typer.Option(metavar="ID", help="Only of this event or replay.")] = None,
    limit: Limit = 50,
    embedded: Embedded = None,
    as_json: AsJson = False,
) -> None:
    """List what operators did, newest first."""
    rows = asyncio.run(_list(subject, limit, embedded))
    if as_json:
        emit_json(rows)
        return
    columns = ("AT", "WHO", "ACTION", "SUBJECT", "WHY", "DETAILS")
    table(columns, [(row.at, row.who, row.action, row.subject, row.why, json.dumps(row.details)) for row in rows])
    note(f"{len(rows)} rows" + (", more with --limit" if len(rows) == limit else ""))


async def _list(subject: str | None, limit: int, embedded: Path | None) -> "list[AuditRow]":
    from receiver.cli.servers import opened_database
    from receiver.storage import audit

    async with opened_database(embedded) as connection:
        return await audit.newest(connection, subject, limit)
