"""`receiver replay`: runs dispatches again, one event's or all that fit."""

import asyncio
import datetime as dt
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from receiver.cli.commands.replays import watch
from receiver.cli.moments import moment
from receiver.cli.options import AsJson, By, Embedded, ReplayState, Why
from receiver.cli.output import emit, emit_json, note, progress_to, table
from receiver.cli.person import said

if TYPE_CHECKING:
    from receiver.operate.jobs import Preview
    from receiver.operate.replays import Replayed
    from receiver.storage.audit import Said
    from receiver.storage.replays import Job
    from receiver.storage.selections import Selection

_SHARES = 100


def replay(
    event_id: Annotated[
        str | None, typer.Argument(metavar="[EVENT]", help="The event's own id, or the provider's.")
    ] = None,
    *,
    handler: Annotated[str | None, typer.Option(help="Only of this handler.")] = None,
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    state: Annotated[
        ReplayState | None, typer.Option(help="What is dead (the default), retrying or succeeded.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Only what is dead, or retried, for this reason.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="AGE|TIME", help="Only what came since: 30m, 12h, 7d, a time.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="AGE|TIME", help="Only what came before that.")] = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="With EVENT or --state succeeded: also what succeeded. Its effect will be there twice."
        ),
    ] = False,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Most per second; default: as fast as it goes.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count, and show the first of them.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait until it is done.")] = False,
    why: Why = None,
    by: By = None,
    embedded: Embedded = None,
    as_json: AsJson = False,
) -> None:
    """Run dispatches again: those of EVENT, or all that fit.

    All that fit is a job, which the workers do; Ctrl-C leaves it running. With --handler and --since, and neither
    --state nor --reason, it also creates what the handler was never owed: it may have been added later.
    """
    if rate is not None and not math.isfinite(rate):
        raise typer.BadParameter("is a finite number; without it, it goes as fast as it can", param_hint="--rate")
    filters = {"--source": source, "--type": event_type, "--state": state, "--reason": reason}
    filters |= {"--since": since, "--until": until}
    if event_id is not None:
        _refuse({**filters, "--rate": rate, "--detach": detach or None})
        who = said(by, why)
        done = asyncio.run(_replay_event(event_id, who, handler, embedded, again=again, dry_run=dry_run))
        _print(done, "would be due" if dry_run else "are due", as_json=as_json)
        return
    if again and state != "succeeded":
        raise typer.BadParameter("goes with EVENT or with --state succeeded", param_hint="--again")
    if handler is None and not any(value is not None for value in filters.values()):
        raise typer.BadParameter("name an event, or a handler with --handler, or another filter", param_hint="EVENT")
    selection = _selection(
        handler=handler, source=source, event_type=event_type, state=state, reason=reason, since=since, until=until
    )
    if dry_run:
        _print_preview(asyncio.run(_preview(selection, embedded)), selection, as_json=as_json)
        return
    job = asyncio.run(_start(selection, said(by, why), rate, embedded, again=again))
    watch(job, embedded, as_json=as_json, detach=detach)


def _refuse(given: dict[str, object]) -> None:
    for option, value in given.items():
        if value is not None:
            raise typer.BadParameter(
                "goes with filters, not with one event, which takes --handler, --again, --dry-run, --why and --by",
                param_hint=option,
            )


def _selection(
    *,
    handler: str | None,
    source: str | None,
    event_type: str | None,
    state: ReplayState | None,
    reason: str | None,
    since: str | None,
    until: str | None,
) -> "Selection":
    from receiver.storage.selections import Selection

    now = dt.datetime.now(dt.UTC)
    return Selection(
        handler=handler,
        source=source,
        type=event_type,
        state=state or "dead",
        reason=reason,
        received_after=moment(since, now),
        received_before=moment(until, now, "--until"),
        creates=handler is not None and since is not None and state is None and reason is None,
    )


async def _replay_event(
    event_id: str, who: "Said", handler: str | None, embedded: Path | None, *, again: bool, dry_run: bool
) -> "Replayed":
    from receiver.cli.servers import opened_database
    from receiver.operate.replays import replay_event

    async with opened_database(embedded) as connection:
        return await replay_event(connection, event_id, who, handler=handler, again=again, dry_run=dry_run)


async def _preview(selection: "Selection", embedded: Path | None) -> "Preview":
    from receiver.cli.servers import opened_database
    from receiver.operate.jobs import preview

    async with opened_database(embedded) as connection:
        with progress_to(_SHARES) as reached:
            return await preview(connection, selection, lambda share: reached("counting", int(share * _SHARES)))


async def _start(
    selection: "Selection", who: "Said", rate: float | None, embedded: Path | None, *, again: bool
) -> "Job":
    from receiver.cli.servers import opened_database
    from receiver.operate.jobs import start

    async with opened_database(embedded) as connection:
        return await start(connection, selection, who, rate=rate, again=again)


def _print(done: "Replayed", what: str, *, as_json: bool) -> None:
    if as_json:
        emit_json(done)
        return
    emit(f"{done.replayed} dispatches {what} again: {', '.join(done.handlers)}")
    if done.succeeded:
        note(f"left alone, for they succeeded: {', '.join(done.succeeded)}; --again would run them too")


def _print_preview(found: "Preview", selection: "Selection", *, as_json: bool) -> None:
    if as_json:
        emit_json(found)
        return
    columns = ("EVENT", "HANDLER", "STATE", "RECEIVED", "SOURCE", "TYPE", "ENTITY", "REASON")
    cells = [
        (row.event_id, row.handler, row.state, row.received_at, row.source, row.type, row.entity_id, row.reason)
        for row in found.sample
    ]
    table(columns, cells)
    note(f"{found.matched} dispatches would be run again; the first {len(cells)} are shown")
    if found.missing is not None:
        note(f"{found.missing} events are not owed to {selection.handler}: of them it gets those that it wants")
    if found.again:
        from receiver.operate.replays import AGAIN

        note(AGAIN)
