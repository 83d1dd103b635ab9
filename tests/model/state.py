"""The shapes of the model: one event, everybody who touches it, and what each of them knows at one moment."""

from collections.abc import Hashable
from typing import Literal, NamedTuple

from tests.model import explore

NOBODY = 0
"""Instead of a timeline: no connection, no row, no name."""


class Row(NamedTuple):
    """What Postgres holds of the event: its key and event, its one dispatch, and the handler's effect."""

    born: int = NOBODY
    """The timeline on which it was inserted, which is also its id: a lost row that is stored again is another one."""
    state: Literal["none", "ready", "leased", "succeeded"] = "none"
    epoch: int = 0
    effects: int = 0


class Server(NamedTuple):
    """A process that takes callbacks, one at a time."""

    phase: Literal["idle", "called", "told", "inserting", "committed", "marking"] = "idle"
    """Of its callback: none; to be settled; Redis has answered `stored`; its statement is sent; the reply to the
    commit is under way; answered, and the mark is still to be left."""
    timeline: int = NOBODY
    """Of its connection to Postgres, NOBODY without one."""
    name: int = NOBODY
    """The name of the mark that it was told of, or that it is about to leave: all that matters of it is a timeline."""


class Worker(NamedTuple):
    """A process that runs the handler."""

    phase: Literal["idle", "leased", "running", "called", "unsure"] = "idle"
    """Nothing to do; the lease is ours; the handler runs; it has made its call to the outside; the run went wrong, or
    nobody knows, and that is to be recorded."""
    born: int = NOBODY
    epoch: int = 0
    open: bool = False
    """Postgres holds its transaction, and the lock on the row with it."""


class State(NamedTuple):
    """One moment."""

    servers: tuple[Server, ...]
    workers: tuple[Worker, ...]
    troubles: int
    """How many faults of workers may still come: each makes the epoch rise, so they must end."""
    heard: bool = False
    """The provider has heard a success answer, and nothing that it rests on was lost since."""
    timeline: int = 1
    row: Row = Row()
    durable: Row = Row()
    """What a crash of Postgres leaves: leases are committed without waiting for the disk."""
    replica: Row = Row()
    """What a failover or a restore brings back: the row as of some earlier commit."""
    late: bool = False
    """A statement whose sender is gone may still be carried out."""
    marks: frozenset[int] = frozenset()
    """Names of the marks in Redis."""
    charges: frozenset[int] = frozenset()
    """The different idempotency keys that the outside has seen: each is a charge."""

    def with_server(self, at: int, server: Server) -> "State":
        """The server at this place changed."""
        return self._replace(servers=(*self.servers[:at], server, *self.servers[at + 1 :]))

    def with_worker(self, at: int, worker: Worker) -> "State":
        """The worker at this place changed."""
        return self._replace(workers=(*self.workers[:at], worker, *self.workers[at + 1 :]))

    def committed(self, row: Row) -> "State":
        """Postgres has committed the row, down to the disk."""
        return self._replace(row=row, durable=row)

    def cut(self) -> "State":
        """Postgres went away: no transaction, no statement outlives it."""
        workers = tuple(worker._replace(open=False) for worker in self.workers)
        return self._replace(workers=workers, late=False)


Step = explore.Step[State]


def same(state: State) -> Hashable:
    """Which server or worker is called the first does not matter."""
    servers, workers, *rest = state
    return tuple(sorted(servers)), tuple(sorted(workers)), *rest
