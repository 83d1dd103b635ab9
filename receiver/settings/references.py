"""How a setting names a secret without holding it: `env:NAME` and `file:PATH`."""

import os
from pathlib import Path

from receiver.errors import SettingsError
from receiver.settings.variables import ENV_FILE, env_file


def resolve(value: str, *, setting: str, folder: Path) -> str:
    """The secret that `value` refers to, or `value` itself where it is no reference.

    Args:
        value: `env:NAME`, `file:PATH` or the secret in clear.
        setting: the setting's full name, for the error.
        folder: what a relative PATH is relative to, and whose `.env` holds what the environment does not.

    Raises:
        SettingsError: the variable is not set, the file cannot be read, or what they hold is blank or no text.
    """
    if value.startswith("env:"):
        secret = _variable(value.removeprefix("env:"), setting, folder)
    elif value.startswith("file:"):
        secret = _read(folder / value.removeprefix("file:"), setting)
    else:
        secret = value
    if not secret.strip():
        raise SettingsError(f"{setting}: is empty")
    if not _encodable(secret):
        raise SettingsError(f"{setting}: is not UTF-8 text")
    return secret


def _encodable(secret: str) -> bool:
    """False where a variable holds bytes that are no UTF-8: Python hides them in surrogates."""
    try:
        secret.encode()
    except UnicodeEncodeError:
        return False
    return True


def _variable(name: str, setting: str, folder: Path) -> str:
    if not name:
        raise SettingsError(f"{setting}: env: names no environment variable")
    secret = os.environ.get(name)
    if secret is None:
        try:
            secret = env_file(folder).get(name)
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{setting}: cannot read {folder / ENV_FILE}") from error
    if secret is None:
        raise SettingsError(f"{setting}: the environment variable {name} is not set")
    return secret


def _read(path: Path, setting: str) -> str:
    try:
        # A file written by an editor or a secret store ends in a newline that is not part of the secret.
        # One written by an editor of Windows may begin with a byte-order mark, which is not part of it either.
        return path.read_text(encoding="utf-8-sig").strip("\r\n")
    except OSError as error:
        raise SettingsError(f"{setting}: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{setting}: {path} is not UTF-8 text") from error
    except ValueError as error:
        raise SettingsError(f"{setting}: file: names no file, for there is a NUL in it") from error
