"""`receiver replays list|show|follow|pause|resume|cancel`: replays of many dispatches."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec
import typer

from receiver.cli.exits import Exit
from receiver.cli.options import AsJson, By, Embedded, Limit, Why
from receiver.cli.output import emit, emit_json, fields, note, progress_to, table
from receiver.cli.person import said

if TYPE_CHECKING:
    from receiver.operate.jobs import Change
    from receiver.storage.audit import Said
    from receiver.storage.replays import Job

ReplayId: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="The replay's id, as in `replays list`.")]


def list_replays(*, limit: Limit = 50, embedded: Embedded = None, as_json: AsJson = False) -> None:
    """List replays, newest first."""
    jobs = asyncio.run(_list(limit, embedded))
    if as_json:
        emit_json(jobs)
        return
    columns = ("ID", "STARTED", "STATE", "MATCHED", "REPLAYED", "CREATED", "SKIPPED", "ASKED")
    cells = [
        (job.id, job.created_at, job.state, _matched(job), job.replayed, job.created, job.skipped, _asked(job))
        for job in jobs
    ]
    table(columns, cells)
    note(f"{len(jobs)} replays" + (", more with --limit" if len(jobs) == limit else ""))


def show_replay(job_id: ReplayId, *, embedded: Embedded = None, as_json: AsJson = False) -> None:
    """Show how far a replay has come."""
    _print(asyncio.run(_show(job_id, embedded)), as_json=as_json)


def follow_replay(job_id: ReplayId, *, embedded: Embedded = None, as_json: AsJson = False) -> None:
    """Watch a replay until it is done, paused or cancelled.

    Exits 1 if it is not done then.
    """
    watch(asyncio.run(_show(job_id, embedded)), embedded, as_json=as_json, detach=False)


def pause_replay(
    job_id: ReplayId, *, why: Why = None, by: By = None, embedded: Embedded = None, as_json: AsJson = False
) -> None:
    """Pause a replay: what it has made due is run, and it makes nothing more due until it is resumed."""
    _print(asyncio.run(_change(job_id, "pause", said(by, why), embedded)), as_json=as_json)


def resume_replay(
    job_id: ReplayId, *, why: Why = None, by: By = None, embedded: Embedded = None, as_json: AsJson = False
) -> None:
    """Resume a replay that was paused."""
    _print(asyncio.run(_change(job_id, "resume", said(by, why), embedded)), as_json=as_json)


def cancel_replay(
    job_id: ReplayId, *, why: Why = None, by: By = None, embedded: Embedded = None, as_json: AsJson = False
) -> None:
    """End a replay for good; what it has made due is run all the same."""
    _print(asyncio.run(_change(job_id, "cancel", said(by, why), embedded)), as_json=as_json)


def watch(job: "Job", embedded: Path | None, *, as_json: bool, detach: bool) -> None:
    """Follow a job with a bar until it no longer runs, or say how to."""
    if not detach:
        try:
            job = asyncio.run(_follow(job, embedded))
        except KeyboardInterrupt:
            _say_how(job)
            raise typer.Exit(Exit.INTERRUPTED) from None
    if as_json:
        emit_json(job)
    else:
        emit(f"replay {job.id} {job.state}: {_counts(job)}")
    if job.state == "running":
        _say_how(job)
    elif job.state != "done":
        raise typer.Exit(Exit.FAILED)


async def _follow(job: "Job", embedded: Path | None) -> "Job":
    from receiver.cli.servers import opened_database
    from receiver.operate.jobs import follow

    told: str | None = None
    async with opened_database(embedded) as connection:
        with progress_to(job.matched) as reached:

            def heard(now: "Job", waits: str | None) -> None:
                nonlocal told
                reached("waiting" if waits else "replaying", now.handled)
                if waits not in {None, told}:
                    note(f"the replay waits: {waits}")
                told = waits

            return await follow(connection, job, heard)


def _say_how(job: "Job") -> None:
    note(f"the replay goes on without this command: receiver replays follow|pause|cancel {job.id}")


async def _list(limit: int, embedded: Path | None) -> "list[Job]":
    from receiver.cli.servers import opened_database
    from receiver.storage import replays

    async with opened_database(embedded) as connection:
        return await replays.newest(connection, limit)


async def _show(job_id: str, embedded: Path | None) -> "Job":
    from receiver.cli.servers import opened_database
    from receiver.operate.jobs import show

    async with opened_database(embedded) as connection:
        return await show(connection, job_id)


async def _change(job_id: str, to: "Change", who: "Said", embedded: Path | None) -> "Job":
    from receiver.cli.servers import opened_database
    from receiver.operate.jobs import change

    async with opened_database(embedded) as connection:
        return await change(connection, job_id, to, who)


def _print(job: "Job", *, as_json: bool) -> None:
    if as_json:
        emit_json(job)
        return
    fields(
        {
            "replay": job.id,
            "state": job.state,
            "asked": _asked(job),
            "rate": "as fast as it goes" if job.rate is None else f"{job.rate:g} per second",
            "matched": _matched(job),
            "so far": _counts(job),
            "started": job.created_at,
            "last step": job.stepped_at,
            "worker": job.worker,
            "finished": job.finished_at,
        }
    )


def _matched(job: "Job") -> str:
    return f"about {job.matched}" if job.estimated else str(job.matched)


def _counts(job: "Job") -> str:
    return f"{job.replayed} replayed, {job.created} created, {job.skipped} skipped"


def _asked(job: "Job") -> str:
    asked = msgspec.to_builtins(job.asked)
    return " ".join(f"{name}={value}" for name, value in asked.items())
