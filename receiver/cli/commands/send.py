"""`receiver send`: signed sample callbacks, as the provider would send them."""

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from receiver.cli.exits import Exit
from receiver.cli.options import AsJson
from receiver.cli.output import emit, emit_json, progress, table

if TYPE_CHECKING:
    from receiver.operate.composed import Recipe
    from receiver.operate.sender import Heard, Summary
    from receiver.settings import Settings


def send(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A configured source; its keys sign.")],
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="paid, failed, refunded, … or the provider's own type.")],
    *,
    to: Annotated[
        str | None, typer.Option(metavar="URL", help="Default: http://127.0.0.1:PORT with the port of the settings.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many callbacks, resends among them.")] = 1,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Most per second; default: as fast as answered.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="Most requests in flight.")] = 8,
    duplicates: Annotated[float, typer.Option(min=0, max=0.99, help="Share of resends of earlier callbacks.")] = 0.0,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change the sample, e.g. data.object.amount=4200; repeatable."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A payload of your own, JSON; {id}, {entity} and {created} are filled in."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign sample callbacks with a source's keys and send them. Exits 1 if any was not answered 2xx."""
    from receiver.cli.servers import FOLDER
    from receiver.operate.composed import payloads
    from receiver.operate.sender import target
    from receiver.settings import load

    settings = load(FOLDER)
    recipe = _recipe(settings, source, kind, changes or (), data)
    url = target(to or f"http://127.0.0.1:{settings.port}", source)
    made = payloads(recipe, count, duplicates, int(time.time()))
    summary = asyncio.run(_send(recipe, url, made, count, concurrency, rate))
    if as_json:
        emit_json(summary)
    else:
        _print(summary, url)
    if summary.succeeded < summary.sent:
        raise typer.Exit(Exit.FAILED)
