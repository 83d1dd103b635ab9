"""`receiver workers list`: who runs handlers, and which of them are closed off."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from receiver.cli.options import AsJson, Embedded
from receiver.cli.output import emit, emit_json, note, table

if TYPE_CHECKING:
    from receiver.storage.workers import WorkerRow


def list_workers(*, embedded: Embedded = None, as_json: AsJson = False) -> None:
    """List the workers of the last day, and the circuits that are open in them."""
    rows = asyncio.run(_list(embedded))
    if as_json:
        emit_json(rows)
        return
    columns = ("NAME", "HOST", "VERSION", "STATE", "RUNS", "SINCE", "LAST SEEN", "HANDLERS")
    cells = [
        (
            row.name,
            row.host,
            row.version,
            row.state,
            f"{row.running}/{row.concurrency}",
            row.started_at,
            row.seen_at,
            ", ".join(row.handlers),
        )
        for row in rows
    ]
    table(columns, cells)
    _print_circuits([row for row in rows if row.state in {"running", "draining"}])
    note(f"{len(rows)} workers, {sum(row.state == 'running' for row in rows)} of them running")


def _print_circuits(rows: "Sequence[WorkerRow]") -> None:
    """What is open, where anything is: one that is gone has nothing to probe."""
    cells = [(circuit.handler, row.name, circuit.since, circuit.probe_at) for row in rows for circuit in row.circuits]
    if cells:
        emit("")
        table(("OPEN CIRCUIT", "WORKER", "SINCE", "NEXT PROBE"), cells)


async def _list(embedded: Path | None) -> "Sequence[WorkerRow]":
    from receiver.cli.servers import opened_database
    from receiver.storage import workers

    async with opened_database(embedded) as connection:
        return await workers.workers(connection)
