"""`receiver sources list` and `receiver doctor`: is it set up as it should be?"""

import asyncio
from typing import Final

import typer

from receiver.cli.exits import Exit
from receiver.cli.options import AsJson, Embedded
from receiver.cli.output import emit_json, note, table

_SIGNS: Final = {"ok": "ok", "warn": "WARN", "fail": "FAIL"}


def list_sources(*, as_json: AsJson = False) -> None:
    """List the configured sources, without their secrets."""
    from receiver.cli.servers import FOLDER
    from receiver.operate.accounts import accounts
    from receiver.settings import load
    from receiver.sources import build_sources

    settings = load(FOLDER)
    rows = accounts(settings, build_sources(settings, FOLDER))
    if as_json:
        emit_json(rows)
        return
    columns = ("NAME", "PROVIDER", "PATH", "VERIFICATION", "LIVE SECRETS", "REPEATS FOR", "WAITS")
    cells = [
        (
            row.name,
            row.provider,
            row.path,
            row.verification,
            row.live_secrets,
            f"{row.retry_hours:g} h",
            f"{row.answer_seconds:g} s",
        )
        for row in rows
    ]
    table(columns, cells)
    note(f"{len(rows)} sources")


def doctor(*, embedded: Embedded = None, as_json: AsJson = False) -> None:
    """Check the whole set-up and say what to do.

    Sources and their secrets, PostgreSQL, schema, clock, workers, Redis. Exits 1 if any check fails.
    """
    from receiver.cli.servers import FOLDER, settings_with_servers
    from receiver.operate.doctor import examine, failed

    checks = asyncio.run(examine(settings_with_servers(embedded), FOLDER))
    if as_json:
        emit_json(checks)
    else:
        table(
            ("CHECK", "", "FOUND", "WHAT TO DO"), [(c.name, _SIGNS[c.status], c.found, c.advice or "") for c in checks]
        )
    if failed(checks):
        raise typer.Exit(Exit.FAILED)
