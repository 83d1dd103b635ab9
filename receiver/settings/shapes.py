"""What a URL must look like. The messages never show it: it may hold a password."""

from typing import Final
from urllib.parse import urlsplit

_DATABASE_SCHEMES: Final = frozenset({"postgresql", "postgres", "postgresql+asyncpg"})
_REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})


def checked_database_url(url: str) -> str:
    """`url`, if it could be one of PostgreSQL. Raises ValueError."""
    return _checked(url, _DATABASE_SCHEMES, "postgresql://user:password@host:5432/database")


def checked_redis_url(url: str) -> str:
    """`url`, if it could be one of Redis or Valkey. Raises ValueError."""
    return _checked(url, _REDIS_SCHEMES, "redis://:password@host:6379/0")


def without_password(url: str) -> str:
    """`url` as it may be shown: the password starred out, parameters left out since they may hold one too."""
    try:
        parts = urlsplit(url)
        netloc = parts.netloc
    except ValueError:
        return "(not a URL)"
    user, at, place = netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    shown = f"{name}{colon and ':***'}{at}{place}"
    return f"{parts.scheme}://{shown}{parts.path}"


def _checked(url: str, schemes: frozenset[str], example: str) -> str:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in schemes and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, a bracket left open
        whole = False
    if not whole:
        raise ValueError(f"not a URL such as {example}")
    return url
