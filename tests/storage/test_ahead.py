"""What is sent ahead of asyncpg's statements: each answer finds who asked, and a failure ends all behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import cast

import asyncpg
import pytest

from receiver.storage.ahead import Ahead, Step, messages
from receiver.storage.engine import Connection, Statement
from receiver.storage.wire import Wire, connect

TABLES = """
CREATE TABLE paid (id int PRIMARY KEY, note text);
CREATE TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO paid VALUES (1, 'one');
PREPARE mark(int, text) AS UPDATE paid SET note = $2 WHERE id = $1;
PREPARE look(int) AS SELECT note FROM paid WHERE id = $1
"""
BEGIN: list[Step] = [("BEGIN",), ("mark", 1, "marked")]
GO_ON: list[Step] = [("COMMIT",), ("BEGIN",), ("mark", 1, None)]
INSERT = "INSERT INTO paid VALUES ($1, $2)"
NOTES = "SELECT array_agg(note ORDER BY id) FROM paid"


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    made = await connect(database_url)
    await made.execute(TABLES)
    yield made
    await made.close()


@pytest.fixture
async def ahead(connection: Connection) -> Ahead:
    return await Ahead.on(connection)


async def seen_by_others(database_url: str) -> list[str | None]:
    other = await asyncpg.connect(database_url)
    try:
        notes: list[str | None] = await other.fetchval(NOTES)
        return notes
    finally:
        await other.close()


async def begin(connection: Connection, ahead: Ahead) -> None:
    ahead.send(BEGIN)
    assert await connection.execute(INSERT, 2, "two") == "INSERT 0 1"


async def test_a_commit_and_a_statement_of_the_next_transaction(
    connection: Connection, ahead: Ahead, database_url: str
) -> None:
    await begin(connection, ahead)
    assert ahead.said == ["BEGIN", "UPDATE 1"]
    assert await seen_by_others(database_url) == ["one"]
    ahead.send(GO_ON)
    assert not ahead.answered
    assert await connection.fetchval("SELECT note FROM paid WHERE id = $1", 2) == "two"
    assert ahead.answered
    assert [*ahead.said] == ["COMMIT", "BEGIN", "UPDATE 1"]
    assert await seen_by_others(database_url) == ["marked", "two"]
    assert connection.is_in_transaction()


async def test_rows_of_ours_are_not_asyncpgs(connection: Connection, ahead: Ahead) -> None:
    ahead.send([("BEGIN",), ("look", 1), ("look", 7)])
    assert await connection.fetchval(INSERT + " RETURNING id", 2, None) == 2
    assert ahead.said == ["BEGIN", "SELECT 1", "SELECT 0"]


@pytest.mark.parametrize("known", [True, False], ids=["a known statement", "a new one"])
async def test_nothing_is_done_behind_a_refused_commit(
    connection: Connection, ahead: Ahead, database_url: str, *, known: bool
) -> None:
    if known:
        await connection.execute(INSERT, 3, "three")
    await begin(connection, ahead)
    await connection.execute("INSERT INTO late VALUES (1), (1)")
    ahead.send(GO_ON)
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(INSERT, 4, "four")
    assert ahead.answered
    assert not ahead.said
    assert not connection.is_in_transaction()
    assert await seen_by_others(database_url) == ["one", "three"][: 1 + known]


async def test_a_statement_that_fails_is_not_ours(connection: Connection, ahead: Ahead, database_url: str) -> None:
    await begin(connection, ahead)
    ahead.send(GO_ON)
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(INSERT, 2, "again")
    assert [*ahead.said] == ["COMMIT", "BEGIN", "UPDATE 1"]
    await connection.execute("ROLLBACK")
    assert await seen_by_others(database_url) == ["marked", "two"]


async def test_values_that_cannot_be_sent_keep_our_answers_back(connection: Connection, ahead: Ahead) -> None:
    await begin(connection, ahead)
    ahead.send(GO_ON)
    with pytest.raises(asyncpg.DataError):
        await connection.execute(INSERT, "no number", "three")
    assert not ahead.answered
    await ahead.nothing()
    assert [*ahead.said] == ["COMMIT", "BEGIN", "UPDATE 1"]


async def test_notices_go_to_asyncpg(connection: Connection, ahead: Ahead) -> None:
    heard = asyncio.Queue[str]()
    await connection.execute(
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE $$hear$$; RETURN NULL; END'"
    )
    await connection.execute("CREATE TRIGGER tell AFTER UPDATE ON paid EXECUTE FUNCTION tell()")
    connection.add_log_listener(lambda _connection, message: heard.put_nowait(str(message)))
    await begin(connection, ahead)
    assert await heard.get() == "PostgresLogMessage: hear"
    assert ahead.said == ["BEGIN", "UPDATE 1"]


async def test_large_values_and_answers(connection: Connection, ahead: Ahead) -> None:
    large = "x" * 5_000_000
    ahead.send([("BEGIN",), ("mark", 1, large), ("look", 1)])
    assert await connection.fetchval("SELECT $1::text || note FROM paid", large) == large + large
    assert ahead.said == ["BEGIN", "UPDATE 1", "SELECT 1"]


async def test_what_is_on_its_way_answers_asyncpg(connection: Connection, ahead: Ahead, database_url: str) -> None:
    """Nobody has waited for that. What was to go ahead goes with what asyncpg sends next, or not at all."""
    slow = "SELECT 'slow' FROM pg_sleep($1)"
    await connection.fetchval(slow, 0)  # it is prepared
    await begin(connection, ahead)
    on_its_way = asyncio.ensure_future(connection.fetchval(slow, 0.1))
    await asyncio.sleep(0)
    ahead.send(GO_ON)
    with pytest.raises(asyncpg.InterfaceError, match="another operation"):
        await connection.execute(INSERT, 3, "three")
    assert await on_its_way == "slow"
    assert (ahead.answered, ahead.said, await seen_by_others(database_url)) == (False, (), ["one"])
    await ahead.nothing()
    assert (ahead.answered, ahead.said) == (True, ("COMMIT", "BEGIN", "UPDATE 1"))
    assert await seen_by_others(database_url) == ["marked", "two"]
    ahead.send(GO_ON)
    ahead.withdraw()
    connection.terminate()
    assert await seen_by_others(database_url) == ["marked", "two"]


class Heard:
    """asyncpg's side, and the transport: notes what is passed on."""

    def __init__(self) -> None:
        self.data = b""
        self.wire = Wire(cast("asyncio.Protocol", self))
        self.ahead = Ahead(self.wire, (), cast("Statement", None))
        self.wire.connection_made(cast("asyncio.Transport", self))

    def connection_made(self, _wire: object) -> None: ...

    def write(self, _data: bytes) -> None: ...

    def data_received(self, data: bytes) -> None:
        self.data += data


def message(kind: bytes, content: bytes = b"") -> bytes:
    return kind + (len(content) + 4).to_bytes(4, "big") + content


def done(status: str) -> bytes:
    return message(b"2") + message(b"C", status.encode() + b"\0")


LANE = message(b"2") + message(b"D", b"\0\1\0\0\0\1t") + message(b"C", b"SELECT 1\0")
USUAL = done("COMMIT") + done("BEGIN") + done("UPDATE 1")
NOTICE = message(b"N", b"SNOTICE\0" + b"E" * 300 + b"\0\0")
ERROR = message(b"E", b"SERROR\0C23505\0\0")
ITS_OWN = (
    message(b"2") + message(b"D", b"\0\1\0\0\0\4" + b"CE\0\0") + message(b"C", b"SELECT 1\0") + message(b"Z", b"T")
)
FOUR = ("SELECT 1", "COMMIT", "BEGIN", "UPDATE 1")


@pytest.mark.parametrize(
    ("answer", "steps", "said", "passed_on"),
    [
        (USUAL + ITS_OWN, 3, FOUR[1:], ITS_OWN),
        (LANE + USUAL + ITS_OWN, 4, FOUR, ITS_OWN),
        (LANE + NOTICE + USUAL + NOTICE + ITS_OWN, 4, FOUR, NOTICE * 2 + ITS_OWN),
        (LANE + done("COMMIT") + ERROR + message(b"Z", b"E"), 4, FOUR[:2], ERROR + message(b"Z", b"E")),
        (NOTICE + ERROR + message(b"Z", b"I"), 4, (), NOTICE + ERROR + message(b"Z", b"I")),
    ],
    ids=["usual", "in a lane", "with notices", "an error behind the commit", "an error"],
)
def test_answers_cut_at_any_byte(answer: bytes, steps: int, said: tuple[str, ...], passed_on: bytes) -> None:
    pieces = [[answer[:at], answer[at:]] for at in range(1, len(answer))]
    for cut in [*pieces, [answer[at : at + 1] for at in range(len(answer))], [answer]]:
        asyncpg = Heard()
        ahead = asyncpg.ahead
        ahead.send([("COMMIT",)] * steps)
        asyncpg.wire.write(message(b"S"))
        for piece in cut:
            asyncpg.wire.data_received(piece)
        assert (tuple(ahead.said), ahead.answered, asyncpg.data) == (said, True, passed_on), cut


@pytest.mark.parametrize(
    ("statements", "disturbed"),
    [
        ("SELECT note FROM paid; UPDATE paid SET note = 'two'", False),
        ("SAVEPOINT one; INSERT INTO paid VALUES (3); RELEASE one", False),
        ("SAVEPOINT one; ROLLBACK TO one", True),
        ("COMMIT", True),
        ("COMMIT; BEGIN", True),
        ("ROLLBACK AND CHAIN", True),
        ("PREPARE TRANSACTION 'one'", True),
        ("SELECT 1 / 0", True),
        ("SELECT 'Not a COMMIT, and not a ROLLBACK'", False),
    ],
)
async def test_it_notes_what_may_have_ended_or_failed_a_transaction(
    connection: Connection, ahead: Ahead, statements: str, disturbed: bool
) -> None:
    await begin(connection, ahead)
    ahead.watch()
    with suppress(asyncpg.PostgresError):
        await connection.execute(statements)
    assert ahead.disturbed is disturbed


@pytest.mark.parametrize(
    "answer", [done("COMMIT") + message(b"Z", b"T"), message(b"E", b"SERROR") + message(b"Z", b"E")]
)
def test_it_notes_so_however_the_answer_is_cut(answer: bytes) -> None:
    for at in range(len(answer)):
        asyncpg = Heard()
        asyncpg.wire.data_received(done("UPDATE 1") + answer[:at])
        asyncpg.wire.data_received(answer[at:])
        assert asyncpg.ahead.disturbed, at
        asyncpg.ahead.watch()
        asyncpg.wire.data_received(ITS_OWN)
        assert not asyncpg.ahead.disturbed, at


def test_a_step_as_messages() -> None:
    assert messages([("COMMIT",)]) == b"B\0\0\0\x1b\0receiver_commit\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0"
    assert messages([("mark", 12, None)]) == (
        b"B\0\0\0\x1a\0mark\0\0\0\0\2\0\0\0\x0212\xff\xff\xff\xff\0\0E\0\0\0\x09\0\0\0\0\0"
    )
