"""`receiver demo`: everything at once, on servers of its own, to see it work."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from receiver.cli.exits import Exit
from receiver.cli.loop import run_loop
from receiver.cli.options import AsJson
from receiver.cli.output import emit, emit_json, note, table

if TYPE_CHECKING:
    from receiver.cli.demo.figures import Figures
    from receiver.cli.demo.tour import Result


def demo(
    *,
    leave: Annotated[bool, typer.Option("--exit", help="End when the figures are printed.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="A new folder that is kept; default: a temporary one.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Of the public listener; default: 8000, or a free one.")
    ] = None,
    operator_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Of the operator listener; default: 8001, or a free one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Watch it work, on servers of its own.

    Starts PostgreSQL and Valkey, migrates, serves and works for a small shop, sends 200 signed callbacks of four
    providers with duplicates and forgeries among them, and prints what became of them, read back from the database
    and the metrics. Then it stays up and says what to try. With --exit it ends there: with 0 if every callback is
    accounted for and every success has exactly one effect, else with 1.
    """
    from receiver.cli.demo import home
    from receiver.cli.demo.tour import made_up_sources, tour
    from receiver.observability import logs

    logs.configure(level="critical")  # refused forgeries and failed runs are part of the show
    sources = made_up_sources()
    with home.opened(folder) as place, home.served(place, sources, port, operator_port, note) as settings:
        show = _Show(place=place, sources=sources, leave=leave, as_json=as_json)
        run_loop(tour(settings, show.finished))
    if show.figures is None:
        raise typer.Exit(Exit.INTERRUPTED)
    if not show.figures.add_up:
        raise typer.Exit(Exit.FAILED)


@dataclass(kw_only=True)
class _Show:
    """Prints the result, and then what to try for as long as the shop is to stay up."""

    place: Path
    sources: dict[str, dict[str, object]]
    leave: bool
    as_json: bool
    figures: "Figures | None" = field(default=None, init=False)

    async def finished(self, result: "Result") -> None:
        from receiver.cli.demo.home import write_settings

        self.figures = result.figures
        write_settings(self.place, self.sources, urlsplit(result.listening.url or "").port or 0)
        if self.as_json:
            emit_json(result.figures)
        else:
            _print(result.figures)
        if not self.leave:
            _suggest(self.place, result)
            await asyncio.Event().wait()


def _print(figures: "Figures") -> None:
    rows = (
        ("sent", figures.sent, "signed callbacks of four providers"),
        ("accepted", figures.accepted, "events stored"),
        ("duplicates", figures.duplicates, "resent, acknowledged, not stored again"),
        ("rejected", figures.rejected, "forged, changed or expired: nothing was stored"),
        ("succeeded", figures.succeeded, "handler runs that the shop is content with"),
        ("retrying", figures.retrying, "failed, to be run again"),
        ("dead", figures.dead, "wait for a person: an order that the shop never had"),
        ("effects", figures.effects, "rows that the handlers wrote: one for each success"),
    )
    emit("")
    table(("", "COUNT", "READ BACK FROM THE DATABASE AND THE METRICS"), rows)


def _suggest(place: Path, result: "Result") -> None:
    from receiver.cli.demo.home import program_name
    from receiver.cli.demo.shop import YOURS

    receiver = program_name()
    note(
        f"""
The shop stays up; Ctrl-C ends it. Callbacks: {result.listening.url}/callbacks/stripe
Metrics: {result.listening.operator_url}/metrics

In another terminal:

  cd {place}
  {receiver} events list
  {receiver} send stripe paid --set data.object.id={YOURS}
  {receiver} send wechatpay paid --count 100 --duplicates 0.3     # orders that the shop does not have
  {receiver} dead list
  {receiver} events show {result.dead or "ID"}
  {receiver} replay {result.dead or "ID"}
  {receiver} doctor
"""
    )
