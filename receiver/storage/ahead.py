"""Statements of ours in front of the next one that asyncpg sends: both in one round trip.

asyncpg waits for each answer before it sends anything else. PostgreSQL does not ask for that: it takes messages as they
come, and says nothing before a Sync (https://www.postgresql.org/docs/current/protocol-flow.html, "Extended Query",
"Pipelining"). What is sent here has no Sync of its own. So if a statement of it fails, all behind it is skipped, that
of asyncpg included; and asyncpg, which hears of the failure as if it were its own, ends it with its Sync.
"""

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Self, TypeAlias
from uuid import UUID

import asyncpg

from receiver.storage.engine import Connection, Statement
from receiver.storage.wire import Wire, wire_of

Step: TypeAlias = tuple[str, *tuple[object, ...]]
"""The name of a prepared statement, or COMMIT or BEGIN, and values for `$1`, `$2` …: text, numbers, uuids or None."""
Heard: TypeAlias = Callable[[asyncpg.PostgresError | None], None]
"""Is called when something was answered: `said` tells what was done, the error why no more will be."""

_NAMES: Final = {"COMMIT": b"receiver_commit", "BEGIN": b"receiver_begin"}
_LENGTH: Final = struct.Struct("!I")
_HEAD: Final = 5
"""Bytes of a message before its content: its kind, and its length without the kind."""
_COMPLETE, _ERROR, _ENDED = b"CEZ"
_AT_ANY_TIME: Final = b"NSA"
"""Notices, settings and notifications are the answer to nothing: asyncpg gets them."""
_DISTURBS: Final = (b"COMMIT\0", b"ROLLBACK\0", b"TRANSACTION\0", b"Z\0\0\0\5E", b"Z\0\0\0\5I")
"""In what PostgreSQL says: that a transaction was ended, to a savepoint perhaps, has failed, or is none. Values of rows
may read so too."""
_LONGEST: Final = max(len(part) for part in _DISTURBS)
_READY: Final = b"Z\0\0\0\5"
"""Ends each answer to asyncpg, but for one byte: the transaction's state."""
_LENGTH_OF_READY: Final = len(_READY) + 1
_LAST_WORDS: Final = frozenset({"FATAL", "PANIC"})


def _nobody(_error: asyncpg.PostgresError | None) -> None:
    """Hears nothing."""


def messages(steps: Sequence[Step]) -> bytes:
    """Steps as messages of the extended query protocol, a Bind and an Execute each."""
    return b"".join([_step(step) if len(step) > 1 else _bare_step(step) for step in steps])


class Ahead:
    """Sends, and hears the answers to that.

    Args:
        wire: of the connection; there is one `Ahead` for each.
        kept: statements prepared on it, which live as long as somebody has them.
        nothing: one that does nothing.
    """

    def __init__(self, wire: Wire, kept: Sequence[Statement], nothing: Statement) -> None:
        self._kept = kept
        self._nothing = nothing
        self._wire = wire
        self._wire.hear = self._heard
        self._wire.lost = self._lose
        self._heard_by: Heard = _nobody
        self._expected = 0
        self._part = b""
        """The beginning of a message whose end has not come."""
        self._tail = b""
        """The last bytes that asyncpg was given."""
        self.disturbed = False
        """By the answers to asyncpg since `watch`, the transaction may have ended or failed."""
        self.said: Sequence[str] = ()
        """The status of each step that was done, such as `UPDATE 1`."""

    @classmethod
    async def on(cls, connection: Connection) -> Self:
        """Prepare what has a name there and none in SQL."""
        kept = [await connection.prepare(query, name=name.decode()) for query, name in _NAMES.items()]
        return cls(wire_of(connection), kept, await connection.prepare(""))

    @property
    def answered(self) -> bool:
        """All that was sent is done, or was skipped since a step failed."""
        return not self._expected

    @property
    def waits(self) -> bool:
        """What was to be sent is not out."""
        return bool(self._wire.ahead)

    @property
    def quiet(self) -> bool:
        """Nobody waits for an answer to asyncpg: it sends what it is asked to send next."""
        return not self._wire.asked

    @property
    def given_up(self) -> bool:
        """Since `send`, whoever waits for an answer has had it cancelled, or has closed the connection."""
        return self._wire.given_up

    def cut(self) -> None:
        """Close the connection; nobody has given anything up."""
        self._wire.transport.abort()

    def send(self, steps: Sequence[Step], heard_by: Heard = _nobody) -> None:
        """Let `steps` go out with what asyncpg sends next, whoever asks it to."""
        self.said = ()
        self._heard_by = heard_by
        self._wire.given_up = False
        self._expected = len(steps)
        self._wire.ahead = messages(steps)

    def send_now(self) -> None:
        """Send it by itself; asyncpg's next message then waits for the answer.

        Asyncpg hears nothing of it: that must be in a transaction before and after, as where a commit begins another.
        """
        self._wire.send_ahead()

    def stop(self) -> None:
        """Let nothing go out behind it."""
        self._wire.shut()

    def withdraw(self) -> None:
        """Send nothing of it, if nothing was sent."""
        self._wire.ahead = b""

    def watch(self) -> None:
        """Another transaction begins, of which nothing was heard yet."""
        self.disturbed = False
        self._tail = b""

    async def nothing(self, seconds: float | None = None) -> None:
        """Have asyncpg send what does nothing and is answered when all before it is.

        Args:
            seconds: to wait for that; None: as long as it takes.
        """
        await self._nothing.fetch(timeout=seconds)

    def _heard(self, data: bytes) -> bytes:
        """Keep what answers us; the rest is asyncpg's, and all of it while our steps are not out."""
        ours = self._wire.holds or (self._expected and not self._wire.ahead)
        rest = self._hear(data) if ours else data
        if rest:
            self._look(rest)
        return rest

    def _look(self, data: bytes) -> None:
        """Note whether `data` disturbs, and whether all is answered; its beginning goes with what came before."""
        heard = self._tail + data
        self._tail = heard[-_LONGEST:]
        self._wire.asked = heard[-_LENGTH_OF_READY:-1] != _READY
        self.disturbed = self.disturbed or any(part in heard for part in _DISTURBS)

    def _hear(self, data: bytes) -> bytes:
        """Take out our answers; what is left is asyncpg's."""
        if self._expected == len(_USUAL) and not self._part and data.startswith(_USUALLY) and not self._wire.holds:
            self._expected, self.said = 0, (*self.said, *_USUAL)
            self._heard_by(None)
            return data[len(_USUALLY) :]
        data, self._part = self._part + data, b""
        at, others = 0, b""
        while (self._expected or self._wire.holds) and len(data) >= at + _HEAD:
            end = at + 1 + _LENGTH.unpack_from(data, at + 1)[0]
            if len(data) < end:
                break
            if data[at] == _ERROR and not self._wire.holds:
                self._ended_by(data[at + _HEAD : end])  # and so is asyncpg's statement, which was skipped
                break
            if data[at] in _AT_ANY_TIME:
                others += data[at:end]
            else:
                self._take(data[at], data[at + _HEAD : end])
            at = end
        if self._expected or self._wire.holds:
            self._part = data[at:]
            return others
        return others + data[at:]

    def _take(self, kind: int, content: bytes) -> None:
        """One message that answers us."""
        if kind == _COMPLETE and self._expected:
            self._expected -= 1
            self.said = [*self.said, content[:-1].decode()]
            self._heard_by(None)
        elif kind == _ERROR:
            self._ended_by(content)
        elif kind == _ENDED:
            self._wire.release()

    def _lose(self) -> None:
        """The connection is no more, as whoever hears will find."""
        self._heard_by(None)

    def _ended_by(self, fields: bytes) -> None:
        self._expected = 0
        self._heard_by(_error(fields))


def _error(fields: bytes) -> asyncpg.PostgresError | None:
    """What an ErrorResponse says; None if it is the last word of a session, which answers nothing."""
    said = {field[:1].decode(): field[1:].decode(errors="replace") for field in fields.split(b"\0")}
    return None if said.get("V") in _LAST_WORDS else asyncpg.PostgresError.new(said)


@lru_cache(maxsize=8)
def _bare_step(step: Step) -> bytes:
    return _step(step)


def _step(step: Step) -> bytes:
    name, *values = step
    bind = _unbound(name, len(values)) + b"".join([_text(v) if isinstance(v, UUID) else _known(v) for v in values])
    # All results as text; then the unnamed portal, all its rows.
    return _message(b"B", bind + b"\0\0") + _message(b"E", b"\0\0\0\0\0")


@lru_cache(maxsize=64)
def _unbound(name: str, count: int) -> bytes:
    """To the unnamed portal, the statement, all values as text; and how many there are."""
    return b"\0" + _NAMES.get(name, name.encode()) + b"\0\0\0" + struct.pack("!H", count)


def _text(value: object) -> bytes:
    if value is None:
        return b"\xff\xff\xff\xff"
    encoded = str(value).encode()
    return _LENGTH.pack(len(encoded)) + encoded


_known = lru_cache(maxsize=1024)(_text)
"""Of handlers and epochs there are few."""


def _message(kind: bytes, content: bytes) -> bytes:
    return kind + _LENGTH.pack(len(content) + 4) + content


_USUAL: Final = ("COMMIT", "BEGIN", "UPDATE 1")
_USUALLY: Final = b"".join(_message(b"2", b"") + _message(b"C", status.encode() + b"\0") for status in _USUAL)
"""How that comes in nearly all cases: known without looking at each message."""
