"""What asyncpg and SQLAlchemy raise, sorted by what it says about the rows."""

from typing import Final

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

ROW_AT_FAULT: Final = (
    UnicodeError,
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
"""Postgres judged the rows themselves; everything else that it says is about its own state, and may pass."""

CUT: Final = (
    OSError,
    EOFError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""The answer did not come: the commit may or may not have happened. The last: Postgres had just ended the session."""

UNREACHABLE: Final = (*CUT, asyncpg.PostgresError, SQLAlchemyError)
"""Anything that may go wrong before or while Postgres is asked."""
