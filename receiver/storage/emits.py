"""An emitted event in somebody's transaction: the statement of `arrivals.py`, said through a session.

Where another open transaction has emitted the same key, the insert waits until that one ends: then it is a duplicate,
or new if the other was rolled back. Two that emit two keys each, in opposite orders, deadlock, and Postgres ends one.
"""

import datetime as dt
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import Connection, event, text
from sqlalchemy.orm import Session

from receiver.errors import EmitError
from receiver.events import Emitted
from receiver.storage.arrivals import STORE, Arrival, parameters
from receiver.storage.sessions import LentSession

_STORE: Final = text(re.sub(r"\$(\d)", r":p\1", STORE))
"""With names for asyncpg's numbers, for whatever driver is below a session."""
_STANDING: Final = text("SELECT id, received_at FROM receiver.event WHERE id = ANY(CAST(:ids AS uuid[]))")
_TOLD: Final = "receiver_tells_after_commit"


def store_emitted(tx: Session, arrival: Arrival) -> Emitted:
    """Store `arrival` in the transaction of `tx`, with what it owes; a key that is taken is left as it is.

    Raises:
        EmitError: `emit_conflict`, where something else stands under the key. The transaction goes on.
    """
    values = {f"p{number}": value for number, value in enumerate(parameters([arrival]), 1)}
    rows = tx.execute(_STORE, values).all()
    while not rows:  # neither new nor known: it was committed while the insert waited, and a later statement sees it
        rows = tx.execute(_STORE, values).all()
    found, key, stored = rows[0]
    event_id = uuid.UUID(str(found))
    if key is None:
        if isinstance(tx, LentSession):
            tx.emitted += (arrival,)
        return Emitted(id=event_id, new=True)
    if bytes(stored) != arrival.fingerprint:
        raise EmitError("emit_conflict", f"key: {arrival.type} {event_id} has it, with another payload or entity_id")
    return Emitted(id=event_id, new=False)


def standing(connection: Connection, arrivals: Sequence[Arrival]) -> list[tuple[Arrival, dt.datetime]]:
    """Those that are stored as far as `connection` sees (no savepoint undid them), each with its time of arrival."""
    if not arrivals:
        return []
    rows = connection.execute(_STANDING, {"ids": [arrival.event_id for arrival in arrivals]})
    times = {row[0].bytes: row[1] for row in rows}
    return [(arrival, times[arrival.event_id.bytes]) for arrival in arrivals if arrival.event_id.bytes in times]


def tell_after_commit(tx: Session, tell: Callable[[], None]) -> None:
    """Have `tell` called after each commit of `tx` from now on.

    Args:
        tx: one that was lent is left alone: its worker looks for itself.
        tell: must not raise: the commit has happened.
    """
    if isinstance(tx, LentSession) or tx.info.get(_TOLD):
        return
    tx.info[_TOLD] = True

    def committed(session: Session) -> None:
        if not session.in_nested_transaction():  # a savepoint's end is told as a commit too
            tell()

    event.listen(tx, "after_commit", committed)
