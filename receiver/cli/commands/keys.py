"""`receiver sources keys`: which keys are still used?"""

import asyncio
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from receiver.cli.moments import moment
from receiver.cli.options import AsJson, Embedded
from receiver.cli.output import emit_json, note, shown, table

if TYPE_CHECKING:
    from receiver.operate.key_use import KeyUseRow
    from receiver.storage.key_use import KeyUses


def list_keys(
    source: Annotated[str | None, typer.Argument(metavar="[SOURCE]", help="Only the keys of this source.")] = None,
    *,
    since: Annotated[str, typer.Option(metavar="AGE|TIME", help="How far to look back: 12h, 7d, a time.")] = "7d",
    events: Annotated[
        int, typer.Option(min=1, max=1_000_000_000, help="Look at so many of the newest events, at most.")
    ] = 1_000_000,
    embedded: Embedded = None,
    as_json: AsJson = False,
) -> None:
    """List the keys of the sources, and when each was last used.

    A key is used when it verifies the first delivery of an event. Secrets are not shown.
    """
    from receiver.cli.servers import FOLDER
    from receiver.operate.key_use import key_use_rows
    from receiver.operate.secrets import source_called
    from receiver.settings import load
    from receiver.sources import build_sources

    settings = load(FOLDER)
    sources = {source: source_called(settings, source, FOLDER)} if source else build_sources(settings, FOLDER)
    now = dt.datetime.now(dt.UTC)
    uses = asyncio.run(_uses(moment(since, now) or now, events, embedded))
    rows = key_use_rows(sources, uses)
    if as_json:
        emit_json(rows)
        return
    _print(rows)
    _tell(rows, uses)


async def _uses(since: dt.datetime, most: int, embedded: Path | None) -> "KeyUses":
    from receiver.cli.servers import opened_database
    from receiver.storage.key_use import key_uses

    async with opened_database(embedded) as connection:
        return await key_uses(connection, since, most)


def _print(rows: "Sequence[KeyUseRow]") -> None:
    columns: tuple[str, ...] = ("SOURCE", "KEY", "SETTING", "LAST USED", "IN 24 H")
    cells: list[tuple[object, ...]] = [(row.source, row.key, row.setting, row.last_used, row.last_day) for row in rows]
    if any(row.not_before or row.not_after for row in rows):  # not in the way where no key has a window
        columns += ("NOT BEFORE", "NOT AFTER")
        cells = [(*cell, row.not_before, row.not_after) for cell, row in zip(cells, rows, strict=True)]
    table(columns, cells)


def _tell(rows: "Sequence[KeyUseRow]", uses: "KeyUses") -> None:
    """How far back was looked, and what may deceive."""
    from receiver.operate.key_use import named_by_place

    note(f"{len(rows)} keys, looked back to {shown(uses.since)}")
    if uses.cut_short:
        note("older events were not looked at: say --events for more of them")
    if named_by_place(rows):
        note("keys without a name are told apart by their place, which another may take: give each a name")
