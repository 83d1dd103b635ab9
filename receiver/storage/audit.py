"""The log of what operators did: who, what, to what, and why. Rows are only ever added."""

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import msgspec
import uuid_utils.compat

from receiver.storage.engine import Connection

Action: TypeAlias = Literal["replay_event", "replay_start", "replay_pause", "replay_resume", "replay_cancel"]

_WRITE: Final = """
INSERT INTO receiver.audit (id, who, action, subject, why, details) VALUES ($1, $2, $3, $4, $5, $6::jsonb)
"""
_LIST: Final = """
SELECT id, at, who, action, subject, why, details::text AS details
FROM receiver.audit WHERE $1::text IS NULL OR subject = $1
ORDER BY id DESC LIMIT $2
"""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """Who does something, and why."""

    who: str
    """A person, as far as that is known: `user@host`."""
    why: str | None = None
    """In their own words."""


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that an operator did."""

    id: uuid.UUID
    at: dt.datetime
    who: str
    action: str
    subject: str
    """What it was done to: the id of an event or a replay."""
    why: str | None
    details: Mapping[str, object]


async def write(
    connection: Connection, action: Action, subject: uuid.UUID, said: Said, details: Mapping[str, object]
) -> None:
    """Add a row, in the transaction of what it tells.

    Args:
        connection: in that transaction.
        action: what was done
        subject: to which event or replay.
        said: by whom, and why.
        details: what else is worth knowing, as JSON; no secrets.
    """
    told = msgspec.json.encode(details).decode()
    await connection.execute(_WRITE, uuid_utils.compat.uuid7(), said.who, action, str(subject), said.why, told)


async def newest(connection: Connection, subject: str | None, limit: int) -> list[AuditRow]:
    """The newest rows, of one subject or of all, newest first."""
    rows = await connection.fetch(_LIST, subject, limit)
    return [
        msgspec.convert({**row, "details": msgspec.json.decode(row["details"], type=dict[str, object])}, AuditRow)
        for row in rows
    ]
