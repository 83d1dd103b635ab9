"""The demo's folder: servers' data and a settings file, so that every other command works from inside it."""

import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import typer

from receiver.embedded import EmbeddedServers, discard
from receiver.embedded.ports import is_free
from receiver.operate.schema import bring_up
from receiver.settings import Settings, made
from receiver.settings.model import CONFIG_FILE

_PORT: Final = 8000
_OPERATOR_PORT: Final = 8001

Sources = Mapping[str, Mapping[str, object]]


@contextmanager
def opened(wanted: Path | None) -> Iterator[Path]:
    """The folder that was wanted, which is kept, or a temporary one, which is not.

    Raises:
        typer.BadParameter: it holds something already; figures of two demos would not add up.
    """
    if wanted is None:
        home = Path(tempfile.mkdtemp(prefix="receiver-demo-"))
        try:
            yield home
        finally:
            discard(home)
        return
    if wanted.exists() and (not wanted.is_dir() or any(wanted.iterdir())):
        raise typer.BadParameter(f"{wanted} is not a new or empty folder", param_hint="--dir")
    yield wanted.resolve()


@contextmanager
def served(
    home: Path, sources: Sources, port: int | None, operator_port: int | None, step: Callable[[str], None]
) -> Iterator[Settings]:
    """Servers over `home`, migrated, and settings that name them."""
    with EmbeddedServers(home, on_step=step) as servers:
        step("migrating")
        bring_up(servers.database_url)
        yield made(
            database_url=servers.database_url,
            redis_url=servers.redis_url,
            sources=sources,
            port=_free(port, _PORT),
            operator_port=_free(operator_port, _OPERATOR_PORT),
        )


def write_settings(home: Path, sources: Sources, port: int) -> None:
    """A settings file for other commands, readable by its owner only: it holds the made-up keys."""
    lines = [f"embedded = {json.dumps(str(home))}", f"port = {port}"]
    for name, values in sources.items():
        # Strings and lists of strings are written in TOML as in JSON.
        lines += ["", f"[sources.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    descriptor = os.open(home / CONFIG_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def program_name() -> str:
    """What to type to run this program, from any folder."""
    called = Path(sys.argv[0])
    if called.name != "receiver":
        return f"{shlex.quote(sys.executable)} -m receiver"
    found = shutil.which("receiver")
    if found is not None and Path(found).resolve() == called.resolve():
        return "receiver"
    return shlex.quote(str(called.absolute()))


def _free(wanted: int | None, default: int) -> int:
    """The port that was wanted, or the default one, or any that is free."""
    if wanted is not None:
        return wanted
    return default if is_free(default) else 0
