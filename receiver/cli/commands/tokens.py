"""`receiver tokens new`: callback tokens, to try a source out or for an address that is registered by hand."""

from typing import Annotated

import typer

from receiver.cli.options import AsJson
from receiver.cli.output import emit, emit_json


def new(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A configured source that wants tokens.")],
    *,
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 1,
    days: Annotated[
        float | None, typer.Option(min=0.001, max=36_500, help="For which they are good; default: 3650.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make callback tokens for a source: each line is what the provider is to be told.

    Nothing is stored. A path for a source that wants the token in the address, else the token itself.
    """
    from receiver.cli.servers import FOLDER
    from receiver.operate.callback_tokens import CALLBACK_DAYS, made_tokens
    from receiver.settings import load

    rows = made_tokens(load(FOLDER), FOLDER, source, CALLBACK_DAYS if days is None else days, count)
    if as_json:
        emit_json(rows)
        return
    for row in rows:
        emit(row.path or row.token)
