"""What happens to Postgres."""

from collections.abc import Iterator

from tests.model.ingress import without_connection
from tests.model.rules import Rules
from tests.model.state import Row, State, Step


def faults(state: State, rules: Rules) -> Iterator[Step]:
    """A crash, a standby that catches up, a failover or restore to what that one has."""
    if state.troubles:
        yield Step("Postgres crashes and comes back", _crashed(state), quiet=False)
    if state.timeline <= rules.failovers:
        if not rules.standby_has_all and state.replica != state.durable:
            yield Step("the standby catches up", state._replace(replica=state.durable), quiet=False)
        yield Step("the standby takes over", _failed_over(state, rules), quiet=False)


def _crashed(state: State) -> State:
    """The same timeline: all is there but a lease that had not reached the disk."""
    servers = tuple(map(without_connection, state.servers))
    return state.cut()._replace(row=state.durable, servers=servers, troubles=state.troubles - 1)


def _failed_over(state: State, rules: Rules) -> State:
    """Another timeline. Who had its success answer for a row that is lost may call again: it is owed nothing less."""
    timeline = state.timeline + 1
    row = state.durable if rules.standby_has_all else state.replica
    servers = state.servers if rules.cut_unheard else tuple(map(without_connection, state.servers))
    heard = state.heard and bool(row.born)
    replica = row if timeline <= rules.failovers else Row()
    after = state._replace(timeline=timeline, row=row, durable=row, replica=replica, servers=servers, heard=heard)
    return after.cut()
