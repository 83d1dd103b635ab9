"""From files and environment to checked settings, or one error that names what is wrong."""

import os
import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

from receiver.errors import SettingsError
from receiver.settings.model import CONFIG_FILE, Settings
from receiver.settings.variables import ENV_FILE, SECRETS_DIR, did_you_mean, unknown_variables

_DEFAULT_SECRETS: Final = Path("/run/secrets")
"""Where Docker, Podman and Compose put secrets; a file there is named as its variable, e.g. `receiver_database_url`."""
_FIELD: Final = re.compile(r'for field "([^"]+)"')
_UNKNOWN: Final = "extra_forbidden"


def load(folder: Path | None = None, /, **overrides: object) -> Settings:
    """Settings from environment, `.env`, secrets directory and `receiver.toml`, each weaker than the one before.

    Args:
        folder: where `receiver.toml` and `.env` are looked for; default: the current one.
        overrides: settings that win over everything else; None means "not given".

    Raises:
        SettingsError: each line names a setting and what is wrong with it.
    """
    folder = folder or Path()
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        unknown = unknown_variables(folder)
        if unknown:
            raise SettingsError("\n".join(unknown))
        make: Callable[..., Settings] = _bound(folder)
        return make(**given)
    except ValidationError as error:
        raise SettingsError("\n".join(dict.fromkeys(_lines(error)))) from None
    except SourceError as error:
        raise SettingsError(_unreadable_value(str(error))) from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{folder / CONFIG_FILE}: {error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{folder / CONFIG_FILE} or {folder / ENV_FILE}: is not UTF-8 text") from None
    except OSError as error:
        raise SettingsError(f"{error.filename}: cannot be read: {error.strerror}") from None


def made(**given: object) -> Settings:
    """Settings from these values and the defaults alone, whatever the environment and the files say.

    Raises:
        SettingsError: as above.
    """
    make: Callable[..., Settings] = _Alone
    try:
        return make(**given)
    except ValidationError as error:
        raise SettingsError("\n".join(dict.fromkeys(_lines(error)))) from None


class _Alone(Settings):
    """Reads no source but its arguments."""

    model_config = SettingsConfigDict(toml_file=None, env_file=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The arguments."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def _bound(folder: Path) -> type[Settings]:
    """The settings with their files in `folder`."""

    class Here(Settings):
        model_config = SettingsConfigDict(
            toml_file=folder / CONFIG_FILE, env_file=folder / ENV_FILE, secrets_dir=_secrets_dir()
        )

    return Here


def _secrets_dir() -> Path | None:
    said = os.environ.get(SECRETS_DIR)
    if said is None:
        return _DEFAULT_SECRETS if _DEFAULT_SECRETS.is_dir() else None
    if not Path(said).is_dir():
        raise SettingsError(f"{SECRETS_DIR}: there is no folder {said}")
    return Path(said)


def _lines(error: ValidationError) -> list[str]:
    return [_line(part["loc"], part["type"], part["msg"]) for part in error.errors(include_input=False)]


def _line(location: Sequence[int | str], kind: str, message: str) -> str:
    name = ".".join(str(part) for part in location)
    if kind == _UNKNOWN:
        return f"{name}: unknown setting{did_you_mean(name, Settings.model_fields)}"
    return f"{name}: {message.removeprefix('Value error, ')}"


def _unreadable_value(message: str) -> str:
    """pydantic-settings says which field and which source, in a sentence; the value itself is not in it."""
    found = _FIELD.search(message)
    return f"{found[1]}: the value is not JSON, which a setting of several values must be" if found else message
