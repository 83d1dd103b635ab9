"""The programs: serve, work, or both in one process, until a signal says stop."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog

from receiver.app.listeners import Listener, address, bind
from receiver.app.operator import operator_app
from receiver.app.receiver import Receiver, readers_of
from receiver.app.reload import Reload, Serve
from receiver.app.service import required, settle_garbage
from receiver.errors import SettingsError
from receiver.settings import Settings
from receiver.sources import Source
from receiver.storage import migrate

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where a running program can be reached."""

    url: str | None
    """The public listener; None for a worker."""
    operator_url: str
    """The operator listener."""


async def run(
    receiver: Receiver,
    settings: Settings,
    *,
    serve: bool,
    work: bool,
    ready: Callable[[Listening], None] | None = None,
    stop: asyncio.Event | None = None,
    member: int | None = None,
    reload: bool = True,
) -> None:
    """Run until SIGTERM, SIGINT or `stop`.

    Args:
        receiver: the merchant's.
        settings: both URLs must be set.
        serve: take callbacks.
        work: run handlers.
        ready: called once everything listens and runs.
        stop: ends the program as a signal does.
        member: the number of this process among several that share the port; None: it is alone.
        reload: read the sources again at SIGHUP; False: it ends the program too, for the settings stand nowhere.

    Raises:
        SettingsError: a setting is wrong, a port is taken, or the database is not migrated.
    """
    await _check_revision(required(settings.database_url, "database_url"))
    required(settings.redis_url, "redis_url")
    stop = stop or asyncio.Event()
    async with AsyncExitStack() as stack:
        operator_url = await stack.enter_async_context(_operator(receiver, settings, member))
        # Entered first, left last: the listener drains before the worker stops, so what it stores may still run.
        sources, users = receiver.sources(settings), list[Serve]()
        if work:
            worker = await stack.enter_async_context(receiver.worker(settings, sources))
            users.append(lambda sources: worker.confirm_with(receiver.confirmations(sources)))
            users.append(lambda sources: worker.read_with(readers_of(sources)))
        if serve:
            await stack.enter_async_context(receiver.guarding(settings))
        url = await stack.enter_async_context(_public(receiver, settings, sources, member, users)) if serve else None
        settle_garbage()
        _stop_on_signals(stop, "SIGTERM", "SIGINT", *([] if reload else ["SIGHUP"]))
        if reload:
            await stack.enter_async_context(Reload(receiver, sources, users, stop).listening())
        log.info("started", url=url, operator_url=operator_url, pid=os.getpid())
        if ready is not None:
            ready(Listening(url=url, operator_url=operator_url))
        await stop.wait()
        log.info("stopping")


@asynccontextmanager
async def _public(
    receiver: Receiver, settings: Settings, sources: Mapping[str, Source], member: int | None, users: list[Serve]
) -> AsyncIterator[str]:
    bound = bind(settings.host, settings.port, setting="port", shared=member is not None)
    service = receiver.service(settings, sources)
    doors = await service.start(receiver.public())
    listener = Listener(doors.app, bound, grace=settings.grace_seconds, protocol=doors.protocol)
    await listener.start()
    users.append(service.serve)
    try:
        yield address(bound)
    finally:
        await listener.stop()
        await service.close()


@asynccontextmanager
async def _operator(receiver: Receiver, settings: Settings, member: int | None) -> AsyncIterator[str]:
    port = settings.operator_port + (member or 0) if settings.operator_port else 0
    bound = bind(settings.operator_host, port, setting="operator_port")
    listener = Listener(operator_app(settings, receiver.metrics), bound, grace=1)
    await listener.start()
    try:
        yield address(bound)
    finally:
        await listener.stop()


async def _check_revision(url: str) -> None:
    """Refuse to start on a database that lacks our tables; one that cannot be reached may come back."""
    try:
        async with asyncio.timeout(5):
            revision = await migrate.current(url)
    except SettingsError:
        raise
    except Exception as error:  # noqa: BLE001  of any kind: callbacks get 503 until Postgres is there
        log.warning("store_unreachable", error=type(error).__name__)
        return
    if revision is None:
        raise SettingsError("database: is not migrated; run `receiver migrate`")
    if revision in migrate.older_revisions():
        raise SettingsError(f"database: is at revision {revision}, behind {migrate.head()}; run `receiver migrate`")


def _stop_on_signals(stop: asyncio.Event, *names: str) -> None:
    loop = asyncio.get_running_loop()
    for name in names:
        try:
            loop.add_signal_handler(signal.Signals[name], stop.set)
        except (NotImplementedError, RuntimeError, ValueError, KeyError):
            return  # not the main thread, or no such signal here: somebody else handles signals
