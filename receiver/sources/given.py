"""What a source was given: checks the shape of its settings and puts secrets in the place of references."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from receiver.errors import SettingsError
from receiver.settings import SourceSettings, resolve
from receiver.sources.base import Provider, Setting
from receiver.sources.options import Option
from receiver.sources.windows import Window, is_entry, read_window


def given_options(
    provider: type[Provider], given: Mapping[str, object], prefix: str, folder: Path, *, verified: bool
) -> dict[str, Option]:
    """The provider's options with every `env:` and `file:` read.

    Args:
        provider: knows which settings there are.
        given: what stands in the source's section beside `provider` and `verification`.
        prefix: the section's full name, for errors.
        folder: what paths are relative to.
        verified: whether what verification needs must be there.

    Raises:
        SettingsError: one line for each mistake.
    """
    problems = [_unknown(name, provider, prefix) for name in given if name not in provider.settings]
    options: dict[str, Option] = {}
    for name, setting in provider.settings.items():
        if name not in given:
            continue
        try:
            options[name] = _option(given[name], setting, f"{prefix}.{name}", folder)
        except SettingsError as error:
            problems.append(str(error))
    if verified:
        problems.extend(_missing(group, provider, prefix) for group in provider.needs if not _any(group, given))
    if problems:
        raise SettingsError("\n".join(problems))
    return options


def given_windows(provider: type[Provider], given: Mapping[str, object], prefix: str) -> dict[str, Window]:
    """What the settings say of single keys beside their values, by the label that `key_labels` gives them.

    Args:
        provider: knows which settings are keys.
        given: as in `given_options`.
        prefix: likewise.

    Raises:
        SettingsError: one line for each mistake.
    """
    found: dict[str, Window] = {}
    problems: list[str] = []
    for label, entry in _entries(provider, given):
        try:
            found[label] = read_window(entry, f"{prefix}.{label}")
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError("\n".join(problems))
    return found


def _entries(provider: type[Provider], given: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    for name, setting in provider.settings.items():
        value = _decoded(given.get(name), "{" if setting.mapping else "[") if setting.key else None
        if setting.mapping and isinstance(value, dict):
            yield from ((f"{name}.{key}", item) for key, item in value.items() if isinstance(item, dict))
        else:
            items = value if isinstance(value, list) else [value]
            yield from ((f"{name}[{index}]", item) for index, item in enumerate(items) if isinstance(item, dict))


def _unknown(name: str, provider: type[Provider], prefix: str) -> str:
    known = ", ".join([*SourceSettings.model_fields, *provider.settings])
    return f"{prefix}.{name}: unknown setting; {provider.name} has {known}"


def _missing(group: tuple[str, ...], provider: type[Provider], prefix: str) -> str:
    others = "".join(f", or {prefix}.{name}" for name in group[1:])
    return f"{prefix}.{group[0]}: is missing{others} ({provider.settings[group[0]].help})"


def _any(names: Iterable[str], given: Mapping[str, object]) -> bool:
    return any(name in given for name in names)


def _option(value: object, setting: Setting, name: str, folder: Path) -> Option:
    if setting.mapping:
        return _table(_decoded(value, "{"), name, folder, key=setting.key)
    if setting.many:
        return _list(_decoded(value, "["), name, folder, key=setting.key)
    if setting.number:
        return _number(value, name)
    if not isinstance(value, str):
        raise SettingsError(f"{name}: must be one string")
    if not setting.choices:
        return resolve(value, setting=name, folder=folder)
    if value not in setting.choices:
        raise SettingsError(f"{name}: {value!r} is none of {', '.join(map(repr, setting.choices))}")
    return value


def _number(value: object, name: str) -> float:
    """A number as TOML has it, or written out, as an environment variable has it."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not 0 <= number < math.inf:
        raise SettingsError(f"{name}: must be a number, zero or more")
    return number


def _list(value: object, name: str, folder: Path, *, key: bool) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    if not items:
        raise SettingsError(f"{name}: is empty")
    return tuple(_string(item, f"{name}[{index}]", folder, key=key) for index, item in enumerate(items))


def _table(value: object, name: str, folder: Path, *, key: bool) -> dict[str, str]:
    if not isinstance(value, dict):
        raise SettingsError(f"{name}: must be a table of names and strings")
    if not value:
        raise SettingsError(f"{name}: is empty")
    return {str(part): _string(item, f"{name}.{part}", folder, key=key) for part, item in value.items()}


def _string(value: object, name: str, folder: Path, *, key: bool) -> str:
    if key and isinstance(value, dict) and is_entry(value):
        value = value["value"]
    if not isinstance(value, str):
        raise SettingsError(f"{name}: must be a string")
    return resolve(value, setting=name, folder=folder)


def _decoded(value: object, opening: str) -> object:
    """Lists and tables come from environment variables as JSON; what only looks like it is a plain string."""
    if isinstance(value, str) and value.lstrip().startswith(opening):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
