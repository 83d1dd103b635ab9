"""Does what is owed get run? Workers, the handlers that they know, open circuits, lanes that stand."""

from collections.abc import Sequence
from datetime import datetime

from receiver.operate.check import Check
from receiver.storage import views, workers
from receiver.storage.engine import Connection
from receiver.storage.views import Blocking
from receiver.storage.workers import MOST_COUNTED, Orphans, WorkerRow


async def examine_dispatching(connection: Connection) -> list[Check]:
    """The checks of dispatch; `connection` is to a database at the newest revision."""
    known = await workers.workers(connection)
    live = [row for row in known if row.state == "running"]
    owed = await workers.orphans(connection)
    return [
        _workers(known, live),
        *(_handlers(owed) if live else ()),
        _circuits(live),
        *_lanes(await views.blocking(connection)),
    ]


def _workers(known: Sequence[WorkerRow], live: Sequence[WorkerRow]) -> Check:
    lost = sum(row.state == "lost" for row in known)
    and_lost = f", {lost} of the last day lost" if lost else ""
    if live:
        return Check(name="workers", status="ok", found=f"{len(live)} running{and_lost}")
    advice = "start `receiver work TARGET`; until then callbacks are stored, and no handler runs"
    return Check(name="workers", status="warn", found=f"none is running{and_lost}", advice=advice)


def _handlers(owed: Sequence[Orphans]) -> list[Check]:
    """Whether somebody knows each handler that is owed something: renamed ones are forgotten silently."""
    if not owed:
        return [Check(name="handlers", status="ok", found="workers know all that are owed something")]
    return [
        Check(
            name=f"handler {row.handler}",
            status="warn",
            found=f"is owed {_counted(row.owed)} dispatches, due since {_shown(row.since)}; no running worker knows it",
            advice=f"start a worker that has it; if it was renamed, say name={row.handler!r} where it is registered",
        )
        for row in owed
    ]


def _circuits(live: Sequence[WorkerRow]) -> Check:
    since: dict[str, datetime] = {}
    for circuit in (circuit for row in live for circuit in row.circuits):
        since[circuit.handler] = min(circuit.since, since.get(circuit.handler, circuit.since))
    if not since:
        return Check(name="circuits", status="ok", found="none is open")
    opened = ", ".join(f"{handler} since {_shown(moment)}" for handler, moment in sorted(since.items()))
    advice = (
        "most of its runs fail, so only probes run: see `receiver events list --state retrying`, mend what it needs"
    )
    return Check(name="circuits", status="warn", found=f"open: {opened}", advice=advice)


def _lanes(blocking: Sequence[Blocking]) -> list[Check]:
    if not blocking:
        return [Check(name="lanes", status="ok", found="nothing dead blocks one")]
    return [
        Check(
            name=f"lanes of {row.handler}",
            status="warn",
            found=f"{row.dead} dead dispatches block theirs",
            advice=f"see `receiver dead list --handler {row.handler}`, mend what failed, replay them",
        )
        for row in blocking
    ]


def _counted(owed: int) -> str:
    return f"{owed} or more" if owed == MOST_COUNTED else str(owed)


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%SZ}"
