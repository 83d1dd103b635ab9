"""A judge in the database: notes every committed change of a dispatch that `receiver/storage/states.py` does not allow.

It is a trigger, made of that table, so table and statements cannot drift apart. It notes and does not refuse: what was
rolled back never was, and the program goes its way as it would without it.
"""

from typing import Final, assert_never

import asyncpg

from receiver.storage.engine import Connection
from receiver.storage.states import TRANSITIONS, Attempts, State, Transition

SCENE: Final = {"judge.scene": "on"}
"""Settings of a connection that sets a scene: it may do as it likes."""

_ALWAYS: Final = {
    "what names it changed": """TG_OP = 'UPDATE' AND (OLD.event_id, OLD.handler, OLD.lane, OLD.lane_at)
        IS DISTINCT FROM (NEW.event_id, NEW.handler, NEW.lane, NEW.lane_at)""",
    "leased by nobody": f"NEW.state = '{State.LEASED}' AND (NEW.worker IS NULL OR NEW.leased_at IS NULL)",
    "a lease that has ended before it began": f"""NEW.state = '{State.LEASED}' AND NEW.epoch > OLD.epoch
        AND (NEW.due_at < now() OR NEW.leased_at <> now())""",
    "blocks and is not dead": f"NEW.blocks AND NEW.state <> '{State.DEAD}'",
    "has no place in its lane": "NEW.lane IS NOT NULL AND NEW.lane_at IS NULL",
    "deferrals fell": "TG_OP = 'UPDATE' AND NEW.deferrals < OLD.deferrals AND NEW.attempts > 0",
    "manual without a replay": """TG_OP = 'UPDATE' AND NEW.trigger = 'manual' AND OLD.trigger <> 'manual'
        AND (NEW.attempts > 0 OR NEW.epoch = OLD.epoch)""",
}
"""What must never be so, whatever the transition."""


def _of_attempts(attempts: Attempts) -> str:
    match attempts:
        case Attempts.KEPT:
            return "NEW.attempts = OLD.attempts"
        case Attempts.COUNTED:
            return "NEW.attempts = OLD.attempts + 1"
        case Attempts.UNCOUNTED:
            return "NEW.attempts = OLD.attempts - 1"
        case Attempts.ZEROED:
            return "NEW.attempts = 0"
        case _:
            assert_never(attempts)


def _condition(transition: Transition) -> str:
    """Whether what is being done is `transition`, as SQL over OLD and NEW."""
    came_from = " OR ".join(f"OLD.state = '{state}'" for state in sorted(transition.before))
    parts = [
        came_from if transition.before else "TG_OP = 'INSERT'",
        f"NEW.state = '{transition.after}'",
        f"NEW.epoch = coalesce(OLD.epoch, 0) + {int(transition.rises)}",
        " OR ".join(_of_attempts(attempts) for attempts in sorted(transition.attempts)),
    ]
    if transition.at_once:
        parts.append("OLD.due_at = now()")  # which is the time of this transaction, and was set by it
    if transition.expired:
        parts.append("OLD.due_at <= now()")
    return " AND ".join(f"({part})" for part in parts)


def _noted(name: str, condition: str) -> str:
    return f"CASE WHEN {condition} THEN '{name}' END"


_JUDGE: Final = f"""
CREATE SCHEMA judge;
CREATE TABLE judge.change (
    number bigint GENERATED ALWAYS AS IDENTITY, transitions text[], wrong text[], old jsonb, new jsonb
);
CREATE FUNCTION judge.judge() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    transitions text[];
    wrong text[];
BEGIN
    IF current_setting('judge.scene', true) = 'on' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
        wrong := ARRAY['deleted'];
    ELSE
        transitions := array_remove(ARRAY[
            {", ".join(_noted(each.name, _condition(each)) for each in TRANSITIONS)}
        ], NULL);
        wrong := array_remove(ARRAY[
            {", ".join(_noted(name, condition) for name, condition in _ALWAYS.items())},
            CASE WHEN cardinality(transitions) = 0 THEN 'no such transition' END
        ], NULL);
    END IF;
    INSERT INTO judge.change (transitions, wrong, old, new) VALUES (transitions, wrong, to_jsonb(OLD), to_jsonb(NEW));
    RETURN NULL;
END $$;
CREATE TRIGGER judge AFTER INSERT OR UPDATE OR DELETE ON receiver.dispatch
    FOR EACH ROW EXECUTE FUNCTION judge.judge();
"""

_WRONG: Final = "SELECT wrong, old, new FROM judge.change WHERE cardinality(wrong) > 0 ORDER BY number LIMIT 5"


async def seat(connection: Connection) -> None:
    """Let the judge watch the database of `connection`."""
    await connection.execute(_JUDGE)


async def verdicts(url: str) -> list[str]:
    """The first few wrong changes in a database, with the row before and after."""
    connection = await asyncpg.connect(url)
    try:
        return [f"{row['wrong']}: {row['old']} -> {row['new']}" for row in await connection.fetch(_WRONG)]
    finally:
        await connection.close()
