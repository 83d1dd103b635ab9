"""The one oracle: what must be true of the database after any fault, once all is quiet.

Each rule is a query for what breaks it. Effects are rows of a table `effect` with the columns `handler` and
`event_id`, of which no key keeps a second one out.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

Query = Callable[[str], Awaitable[list[tuple[object, ...]]]]

QUIET: Final = "SELECT count(*) = 0 FROM receiver.dispatch WHERE state IN ('ready', 'waiting', 'leased')"
"""Nothing is left to be done."""

RULES: Final[Mapping[str, str]] = {
    "stored twice": "SELECT source, external_id, count(*) FROM receiver.event GROUP BY 1, 2 HAVING count(*) > 1",
    "a key without its event, or an event without its key": """
        SELECT k.event_id, e.id FROM receiver.dedup_key k FULL JOIN receiver.event e ON e.id = k.event_id
        WHERE k.event_id IS NULL OR e.id IS NULL
    """,
    "not one effect for each success, or one without": """
        SELECT d.event_id, d.handler, d.state, count(e.event_id)
        FROM receiver.dispatch d LEFT JOIN effect e USING (event_id, handler)
        GROUP BY 1, 2, 3 HAVING count(e.event_id) <> CASE d.state WHEN 'succeeded' THEN 1 ELSE 0 END
    """,
    "an effect that nobody was owed": """
        SELECT e.event_id, e.handler FROM effect e
        WHERE NOT EXISTS (SELECT FROM receiver.dispatch d WHERE d.event_id = e.event_id AND d.handler = e.handler)
    """,
    "not one record for each success": """
        SELECT d.event_id, d.handler, d.state, count(a.event_id) FROM receiver.dispatch d
        LEFT JOIN receiver.every_attempt a ON (a.event_id, a.handler, a.outcome) = (d.event_id, d.handler, 'succeeded')
        GROUP BY 1, 2, 3 HAVING count(a.event_id) <> CASE d.state WHEN 'succeeded' THEN 1 ELSE 0 END
    """,
    "unfinished": """
        SELECT event_id, handler, state, attempts, reason, due_at FROM receiver.dispatch
        WHERE state IN ('ready', 'waiting', 'leased')
    """,
}
DEAD: Final = "SELECT event_id, handler, reason FROM receiver.dispatch WHERE state = 'dead'"

_SHOWN: Final = 5


async def violations(query: Query, acknowledged: Iterable[str], *, dead: bool = False) -> list[str]:
    """What is wrong, in words; nothing if all is well.

    Args:
        query: runs SQL on the database of receiver and handlers.
        acknowledged: external ids of what was answered with success.
        dead: some may be dead, for good reason.
    """
    stored = {str(name) for (name,) in await query("SELECT external_id FROM receiver.event")}
    lost: list[tuple[object, ...]] = [(name,) for name in sorted(set(acknowledged) - stored)]
    found = [("acknowledged, not stored", lost)]
    rules = RULES if dead else {**RULES, "dead": DEAD}
    found += [(rule, await query(sql)) for rule, sql in rules.items()]
    return [tell(rule, rows) for rule, rows in found if rows]


def tell(rule: str, rows: list[tuple[object, ...]]) -> str:
    """A rule and the first few that broke it."""
    return f"{rule}: {len(rows)}, such as {', '.join(str(tuple(map(str, row))) for row in rows[:_SHOWN])}"
