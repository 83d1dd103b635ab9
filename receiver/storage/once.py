"""What must happen once: a key beside its effect, in one transaction, and a unique index that decides.

Whoever wants to do something that may be asked for again inserts its key first. A second one that comes meanwhile
waits in the index until the first one's transaction ends: after a commit it finds the key, after a rollback there is
none, and the second is the first. So there is never an effect without its key, or a key without its effect.

A table of its own, and not `dedup_key`: each row there stands for an event, with a fingerprint and a count of its
deliveries, and the hot path inserts into it. These rows belong to anybody's transactions, which may be long.
"""

import hashlib
import uuid
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from receiver.errors import OnceError
from receiver.events import length_prefixed
from receiver.storage.engine import Connection
from receiver.storage.raw import RawTransaction

_LONGEST_SCOPE: Final = 200
_DIGEST: Final = 16

_TAKE: Final = "INSERT INTO receiver.once_key (key, scope) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING RETURNING 1"
_TAKE_BY_NAME: Final = text(_TAKE.replace("$1", ":key").replace("$2", ":scope"))

# The lock is tried first, so that nobody waits here: another run that is doing the same may take minutes. Its number
# is of the two-part kind, which no lane's lock is. The key of the same event is no obstacle: that run is a replay.
_TAKE_FOR_EVENT: Final = """
WITH door AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock($4, $5) AS open
), taken AS (
    INSERT INTO receiver.once_key AS k (key, scope, event_id) SELECT $1, $2, $3 FROM door WHERE open
    ON CONFLICT (key) DO UPDATE SET event_id = excluded.event_id WHERE k.event_id = excluded.event_id
    RETURNING key
)
SELECT open, EXISTS (SELECT FROM taken) FROM door
"""


async def once(tx: AsyncSession | RawTransaction, scope: str, key: str) -> bool:
    """Whether this is the first time: True for one transaction that commits, False for all that come after it.

    Put it before an effect on the same database, in the same transaction, and leave the effect out where it says
    False. The key is kept when that transaction commits, and not at all when it does not; nothing is committed here.
    Behind a savepoint that is undone, the key is undone too.

    Where another open transaction has taken the same key, this waits until that one ends (`lock_timeout` bounds it).
    Take several keys in one order everywhere: two transactions in opposite orders deadlock.

    If the answer to your commit is lost, do it all again: False then says that it was committed the first time.

    It decides under READ COMMITTED, PostgreSQL's default. In a stricter transaction a key that was taken meanwhile is
    a serialization failure, to be retried from its begin. A session in autocommit keeps nothing together.

    Args:
        tx: in whose transaction the effect is.
        scope: whose keys these are, such as `refunds`; 1 to 200 characters. It is stored as it is.
        key: what is to happen once, of any length; only a digest of it is stored.

    Raises:
        OnceError: scope or key cannot be stored, or `tx` is a plain Session; see its reasons. Nothing was written.
    """
    values = _checked(scope, key)
    if isinstance(tx, RawTransaction):
        return await tx.fetchval(_TAKE, *values) is not None
    if not hasattr(tx, "run_sync"):
        raise OnceError("once_session", "tx: must be an AsyncSession or a RawTransaction; with a Session say once_sync")
    return await tx.run_sync(_take, values)


def once_sync(tx: Session, scope: str, key: str) -> bool:
    """`once` for plain functions, with the same arguments."""
    if not isinstance(tx, Session):
        raise OnceError("once_session", "tx: must be a Session; with an AsyncSession say `await once(…)`")
    return _take(tx, _checked(scope, key))


async def once_for_event(connection: Connection, scope: str, key: str, event_id: uuid.UUID) -> bool | None:
    """As `once`, for a run of an event's handler: a key that the same event has taken counts as not taken.

    Args:
        connection: in the run's transaction.
        scope: as `once`.
        key: as `once`.
        event_id: the run's.

    Returns:
        None: somebody else is doing it at this moment. Nobody waits here.
    """
    digest, stored = _checked(scope, key)
    numbers = (int.from_bytes(digest[first : first + 4], signed=True) for first in (0, 4))
    row = await connection.fetchrow(_TAKE_FOR_EVENT, digest, stored, event_id, *numbers)
    is_open, taken = row or (False, False)
    return bool(taken) if is_open else None


def _take(tx: Session, values: tuple[bytes, str]) -> bool:
    digest, scope = values
    return tx.execute(_TAKE_BY_NAME, {"key": digest, "scope": scope}).one_or_none() is not None


def _checked(scope: object, key: object) -> tuple[bytes, str]:
    """The row's key and scope."""
    if not isinstance(scope, str) or not 0 < len(scope) <= _LONGEST_SCOPE or "\0" in scope:
        raise OnceError("once_scope", f"scope: must be text of 1 to {_LONGEST_SCOPE} characters without NUL")
    if not isinstance(key, str) or not key:
        raise OnceError("once_key", "key: must be text, and not empty")
    try:
        parts = [length_prefixed(part.encode()) for part in (scope, key)]
    except UnicodeEncodeError:
        raise OnceError("once_text", "scope or key holds a lone surrogate, which UTF-8 cannot") from None
    return hashlib.sha256(b"".join(parts)).digest()[:_DIGEST], scope
