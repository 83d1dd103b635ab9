"""`receiver events list|show`: what arrived and what became of it."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, assert_never

import typer

from receiver.cli.moments import moment
from receiver.cli.options import AsJson, Embedded, Limit, State
from receiver.cli.output import emit, emit_bytes, emit_json, fields, note, printable, shown, table
from receiver.storage import states

_VOUCHED = {
    "signed": "all of it is signed",
    "partial": "only a part of it is signed",
    "sender": "the sender alone, by a secret that came along",
    "none": "nothing is signed",
    "internal": "code of your own that emitted it",
}

if TYPE_CHECKING:
    from receiver.operate.events import EventDetail
    from receiver.storage.views import AttemptRow, ConfirmationRow, DispatchRow, EventRow, Filter


def list_events(
    *,
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    event_type: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    state: Annotated[State | None, typer.Option(help="Only in this state, the worst of an event's handlers'.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="AGE|TIME", help="Only what came since: 30m, 12h, 7d, a time.")
    ] = None,
    limit: Limit = 50,
    embedded: Embedded = None,
    as_json: AsJson = False,
) -> None:
    """List events, newest first."""
    from receiver.storage.views import Filter

    since_when = moment(since, dt.datetime.now(dt.UTC))
    wanted = Filter(source=source, type=event_type, state=state, since=since_when, limit=limit)
    rows = asyncio.run(_list(wanted, embedded))
    if as_json:
        emit_json(rows)
        return
    columns = ("ID", "RECEIVED", "SOURCE", "TYPE", "ENTITY", "EXTERNAL ID", "STATE", "DUPLICATES")
    cells = [
        (row.id, row.received_at, row.source, row.type, row.entity_id, row.external_id, row.state, row.duplicates)
        for row in rows
    ]
    table(columns, cells)
    note(f"{len(rows)} events" + (", more with --limit" if len(rows) == limit else ""))


def show_event(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The event's own id, or the provider's.")],
    *,
    body: Annotated[bool, typer.Option("--body", help="Print the raw body too (base64 in JSON).")] = False,
    embedded: Embedded = None,
    as_json: AsJson = False,
) -> None:
    """Show one event: what came, and every run of its handlers."""
    found = asyncio.run(_show(event_id, embedded, body=body))
    if as_json:
        emit_json(found)
        return
    _print(found)
    if isinstance(found.body, bytes):
        emit("")
        emit_bytes(found.body)


async def _list(wanted: "Filter", embedded: Path | None) -> "list[EventRow]":
    from receiver.cli.servers import opened_database
    from receiver.storage import views

    async with opened_database(embedded) as connection:
        return await views.events(connection, wanted)


async def _show(wanted: str, embedded: Path | None, *, body: bool) -> "EventDetail":
    from receiver.cli.servers import opened_database
    from receiver.operate.events import detail

    async with opened_database(embedded) as connection:
        return await detail(connection, wanted, body=body)


def _print(event: "EventDetail") -> None:
    fields(
        {
            "event": event.id,
            "source": f"{event.source} ({event.provider})",
            "external id": event.external_id,
            "type": event.type,
            "entity": event.entity_id,
            "live": {None: "not said", True: "yes", False: "no, test mode"}[event.livemode],
            "vouched for": _VOUCHED[event.trust],
            "confirmed": _confirmed(event.confirmation),
            "occurred": event.occurred_at,
            "received": event.received_at,
            "duplicates": event.duplicates,
            "body": f"{event.size} bytes",
            "state": event.state,
        }
    )
    for dispatch in event.dispatches:
        emit("")
        _print_dispatch(dispatch)


def _confirmed(found: "ConfirmationRow | None") -> str:
    """What asking the provider has come to."""
    if found is None:
        return "nobody was asked"
    times = f"asked {found.asked} times" if found.asked > 1 else "asked once"
    reason = f": {printable(found.reason)}" if found.reason else ""
    match found.outcome:
        case "confirmed":
            state = f", as {printable(found.once)}" if found.once else ""
            return f"yes{state}; {times}, {shown(found.at)}"
        case "refused":
            return f"no{reason}; {times}, {shown(found.at)}"
        case "waiting":
            return f"not yet{reason}; {times}, again at {shown(found.until)}"
        case "asking":
            return f"being asked; {times}, since {shown(found.at)}"
        case _:
            assert_never(found.outcome)


def _print_dispatch(dispatch: "DispatchRow") -> None:
    """One handler's part of the timeline; where its last run failed, what it failed with in full."""
    reason = f": {shown(dispatch.reason)}" if dispatch.reason else ""
    emit(f"{dispatch.handler}  {dispatch.state}{reason}")
    for fact in _facts(dispatch):
        emit(f"  {fact}")
    for run in dispatch.outcomes:
        emit(f"  {_run(run)}")
    if dispatch.outcomes and dispatch.state is not states.State.SUCCEEDED:
        for line in (dispatch.outcomes[-1].error or "").splitlines()[1:]:
            emit(f"      {printable(line)}")
    coming = _coming(dispatch.state)
    if coming:
        emit(f"  {shown(dispatch.due_at)}  {coming}")


def _facts(dispatch: "DispatchRow") -> Iterator[str]:
    """Where it stands in its lane, and how long it has been put off."""
    if dispatch.waits_for is not None:
        yield f"waits for the event {dispatch.waits_for.id} of its lane, which is {dispatch.waits_for.state}"
    if dispatch.blocks:
        yield "blocks its lane until it is replayed"
    if dispatch.late:
        yield "late: a later event of its lane has been handled"
    if dispatch.deferrals:
        yield f"deferred {dispatch.deferrals} times since {shown(dispatch.deferred_at)}"


def _coming(state: states.State) -> str | None:
    """What `due_at` is the time of, where that is still to come."""
    match state:
        case states.State.READY:
            return "next run"
        case states.State.LEASED:
            return "running, the lease ends"
        case states.State.WAITING | states.State.SUCCEEDED | states.State.DEAD:
            return None
        case _:
            assert_never(state)


def _run(run: "AttemptRow") -> str:
    took = (run.finished_at - run.started_at).total_seconds()
    manual = " (replay)" if run.trigger == "manual" else ""
    first_line = (run.error or "").partition("\n")[0]
    why = "  ".join(shown(part) for part in (run.reason, first_line) if part)
    return f"{shown(run.started_at)}  run {run.number}{manual}  {run.outcome} in {took:.3f} s  {why}".rstrip()
