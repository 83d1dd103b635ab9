"""SIGHUP: the sources are read again, and no request is dropped."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import structlog

from receiver.app.hangup import hold, release, terminal_gone
from receiver.app.receiver import Receiver
from receiver.errors import SettingsError
from receiver.settings import Settings
from receiver.sources import Source

log = structlog.get_logger(__name__)

Serve = Callable[[Mapping[str, Source]], None]


class Reload:
    """Reads the settings again, and hands the sources that they make to those who use them.

    Args:
        receiver: knows where its settings stand.
        sources: that the program runs with, by name.
        serve: each is called with the new sources, by name.
        stop: ends the program.
    """

    def __init__(
        self, receiver: Receiver, sources: Mapping[str, Source], serve: Sequence[Serve], stop: asyncio.Event
    ) -> None:
        self._receiver = receiver
        self._sources = sources
        self._serve = serve
        self._stop = stop
        self._asked = asyncio.Event()
        self._at_start = _readable(receiver)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """At each SIGHUP, for the length of the block."""
        loop = asyncio.get_running_loop()
        try:
            loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        except (NotImplementedError, RuntimeError, ValueError, AttributeError):
            # Not the main thread, or no such signal here: then somebody else decides when to start anew.
            yield
            return
        release()
        task = loop.create_task(self._repeat(), name="receiver-reload")
        try:
            yield
        finally:
            task.cancel()
            hold()  # it must not cut short what is being finished
            loop.remove_signal_handler(signal.SIGHUP)

    def _hang_up(self) -> None:
        if terminal_gone():
            self._stop.set()
        else:
            self._asked.set()

    async def _repeat(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                # Beside the loop: parsing RSA keys takes tens of milliseconds.
                fresh, sources = await asyncio.to_thread(self._read)
                self._take(fresh, sources)
            except SettingsError as error:
                log.error("reload_refused", problems=str(error).splitlines())  # noqa: TRY400  a traceback says nothing
            except Exception:
                log.exception("reload_failed")

    def _read(self) -> tuple[Settings, dict[str, Source]]:
        fresh = self._receiver.reloaded()
        return fresh, self._receiver.sources(fresh)

    def _take(self, fresh: Settings, sources: Mapping[str, Source]) -> None:
        """From now on. A source that has not changed stays what it is, with all that it has learnt."""
        before = self._sources
        now = {
            name: before[name] if name in before and source.same_as(before[name]) else source
            for name, source in sources.items()
        }
        for serve in self._serve:
            serve(now)
        self._sources = now
        log.info(
            "reloaded",
            sources=sorted(now),
            added=sorted(now.keys() - before.keys()),
            removed=sorted(before.keys() - now.keys()),
            changed=sorted(name for name in now.keys() & before.keys() if now[name] is not before[name]),
            needs_restart=_others(self._at_start, fresh) if self._at_start else [],
        )


def _readable(receiver: Receiver) -> Settings | None:
    """What stands in environment and files, without what the command line says: that is not read again."""
    try:
        return receiver.reloaded()
    except SettingsError:
        return None


def _others(before: Settings, after: Settings) -> list[str]:
    """Settings that have changed since the start and that only a new start reads."""
    return sorted(
        name
        for name in type(before).model_fields
        if name != "sources" and getattr(before, name) != getattr(after, name)
    )
