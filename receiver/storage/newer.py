"""The guard of a row that holds a state: what happened earlier never overwrites what happened later.

One statement, so that there is nothing between the look and the write: PostgreSQL locks the row and compares the
times that stand in it at that moment, also if another transaction has just committed it
(https://www.postgresql.org/docs/current/sql-insert.html, "ON CONFLICT DO UPDATE").
"""

import datetime as dt
from collections.abc import Mapping
from typing import Final, TypeAlias

from sqlalchemy import Column, ColumnElement, DateTime, Executable, Table, TypeDecorator, and_, inspect, or_, true
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapper, Session

from receiver.errors import UpdateError

Model: TypeAlias = type[object] | Table
Values: TypeAlias = Mapping[str, object]
Columns: TypeAlias = "Mapping[str, Column[object]]"

_NO_SUCH_CONSTRAINT: Final = "42P10"


async def update_if_newer(
    tx: AsyncSession,
    model: Model,
    key: Values,
    values: Values,
    *,
    at: dt.datetime | None,
    column: str = "last_updated_at",
    rank: int | None = None,
    rank_column: str = "last_updated_rank",
) -> bool:
    """Write `values` to the row of `key`, unless the row holds something that happened at the same time or later.

    Providers send in any order. Called by each handler that keeps this state, it leaves the row as the latest of the
    events says, in whatever order they come. There is no row yet, or one without a time: it is written.

    Equal times: what stands stays, so the same event again changes nothing. But two events of one second are no
    rarity where a provider counts in seconds (Stripe does), and then the first to come would win. `rank` settles
    that: of equal times the higher rank wins, in either order. Number the states in the order in which an object
    passes through them; two events of equal time and rank must say the same.

    One row may keep several states, each with a time column of its own (`column`). Objects that the session has
    loaded are not changed: refresh them.

    Args:
        tx: the handler's session; what is pending in it is written first.
        model: a mapped class, or a Core table.
        key: the columns of a primary key or unique constraint, by name (of the attribute, for a class).
        values: the other columns. Together with `key` they must be enough to insert the row.
        at: when it happened, aware: `event.occurred_at`.
        column: holds that time, in a column `DateTime(timezone=True)`; NULL is older than any time.
        rank: compared where times are equal, an int; given always or never for one table.
        rank_column: holds it, in a number; NULL is lower than any rank.

    Returns:
        True if the row was written; False if a newer or equal state stands.

    Raises:
        UpdateError: it cannot work so; see its reasons. With `update_key_not_unique` the transaction is aborted.
    """
    return await tx.run_sync(
        update_if_newer_sync, model, key, values, at=at, column=column, rank=rank, rank_column=rank_column
    )


def update_if_newer_sync(
    tx: Session,
    model: Model,
    key: Values,
    values: Values,
    *,
    at: dt.datetime | None,
    column: str = "last_updated_at",
    rank: int | None = None,
    rank_column: str = "last_updated_rank",
) -> bool:
    """`update_if_newer` for handlers that are plain functions."""
    table, columns = _opened(model)
    _check_time(at, columns.get(column), f"{table.name}.{column}")
    _check_rank(rank, rank_column in columns, f"{table.name}.{rank_column}")
    order: Values = {column: at} if rank is None else {column: at, rank_column: rank}
    _check_names(table, columns, key, values, order)
    tx.flush()
    try:
        written = tx.execute(_statement(table, columns, key, values, order)).one_or_none()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _NO_SUCH_CONSTRAINT:
            raise UpdateError(
                "update_key_not_unique", f"{table.name}: no primary key or unique constraint over ({', '.join(key)})"
            ) from error
        raise
    return written is not None


def _opened(model: Model) -> tuple[Table, Columns]:
    """The table, and its columns by the names that the caller uses."""
    if isinstance(model, Table):
        return model, dict(model.columns.items())
    mapper: Mapper[object] = inspect(model)
    table = mapper.local_table
    if not isinstance(table, Table):
        raise TypeError(f"{model.__name__} is not mapped to a table")
    return table, {name: each for name, each in mapper.columns.items() if each.table is table}


def _check_time(at: object, column: "Column[object] | None", label: str) -> None:
    if at is None:
        raise UpdateError("update_time_missing", f"{label}: this event has no time of its own to compare")
    if not isinstance(at, dt.datetime):
        raise UpdateError("update_time_type", f"{label}: at=… must be a datetime, not {type(at).__name__}")
    if at.utcoffset() is None:
        raise UpdateError("update_time_naive", f"{label}: a time without a zone cannot be compared")
    if column is None:
        raise UpdateError("update_time_column", f"{label}: there is no such column; add it, or name another: column=…")
    kind = column.type
    if not isinstance(kind, TypeDecorator) and not (isinstance(kind, DateTime) and kind.timezone):
        raise UpdateError("update_time_column", f"{label}: must be DateTime(timezone=True), not {kind!r}")


def _check_rank(rank: object, there_is_a_column: bool, label: str) -> None:  # noqa: FBT001 - the other half of a pair
    if (rank is None) is there_is_a_column:
        raise UpdateError("update_rank", f"{label}: rank=… and this column need each other")
    # Any other number is cut to the column's type on its way, and two ranks may become one.
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int)):
        raise UpdateError("update_rank", f"{label}: rank=… must be an int, not {type(rank).__name__}")


def _check_names(table: Table, columns: Columns, *parts: Values) -> None:
    """Each name is a column's, in one of the parts; the first is the key."""
    seen: set[str] = set()
    for name in (name for part in parts for name in part):
        if name not in columns:
            raise UpdateError("update_column_unknown", f"{table.name}.{name}: there is {', '.join(columns)}")
        if name in seen:
            raise UpdateError("update_column_twice", f"{table.name}.{name}: is given twice, and may be once")
        seen.add(name)
    if not parts[0] or None in parts[0].values():
        raise UpdateError("update_key_missing", f"{table.name}: the key is empty or has a None, which equals no row's")


def _statement(table: Table, columns: Columns, key: Values, values: Values, order: Values) -> Executable:
    row = {columns[name]: value for name, value in {**key, **values, **order}.items()}
    statement = insert(table).values(row)
    return statement.on_conflict_do_update(
        index_elements=[columns[name] for name in key],
        set_={columns[name]: statement.excluded[columns[name].key] for name in {**values, **order}},
        where=_is_older([columns[name] for name in order], statement),
    ).returning(true())


def _is_older(order: "list[Column[object]]", statement: Insert) -> ColumnElement[bool]:
    """The stored row stands before the new one, by the first column and, where that is equal, by the next."""
    stored, *rest = order
    sent = statement.excluded[stored.key]
    older = or_(stored.is_(None), stored < sent)
    return or_(older, and_(stored == sent, _is_older(rest, statement))) if rest else older
