"""Is everything in order? Each check says what it found and, where that is not well, what to do."""

import asyncio
import datetime as dt
import time
from pathlib import Path
from typing import Final

from receiver.errors import SettingsError, StoreUnavailable
from receiver.marks import connect
from receiver.marks.client import UNREACHABLE
from receiver.marks.health import RedisHealth
from receiver.marks.health import health as redis_health
from receiver.operate.check import Check
from receiver.operate.database import database
from receiver.operate.dispatching import examine_dispatching
from receiver.operate.errors import RedisUnavailable
from receiver.operate.keys import examine_keys
from receiver.settings import Settings, without_password
from receiver.sources import build_sources
from receiver.storage import migrate, quarantine
from receiver.storage.engine import Connection
from receiver.storage.health import PostgresHealth, health, partitions
from receiver.storage.partitions import month

_POSTGRES: Final = range(15, 19)
"""Supported major versions."""
_REDIS_FROM: Final = {"redis": 7, "valkey": 8}
_SKEW_WARN: Final = 2.0
_TIMEOUT: Final = 10.0
_WEEK: Final = dt.timedelta(days=7)


def failed(checks: list[Check]) -> bool:
    """Whether the program cannot do its work."""
    return any(check.status == "fail" for check in checks)


async def examine(settings: Settings, folder: Path) -> list[Check]:
    """All checks, in the order in which they are to be mended.

    Args:
        settings: URLs may be missing.
        folder: what relative paths in the settings are relative to.
    """
    return [*_sources(settings, folder), *await _postgres(settings), *await _redis(settings)]


def _sources(settings: Settings, folder: Path) -> list[Check]:
    if not settings.sources:
        advice = "add a section [sources.NAME] to receiver.toml; until then every callback is answered 404"
        return [Check(name="sources", status="warn", found="none is configured", advice=advice)]
    return [_source(name, settings, folder) for name in settings.sources]


def _source(name: str, settings: Settings, folder: Path) -> Check:
    """One source alone, so that what is wrong with another does not hide it."""
    label = f"source {name}"
    try:
        source = build_sources(settings.model_copy(update={"sources": {name: settings.sources[name]}}), folder)[name]
    except SettingsError as error:
        return Check(name=label, status="fail", found="; ".join(str(error).splitlines()), advice="mend these settings")
    aged = examine_keys(source, time.time())
    if aged is not None:
        return aged
    if source.verified:
        return Check(name=label, status="ok", found=f"{source.provider.title}, its secrets are there")
    if source.lock is not None:
        return Check(name=label, status="ok", found=f"{source.provider.title}, known by tokens of yours")
    advice = 'anybody can call it: say token = "url", or take verification = "none" out if the provider can sign'
    return Check(name=label, status="warn", found=f"{source.provider.title}, nothing is verified", advice=advice)


async def _postgres(settings: Settings) -> list[Check]:
    url = settings.database_url
    if url is None:
        advice = "set RECEIVER_DATABASE_URL=postgresql://…, or use the embedded servers with --embedded DIR"
        return [Check(name="database", status="fail", found="database_url is not set", advice=advice)]
    try:
        async with asyncio.timeout(_TIMEOUT), database(url) as connection:
            before = dt.datetime.now(dt.UTC)
            found = await health(connection)
            local = before + (dt.datetime.now(dt.UTC) - before) / 2
            checks = [_version(found, url), _durable(found), _writable(found), _clock(found, local)]
            return [*checks, *await _schema(connection, url)]
    except TimeoutError:
        return [_unreachable("database", f"{without_password(url)} did not answer within {_TIMEOUT:.0f} s")]
    except (StoreUnavailable, SettingsError) as error:
        return [_unreachable("database", str(error))]


def _unreachable(name: str, found: str) -> Check:
    return Check(name=name, status="fail", found=found, advice="start it, or mend its address, user or password")


def _version(found: PostgresHealth, url: str) -> Check:
    said = f"PostgreSQL {found.version} at {without_password(url)}"
    if found.major in _POSTGRES:
        return Check(name="database", status="ok", found=said)
    advice = f"supported are PostgreSQL {_POSTGRES.start} to {_POSTGRES.stop - 1}"
    old = found.major < _POSTGRES.start
    return Check(name="database", status="fail" if old else "warn", found=said, advice=advice)


def _durable(found: PostgresHealth) -> Check:
    weak = {
        "fsync": not found.fsync,
        "full_page_writes": not found.full_page_writes,
        "synchronous_commit": found.synchronous_commit == "off",
    }
    off = [name for name, is_off in weak.items() if is_off]
    if not off:
        return Check(
            name="durability", status="ok", found=f"synchronous_commit is {found.synchronous_commit}, fsync on"
        )
    advice = "a callback that was acknowledged may be lost in a crash: switch it on"
    return Check(name="durability", status="fail", found=f"{' and '.join(off)} off", advice=advice)


def _writable(found: PostgresHealth) -> Check:
    if not found.in_recovery:
        return Check(name="role", status="ok", found="a primary, which takes writes")
    advice = "point database_url at the primary"
    return Check(name="role", status="fail", found="a standby, which takes no writes", advice=advice)


def _clock(found: PostgresHealth, local: dt.datetime) -> Check:
    skew = (local - found.now).total_seconds()
    said = f"this program is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} the database"
    if abs(skew) <= _SKEW_WARN:
        return Check(name="clock", status="ok", found=said)
    advice = "set both by NTP: signatures are checked against this program's clock and refused at 300 s"
    return Check(name="clock", status="warn", found=said, advice=advice)


async def _schema(connection: Connection, url: str) -> list[Check]:
    revision, newest = await migrate.current(url), migrate.head()
    if revision == newest:
        ahead = await partitions(connection)
        schema = Check(name="schema", status="ok", found=f"at revision {revision}, the newest")
        return [schema, _partitions(ahead), *await _tokens(connection), *await examine_dispatching(connection)]
    if revision is None:
        return [Check(name="schema", status="fail", found="not migrated", advice="run `receiver migrate`")]
    if revision in migrate.older_revisions():
        found, advice = f"at revision {revision}, behind {newest}", "run `receiver migrate`"
        return [Check(name="schema", status="fail", found=found, advice=advice)]
    found, advice = f"at revision {revision}, newer than this program's {newest}", "update this program too"
    return [Check(name="schema", status="warn", found=found, advice=advice)]


async def _tokens(connection: Connection) -> list[Check]:
    """Whether callbacks came with tokens of other payments; not a word where none did."""
    seen = await quarantine.kept_since(connection, "token_repeated", _WEEK)
    if not seen:
        return []
    said = "; ".join(f"{count} of {source}" for source, count in seen.items())
    advice = 'make a token for each payment, or say token_for = "any"; what was refused is in receiver.quarantine'
    return [Check(name="tokens", status="warn", found=f"used for another payment in 7 days: {said}", advice=advice)]


def _partitions(present: list[str]) -> Check:
    """Whether next month has a partition; without one its events go to the default partition, which works but stays."""
    coming = f"event_{month(dt.datetime.now(dt.UTC).date(), 1):%Y_%m}"
    if coming in present:
        return Check(name="partitions", status="ok", found=f"made up to {max(present).removeprefix('event_')}")
    advice = "run `receiver migrate`, with a role that may make tables; servers try it at each start"
    return Check(name="partitions", status="warn", found=f"there is none called {coming}", advice=advice)


async def _redis(settings: Settings) -> list[Check]:
    url = settings.redis_url
    if url is None:
        advice = "set RECEIVER_REDIS_URL=redis://…, or use the embedded servers with --embedded DIR"
        return [Check(name="redis", status="fail", found="redis_url is not set", advice=advice)]
    try:
        found = await _asked(url)
    except (RedisUnavailable, SettingsError) as error:
        advice = "callbacks are taken without it, only slower; start it, or mend its address or password"
        return [Check(name="redis", status="fail", found=str(error), advice=advice)]
    return [_redis_version(found, url), _memory(found)]


async def _asked(url: str) -> RedisHealth:
    client = connect(url, timeout=_TIMEOUT)
    try:
        return await redis_health(client)
    except UNREACHABLE as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise RedisUnavailable(f"Redis at {without_password(url)} cannot be used: {said}") from error
    finally:
        await client.aclose()


def _redis_version(found: RedisHealth, url: str) -> Check:
    said = f"{found.kind.capitalize()} {found.version} at {without_password(url)}"
    if found.major >= _REDIS_FROM[found.kind]:
        return Check(name="redis", status="ok", found=said)
    return Check(name="redis", status="warn", found=said, advice="supported are Redis 7 and Valkey 8, or later")


def _memory(found: RedisHealth) -> Check:
    if not found.maxmemory:
        return Check(name="redis memory", status="ok", found=f"no limit, {found.policy}")
    said = f"at most {found.maxmemory // 2**20} MiB, {found.policy}"
    if found.policy != "noeviction":
        return Check(name="redis memory", status="ok", found=said)
    advice = "when it is full, marks are refused and duplicates cost more: set maxmemory-policy to volatile-ttl"
    return Check(name="redis memory", status="warn", found=said, advice=advice)
