"""`receiver secrets check`: which of a source's keys was a captured callback signed with?"""

from pathlib import Path
from typing import Annotated

import typer

from receiver.cli.commands.verify import clock_of, read_request
from receiver.cli.exits import Exit
from receiver.cli.options import AsJson
from receiver.cli.output import emit_json, note, table


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
    """Try each key of a source by itself on a captured callback.

    `receiver verify` says whether it is genuine and why not; this says for each key whether it would verify it, so that
    you see which ones are still needed. Exits 1 if none does.
    """
    from receiver.cli.servers import FOLDER
    from receiver.operate.secrets import check_keys
    from receiver.settings import load

    captured = read_request(request)
    rows = check_keys(load(FOLDER), source, captured.callback, clock_of(captured, at), FOLDER)
    if as_json:
        emit_json(rows)
    else:
        cells = [
            (row.key, "yes" if row.matches else "no", row.reason or "", row.not_before or "", row.not_after or "")
            for row in rows
        ]
        table(("KEY", "MATCHES", "REASON", "NOT BEFORE", "NOT AFTER"), cells)
        if captured.note:
            note(f"note: {captured.note}")
    if not any(row.matches for row in rows):
        raise typer.Exit(Exit.FAILED)
