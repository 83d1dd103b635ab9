"""What every command has in common: help, exit codes, clean channels, one line for each mistake."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from receiver.cli.exits import MEANINGS, Exit
from receiver.cli.options import State
from receiver.storage import views

COMMANDS = (
    "demo", "up", "migrate", "serve", "work", "send", "verify", "doctor", "events list", "events show", "dead list",
    "replay", "sources list",
)  # fmt: skip
HEAVY = {"sqlalchemy", "fastapi", "pydantic", "alembic", "httpx", "rich", "asyncpg", "redis", "cryptography", "uvicorn"}
UNREACHABLE = "postgresql://u:the-password@127.0.0.1:1/d"


def test_help_names_every_command_and_every_exit_code(cli: Callable[..., "Ended"]) -> None:  # noqa: F821
    said = cli("--help")
    assert said.code == 0
    assert said.err == ""
    assert all(f"  {command.split()[0]} " in said.out for command in COMMANDS)
    assert all(f"{code.value}" in said.out and meaning in said.out for code, meaning in MEANINGS.items())
    assert "..." not in said.out, "a one-line description was cut"
