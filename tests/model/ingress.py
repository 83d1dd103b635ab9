"""The steps of the provider and of the servers: from a call to its answer, and the mark behind it."""

from collections.abc import Iterator

from tests.model.rules import Rules
from tests.model.state import NOBODY, Row, Server, State, Step


def ingress(state: State, rules: Rules) -> Iterator[Step]:
    """What the provider, the servers and Redis may do next."""
    for at, server in enumerate(state.servers):
        yield from _server(state, rules, at, server)
    if state.late:
        yield Step("Postgres carries out the statement that nobody waits for", _stored(state)._replace(late=False))
        yield Step("Postgres drops the statement that nobody waits for", state._replace(late=False), quiet=False)
    if state.marks:
        yield Step("Redis forgets everything", state._replace(marks=frozenset()), quiet=False)


def _server(state: State, rules: Rules, at: int, server: Server) -> Iterator[Step]:
    who = f"server {at + 1}"
    if server.timeline == NOBODY:
        yield Step(f"{who} connects", state.with_server(at, server._replace(timeline=state.timeline)))
    if server.phase == "idle":
        called = state.with_server(at, server._replace(phase="called"))
        yield Step(f"the provider calls {who}", called, quiet=not state.heard)
    elif server.phase in {"called", "told"}:
        yield from _settle(state, rules, at, server)
    elif server.phase == "inserting":
        yield from _commit(state, rules, at, server)
    elif server.phase == "committed":
        yield from _hear(state, rules, at, server)
    else:
        yield from _mark(state, at, server)
    yield from _lose(state, rules, at, server)


def _settle(state: State, rules: Rules, at: int, server: Server) -> Iterator[Step]:
    """A mark, if there is one, or Postgres. Redis may always be silent: then the callback just goes to Postgres."""
    who = f"server {at + 1}"
    name = rules.name(server.timeline)
    if server.phase == "called" and server.timeline and name in state.marks:
        told = server._replace(phase="told", name=name)
        yield Step(f"Redis tells {who}: stored", state.with_server(at, told))
    if server.phase == "told" and (
        rules.broken == "mark-not-compared-again" or (server.timeline and name == server.name)
    ):
        yield from _answer(state, at, server._replace(phase="idle", name=NOBODY), f"{who} believes the mark")
    if server.timeline:
        yield from _insert(state, rules, at, server._replace(phase="inserting", name=NOBODY))


def _insert(state: State, rules: Rules, at: int, server: Server) -> Iterator[Step]:
    label = f"server {at + 1} sends its insert"
    if rules.broken == "mark-before-commit":
        state = state._replace(marks=state.marks | {rules.name(server.timeline)})
        label += " after leaving a mark"
    if rules.broken == "answer-before-commit":
        yield from _answer(state, at, server, label)
    else:
        yield Step(label, state.with_server(at, server))


def _commit(state: State, rules: Rules, at: int, server: Server) -> Iterator[Step]:
    who = f"server {at + 1}"
    if server.timeline == state.timeline:
        committed = _stored(state).with_server(at, server._replace(phase="committed"))
        yield Step(f"Postgres commits the insert of {who}", committed)
    unknown = state.with_server(at, Server())
    yield Step(f"{who} waits in vain and answers 503", unknown, quiet=False)
    if rules.late and server.timeline == state.timeline:
        yield Step(f"{who} answers 503, its statement goes on", unknown._replace(late=True), quiet=False)


def _hear(state: State, rules: Rules, at: int, server: Server) -> Iterator[Step]:
    who = f"server {at + 1}"
    yield Step(f"the reply is lost, {who} answers 503", state.with_server(at, Server()), quiet=False)
    if rules.broken == "answer-before-commit":
        yield Step(f"{who} hears of the commit", state.with_server(at, server._replace(phase="idle")))
        return
    marking = server._replace(phase="marking", name=rules.name(server.timeline))
    done = marking if rules.redis else server._replace(phase="idle")
    yield from _answer(state, at, done, f"{who} hears of the commit")


def _answer(state: State, at: int, server: Server, label: str) -> Iterator[Step]:
    """The answer arrives, or is lost on its way."""
    answered = state.with_server(at, server)
    yield Step(f"{label}, the provider hears 200", answered._replace(heard=True))
    yield Step(f"{label}, the answer is lost", answered, quiet=False)


def _mark(state: State, at: int, server: Server) -> Iterator[Step]:
    who = f"server {at + 1}"
    idle = state.with_server(at, server._replace(phase="idle", name=NOBODY))
    yield Step(f"{who} leaves its mark", idle._replace(marks=state.marks | {server.name}))
    yield Step(f"Redis does not take the mark of {who}", idle, quiet=False)


def _lose(state: State, rules: Rules, at: int, server: Server) -> Iterator[Step]:
    """A crash, after which it starts anew; and the news that its Postgres was replaced."""
    who = f"server {at + 1}"
    crashed = state.with_server(at, Server())
    if server != Server():
        yield Step(f"{who} crashes", crashed, quiet=False)
    if rules.late and server.phase == "inserting" and server.timeline == state.timeline:
        yield Step(f"{who} crashes, its statement goes on", crashed._replace(late=True), quiet=False)
    if server.timeline not in {NOBODY, state.timeline}:
        yield Step(f"{who} hears that its connection is gone", state.with_server(at, without_connection(server)))


def without_connection(server: Server) -> Server:
    """It heard that its connection is gone: what was under way there is a 503, the rest goes on."""
    return Server() if server.phase in {"inserting", "committed"} else server._replace(timeline=NOBODY)


def _stored(state: State) -> State:
    """`ON CONFLICT DO NOTHING`: the first one inserts key, event and dispatch; to the others it is a duplicate."""
    return state if state.row.born else state.committed(Row(born=state.timeline, state="ready"))
