"""`receiver secrets check`: which of a source's keys was a captured callback signed with?"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from receiver.cli.commands.verify import clock_of, read_request
from receiver.cli.exits import Exit
from receiver.cli.options import AsJson
from receiver.cli.output import emit_json, note, table

if TYPE_CHECKING:
    from receiver.operate.secrets import KeyRow


def check(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A configured source.")],
    *,
    request: Annotated[
        Path, typer.Option(metavar="FILE", help="The captured callback, as for `receiver verify`; - is stdin.")
    ],
    at: Annotated[
        int | None,
        typer.Option(metavar="UNIX_SECONDS", min=0, help="Of its arrival; default: the file's clock, or now."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say which of a source's keys a captured callback was signed with.

    Each key is tried by itself, with its not_before and not_after; so you see which are still needed. Exits 1 if none
    would verify it. `receiver verify` tells whether a callback is genuine, and what was done to it if it is not.
    """
    from receiver.cli.servers import FOLDER
    from receiver.operate.secrets import check_keys, source_called
    from receiver.settings import load

    captured = read_request(request)
    found = source_called(load(FOLDER), source, FOLDER)
    rows = check_keys(found, captured.callback, clock_of(captured, at))
    if as_json:
        emit_json(rows)
    else:
        _print(rows)
    if captured.note:
        note(f"note: {captured.note}")
    if not any(row.accepted for row in rows):
        raise typer.Exit(Exit.FAILED)


def _print(rows: "Sequence[KeyRow]") -> None:
    columns: tuple[str, ...] = ("KEY", "MATCHES", "REASON")
    cells: list[tuple[object, ...]] = [(row.key, "yes" if row.matches else "no", row.reason) for row in rows]
    if any(row.not_before or row.not_after for row in rows):  # not in the way where no key has a window
        columns += ("NOT BEFORE", "NOT AFTER")
        cells = [(*cell, row.not_before, row.not_after) for cell, row in zip(cells, rows, strict=True)]
    table(columns, cells)
    if any(row.reason in {"timestamp_expired", "timestamp_future"} for row in rows):
        note("the time of the signature is far from the check: say --at UNIX_SECONDS for when it arrived")
