"""SIGHUP: the sources are read again, and no request is dropped."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

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
        settings: that the program runs with.
        serve: each is called with the new sources, by name.
    """

    def __init__(self, receiver: Receiver, settings: Settings, serve: list[Serve]) -> None:
        self._receiver = receiver
        self._settings = settings
        self._serve = serve

    def listen(self) -> None:
        """From now on at each SIGHUP."""
        with suppress(NotImplementedError, RuntimeError, ValueError, AttributeError):
            # Not the main thread, or no such signal here: then somebody else decides when to start anew.
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self)

    def __call__(self) -> None:
        """Now. With a mistake in the settings all stays as it is."""
        try:
            fresh = self._receiver.reloaded()
            sources = self._receiver.sources(fresh)
        except SettingsError as error:
            log.error("reload_refused", problems=str(error).splitlines())  # noqa: TRY400  a traceback would say nothing
            return
        for serve in self._serve:
            serve(sources)
        before, self._settings = self._settings, fresh
        log.info(
            "reloaded",
            sources=sorted(sources),
            added=sorted(sources.keys() - before.sources.keys()),
            removed=sorted(before.sources.keys() - sources.keys()),
            needs_restart=_others(before, fresh),
        )


def _others(before: Settings, after: Settings) -> list[str]:
    """Settings that were changed and that only a new start reads. The addresses of embedded servers stand nowhere."""
    return sorted(
        name
        for name in type(after).model_fields
        if name != "sources" and name in after.model_fields_set and getattr(before, name) != getattr(after, name)
    )
