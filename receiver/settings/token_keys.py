"""The secrets that sign tokens, read from where the settings say."""

from pathlib import Path
from typing import Final

from receiver.errors import SettingsError
from receiver.settings.model import Settings
from receiver.settings.references import resolve

_SHORTEST: Final = 32


def token_keys(settings: Settings, folder: Path) -> list[bytes]:
    """The keys, newest first; none where none are set.

    Args:
        settings: as loaded.
        folder: what paths of `file:` references are relative to.

    Raises:
        SettingsError: a key is missing or too short.
    """
    keys = []
    for number, given in enumerate(settings.token_keys):
        setting = f"token_keys[{number}]"
        key = resolve(given, setting=setting, folder=folder).encode()
        if len(key) < _SHORTEST:
            raise SettingsError(f"{setting}: has {len(key)} bytes; at least {_SHORTEST}, and random ones")
        keys.append(key)
    return keys
