"""Where Postgres and Redis come from: `--embedded DIR`, or the URLs of the settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from receiver.embedded import EmbeddedError, find_running
from receiver.errors import SettingsError, StoreUnavailable
from receiver.settings import Settings, load

if TYPE_CHECKING:
    from receiver.storage.engine import Connection

FOLDER = Path()
"""Settings and relative paths are looked for in the current folder."""


def settings_with_servers(embedded: Path | None, **overrides: object) -> Settings:
    """The settings with both URLs filled in, from the command line's folder or their own.

    Args:
        embedded: from the command line; wins over everything.
        overrides: further options of the command line; None means "not given".

    Raises:
        SettingsError: a setting is wrong, or it cannot be known which servers are meant.
        EmbeddedError: no servers run in the folder.
    """
    settings = load(FOLDER, **overrides)
    folder = chosen_folder(settings, embedded)
    if folder is None:
        return settings
    running = find_running(folder)
    if running is None:
        raise EmbeddedError(
            "embedded_not_running",
            f"no servers run over {folder}; start them in another terminal: receiver up --embedded {folder}",
        )
    return settings.model_copy(update={"database_url": running.database_url, "redis_url": running.redis_url})


def chosen_folder(settings: Settings, embedded: Path | None) -> Path | None:
    """The folder of embedded servers that was asked for, if any.

    Raises:
        SettingsError: the settings ask for both kinds of servers.
    """
    if embedded is not None or settings.embedded is None:
        return embedded
    if settings.database_url is not None or settings.redis_url is not None:
        raise SettingsError("embedded: is set together with database_url or redis_url; leave one out")
    return settings.embedded


def database_url(settings: Settings) -> str:
    """The URL of Postgres. Raises SettingsError."""
    return _required(settings.database_url, "database_url", "postgresql://user:password@host:5432/database")


def redis_url(settings: Settings) -> str:
    """The URL of Redis. Raises SettingsError."""
    return _required(settings.redis_url, "redis_url", "redis://host:6379/0")


def _required(value: str | None, name: str, example: str) -> str:
    if value is None:
        raise SettingsError(
            f"{name}: is not set; say RECEIVER_{name.upper()}={example}, or --embedded DIR for servers of our own"
        )
    return value


@asynccontextmanager
async def opened_database(embedded: Path | None) -> AsyncIterator["Connection"]:
    """A connection to the database that is meant. Raises as `settings_with_servers` and `operate.database` do.

    Raises:
        typer.BadParameter: what was asked for is no text. File names may be none, so not all arguments are looked at.
    """
    from receiver.operate.database import database

    try:
        async with database(database_url(settings_with_servers(embedded))) as connection:
            yield connection
    except StoreUnavailable as error:
        refused = error.__cause__ and error.__cause__.__cause__
        if not isinstance(refused, UnicodeEncodeError):
            raise
        raise typer.BadParameter(f"{refused.object!r} holds bytes that are no text in this system's encoding") from None
