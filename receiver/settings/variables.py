"""Environment variables that look like ours and are not: a misspelt setting must not be silently ignored."""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from receiver.settings.model import NESTED, PREFIX, Settings

ENV_FILE: Final = ".env"
SECRETS_DIR: Final = "RECEIVER_SECRETS_DIR"

_OWN: Final = frozenset({SECRETS_DIR, "RECEIVER_DEBUG", "RECEIVER_FAILPOINT", "RECEIVER_VECTORS"})
"""Read elsewhere: where secrets lie, tracebacks, crash points, the vectors of the tests."""
_OWN_PREFIX: Final = "RECEIVER_TEST_"
_NESTED_SETTINGS: Final = frozenset({"sources"})


def unknown_variables(folder: Path) -> list[str]:
    """One line for each variable of the environment and of `.env` that begins with RECEIVER_ and means nothing."""
    names = {name.upper(): name for name in (*os.environ, *env_file(folder))}
    return [f"{name}: unknown setting{_hint(upper)}" for upper, name in sorted(names.items()) if _unknown(upper)]


def env_file(folder: Path) -> dict[str, str | None]:
    """What stands in the `.env` of `folder`; nothing where there is none."""
    path = folder / ENV_FILE
    return dotenv_values(path, encoding="utf-8") if path.is_file() else {}


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error line: the known name that is most like `name`, if one is."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close else ""


def _unknown(name: str) -> bool:
    if not name.startswith(PREFIX) or name in _OWN or name.startswith(_OWN_PREFIX):
        return False
    setting, nested, _ = name.removeprefix(PREFIX).lower().partition(NESTED)
    return setting not in (_NESTED_SETTINGS if nested else Settings.model_fields)


def _hint(name: str) -> str:
    return did_you_mean(name, [PREFIX + field.upper() for field in Settings.model_fields])
