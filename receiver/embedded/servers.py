"""The public face: the pair of servers of one folder, started together and stopped together."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from receiver.embedded.errors import EmbeddedError
from receiver.embedded.pair import Pair, Wish, open_pair
from receiver.embedded.postgres import PostgresServer
from receiver.embedded.valkey import ValkeyServer

NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class EmbeddedServers:
    """A PostgreSQL and a Valkey over one folder; a context manager, or `start` and `stop`.

    Their data, ports and passwords stay in the folder for the next start. Durability is PostgreSQL's own default.

    Args:
        directory: the folder; made if it is missing. One program at a time may use it.
        postgres_settings: run-time parameters of PostgreSQL, such as `{"fsync": "off"}`.
        valkey_settings: as in valkey.conf, such as `{"maxmemory": "3mb"}`.
        on_step: told in a few words what is being done, for a person who waits.
    """

    def __init__(
        self,
        directory: Path,
        *,
        postgres_settings: Mapping[str, str] = NO_SETTINGS,
        valkey_settings: Mapping[str, str] = NO_SETTINGS,
        on_step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._wish = Wish(
            directory=directory,
            postgres_settings=postgres_settings,
            valkey_settings=valkey_settings,
            on_step=on_step,
        )
        self._pair: Pair | None = None

    def start(self) -> Self:
        """Start both and wait until they answer. Nothing happens if they were started.

        Raises:
            EmbeddedError: they cannot be had; its reason says why.
        """
        if not sys.platform.startswith("linux"):
            raise EmbeddedError("embedded_unsupported", "the embedded servers need Linux; give URLs of servers instead")
        if self._pair is None:
            self._pair = open_pair(self._wish)
        return self

    def stop(self) -> None:
        """Stop both in good order. Nothing happens if they were not started, or in a forked child."""
        pair, self._pair = self._pair, None
        if pair is not None and pair.owner == os.getpid():
            pair.undo.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def database_url(self) -> str:
        """`postgresql://…` of the database `receiver`; its user is a superuser."""
        return self.postgres.url

    @property
    def redis_url(self) -> str:
        """`redis://…`."""
        return self.valkey.url

    @property
    def postgres(self) -> PostgresServer:
        """The PostgreSQL server."""
        return self._started().postgres

    @property
    def valkey(self) -> ValkeyServer:
        """The Valkey server."""
        return self._started().valkey

    @property
    def home(self) -> Path:
        """Where the data are: the folder, or a place that a note in it names."""
        return self._started().home

    def binary(self, name: str) -> Path:
        """One of PostgreSQL's programs, such as `pgbench`.

        Raises:
            EmbeddedError: `embedded_missing`, there is no such program.
        """
        return self._started().binaries.postgres(name)

    def _started(self) -> Pair:
        if self._pair is None:
            raise EmbeddedError("embedded_not_running", "the embedded servers have not been started")
        return self._pair
