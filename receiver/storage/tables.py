"""The tables in schema `receiver`, as alembic compares them with the database."""

import datetime as dt
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB, UUID
from sqlalchemy.types import TypeEngine

from receiver.storage.states import ACTIVE, UNFINISHED, State, quoted

SCHEMA = "receiver"
metadata = sa.MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    },
)

_now = sa.text("now()")
_zero = sa.text("0")


_T = TypeVar("_T")


def _column(
    name: str, kind: TypeEngine[_T], *, null: bool = False, default: sa.TextClause | None = None
) -> sa.Column[_T]:
    return sa.Column(name, kind, nullable=null, server_default=default)


def _time(name: str, *, null: bool = False, default: sa.TextClause | None = _now) -> sa.Column[dt.datetime]:
    return _column(name, sa.TIMESTAMP(timezone=True), null=null, default=None if null else default)


# One row. Its id tells apart schemas that were dropped and made again in one database: marks carry it.
installation = sa.Table(
    "installation",
    metadata,
    sa.Column("id", UUID(), primary_key=True, server_default=sa.text("gen_random_uuid()")),
    _time("created_at"),
)

# What makes a duplicate impossible. Small, never partitioned by arrival: uniqueness must be global.
dedup_key = sa.Table(
    "dedup_key",
    metadata,
    sa.Column("key", sa.LargeBinary, primary_key=True),
    _column("event_id", UUID()),
    _column("fingerprint", sa.LargeBinary(), null=True),
    _time("created_at"),
    _column("duplicates", sa.Integer(), default=_zero),
)

# Partitioned by its id, a UUIDv7, whose head is the time of arrival: retention drops partitions, and a look-up by
# id touches one partition without knowing the time.
event = sa.Table(
    "event",
    metadata,
    sa.Column("id", UUID(), primary_key=True),
    _column("key", sa.LargeBinary()),
    _column("source", sa.Text()),
    _column("provider", sa.Text()),
    _column("external_id", sa.Text()),
    _column("type", sa.Text(), null=True),
    _column("entity_id", sa.Text(), null=True),
    _column("livemode", sa.Boolean(), null=True),
    _time("occurred_at", null=True),
    _time("received_at"),
    _column("headers", JSONB()),
    _column("body", sa.LargeBinary()),
    _column("trust", sa.Text(), default=sa.text("'signed'")),  # what vouches for it: see `events.Trust`
    _column("secret", sa.Text(), null=True),  # the setting whose key verified it; null: nothing was verified
    postgresql_partition_by="RANGE (id)",
)

# The queue. `due_at` is the lease's end while a row is leased. No foreign key to `event`: it would cost the hot
# path a look-up per row, and retention drops events by partition.
dispatch = sa.Table(
    "dispatch",
    metadata,
    sa.Column("event_id", UUID(), primary_key=True),
    sa.Column("handler", sa.Text, primary_key=True),
    _column("state", sa.Text(), default=sa.text("'ready'")),
    _column("epoch", sa.Integer(), default=_zero),
    _column("attempts", sa.Integer(), default=_zero),
    _time("due_at"),
    _column("trigger", sa.Text(), default=sa.text("'scheduled'")),
    _column("reason", sa.Text(), null=True),
    _column("worker", sa.Text(), null=True),  # who leased it last,
    _time("leased_at", null=True),  # and when
    _column("lane", sa.BigInteger(), null=True),  # see handlers/lanes.py; none: in no order
    _time("lane_at", null=True),  # its place in the lane: the event's own time, else that of its arrival
    _column("blocks", sa.Boolean(), default=sa.text("false")),  # dead, and its lane waits for its replay
    _column("deferrals", sa.Integer(), default=_zero),  # how often its handler said NotYet
    _time("deferred_at", null=True),  # and when first
    _time("started_at", null=True),  # of the run that succeeded, whose record this row is; see the view `every_attempt`
    _time("finished_at", null=True),  # null: within 10 ms
    # One literal, and `trigger` goes unchecked: PostgreSQL reads such an expression anew for each statement that writes
    # a row. Two with `IN` cost a run 12 µs more, of 176. A state that is none would hide a dispatch from everybody.
    sa.CheckConstraint(f"state = ANY ('{{{','.join(State)}}}'::text[])", name="state"),
)
# By handler first: the backlog of one, or of one that no worker knows, must not stand in the way of the others.
sa.Index(
    "dispatch_owed_idx", dispatch.c.handler, dispatch.c.due_at, postgresql_where=sa.text(f"state IN ({quoted(ACTIVE)})")
)
sa.Index("dispatch_dead_idx", dispatch.c.due_at, postgresql_where=sa.text(f"state = '{State.DEAD}'"))
# A replay walks what is dead in the order in which its cursor stands.
sa.Index(
    "dispatch_dead_event_idx",
    dispatch.c.event_id,
    dispatch.c.handler,
    postgresql_where=sa.text(f"state = '{State.DEAD}'"),
)
sa.Index(
    "dispatch_lane_idx",
    dispatch.c.lane,
    dispatch.c.lane_at,
    dispatch.c.event_id,
    postgresql_where=sa.text(f"lane IS NOT NULL AND (state IN ({quoted(UNFINISHED)}) OR blocks)"),
)
# A guard against what reasoning missed: the claim of lanes never runs into it.
sa.Index(
    "dispatch_lane_key",
    dispatch.c.lane,
    unique=True,
    postgresql_where=sa.text(f"lane IS NOT NULL AND state = '{State.LEASED}'"),
)

# How far each lane has been handled: what arrives for a time before that is late. Written by workers alone.
lane = sa.Table(
    "lane",
    metadata,
    sa.Column("lane", sa.BigInteger, primary_key=True, autoincrement=False),
    _column("handler", sa.Text()),
    _time("handled_at", default=None),  # lane_at and
    _column("event_id", UUID()),  # event of the newest that succeeded
)

# Each run of a dispatch that did not succeed, or was replayed since, numbered by its epoch: its number may come again.
# The run by which a dispatch succeeded stands in `dispatch`, where it costs nothing; the view `every_attempt` has all.
attempt = sa.Table(
    "attempt",
    metadata,
    sa.Column("event_id", UUID(), primary_key=True),
    sa.Column("handler", sa.Text, primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    _column("number", sa.Integer()),
    _column("trigger", sa.Text()),
    _column("worker", sa.Text()),
    _time("started_at", default=None),
    _time("finished_at"),
    _column("outcome", sa.Text()),
    _column("reason", sa.Text(), null=True),
    _column("error", sa.Text(), null=True),
    sa.CheckConstraint("outcome IN ('succeeded', 'retry', 'dead', 'lost')", name="outcome"),
)

# Genuine, but not to be run: unreadable bodies, and second facts under an id that is taken.
quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("id", UUID(), primary_key=True),
    _column("source", sa.Text()),
    _column("provider", sa.Text()),
    _column("reason", sa.Text()),
    _column("external_id", sa.Text(), null=True),
    _column("digest", sa.LargeBinary()),
    _column("headers", JSONB()),
    _column("body", sa.LargeBinary()),
    _time("received_at"),
    _column("deliveries", sa.Integer(), default=sa.text("1")),
    sa.UniqueConstraint("source", "digest"),
)

# Who runs handlers, as each worker says of itself every few seconds; see workers.py.
worker = sa.Table(
    "worker",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    _column("host", sa.Text()),
    _column("pid", sa.Integer()),
    _column("version", sa.Text()),
    _time("started_at", default=None),
    _time("seen_at"),
    _column("state", sa.Text()),
    _column("concurrency", sa.Integer()),
    _column("running", sa.Integer()),
    _column("handlers", ARRAY(sa.Text())),
    _column("circuits", JSONB()),  # those that are open: handler, since, probe_at
    sa.CheckConstraint("state IN ('running', 'draining', 'stopped')", name="state"),
)

# A replay of many dispatches: workers take it step by step, and each step moves the cursor in its own commit.
replay = sa.Table(
    "replay",
    metadata,
    sa.Column("id", UUID(), primary_key=True),
    _column("state", sa.Text(), default=sa.text("'running'")),
    _column("asked", JSONB()),
    _column("creates_for", sa.Text(), null=True),  # the handler whose missing dispatches it creates
    _column("rate", sa.Double(), null=True),  # per second
    _column("matched", sa.BigInteger()),
    _column("estimated", sa.Boolean()),
    _column("looked_at", sa.BigInteger(), default=_zero),
    _column("replayed", sa.BigInteger(), default=_zero),
    _column("created", sa.BigInteger(), default=_zero),
    _column("skipped", sa.BigInteger(), default=_zero),
    _column("after_event", UUID()),  # the cursor: all up to this event and
    _column("after_handler", sa.Text(), default=sa.text("''")),  # handler has been looked at,
    _column("last_event", UUID()),  # and this is where it ends
    _time("created_at"),
    _time("next_at"),  # the rate allows no step before
    _time("stepped_at", null=True),  # when it was stepped last,
    _column("worker", sa.Text(), null=True),  # and by whom
    _column("behind", sa.Text(), null=True),  # a handler that has enough to do: the next step waits for it
    _time("finished_at", null=True),
    sa.CheckConstraint("state IN ('running', 'paused', 'cancelled', 'done')", name="state"),
    sa.CheckConstraint("rate > 0", name="rate"),
)
sa.Index("replay_running_idx", replay.c.next_at, postgresql_where=sa.text("state = 'running'"))

# What operators did: never changed, written in the commit of what it tells.
audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", UUID(), primary_key=True),
    _time("at"),
    _column("who", sa.Text()),
    _column("action", sa.Text()),
    _column("subject", sa.Text()),
    _column("why", sa.Text(), null=True),
    _column("details", JSONB(), default=sa.text("'{}'")),
)

# What a source's confirmation said of an event, asked once for all of its handlers; see confirmations.py. `data` is
# kept as it was written: jsonb would refuse a NUL, which a provider may send.
confirmation = sa.Table(
    "confirmation",
    metadata,
    sa.Column("event_id", UUID(), primary_key=True),
    _column("outcome", sa.Text()),
    _column("token", UUID()),  # of who asks, or asked last
    _column("asked", sa.Integer()),  # how often, and
    _time("since"),  # from when on; a replay begins anew
    _time("until", null=True),  # asking: others may ask then; waiting: not to be asked before
    _time("at"),  # of the outcome
    _column("reason", sa.Text(), null=True),
    _column("once", sa.Text(), null=True),
    _column("data", JSON(), null=True),
    sa.CheckConstraint("outcome IN ('asking', 'waiting', 'confirmed', 'refused')", name="outcome"),
)

# What must happen once, and has; see once.py. Apart from dedup_key, whose rows each stand for an event.
once_key = sa.Table(
    "once_key",
    metadata,
    sa.Column("key", sa.LargeBinary, primary_key=True),
    _column("scope", sa.Text()),
    _column("event_id", UUID(), null=True),  # whose handler did it; NULL: code of the merchant's own
    _time("created_at"),
)

# What each callback token was used for first, and with which event; see bound.py.
callback_token = sa.Table(
    "callback_token",
    metadata,
    sa.Column("nonce", sa.LargeBinary, primary_key=True),
    _column("source", sa.Text()),
    _column("subject", sa.LargeBinary()),
    _column("event_id", UUID()),
    _time("created_at"),
)

# Keys that clients make for their requests, and the first response to each; see keyed.py. While `status` is null the
# request is running, or nobody's once the lease is over. A status without a body: answered, but not to be replayed.
idempotency_key = sa.Table(
    "idempotency_key",
    metadata,
    sa.Column("key", sa.LargeBinary, primary_key=True),  # of scope, caller and the client's key
    _column("scope", sa.Text()),
    _column("fingerprint", sa.LargeBinary()),  # of method, path and body
    _column("owner", UUID()),  # who runs it, or ran it last
    _time("leased_until", default=None),
    _column("status", sa.SmallInteger(), null=True),
    _column("headers", sa.Text(), null=True),
    _column("body", sa.LargeBinary(), null=True),
    _time("created_at"),
    _time("expires_at", default=None),
)
sa.Index("idempotency_key_expires_at_idx", idempotency_key.c.expires_at)
