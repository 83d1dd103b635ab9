"""Providers that other packages bring: entry points in the group `receiver.providers`, looked up and looked over.

The entry point's name is the provider's, and it points at the class.
"""

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from receiver.errors import SettingsError
from receiver.sources.base import Provider

GROUP: Final = "receiver.providers"
_STATED: Final = tuple(name for name in Provider.__annotations__ if not hasattr(Provider, name))
"""What a class must say of its provider: all that has no default."""


@cache
def installed() -> Mapping[str, Sequence[EntryPoint]]:
    """What is installed, by name: more than one where packages claim the same."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, []).append(entry)
    return found


def brought(name: str) -> str:
    """Who brings the provider called `name`, for errors."""
    return " and ".join(_origin(entry) for entry in installed().get(name, ()))


@cache
def load(name: str) -> type[Provider]:
    """The class that is installed under `name`, which must be.

    Raises:
        SettingsError: several packages bring one, it cannot be imported, or is no complete provider of that name.
    """
    entry, *others = installed()[name]
    if others:
        raise SettingsError(f"provider: {name!r} is brought by {brought(name)}; let one of them go")
    origin = _origin(entry)
    try:
        found = entry.load()
    except Exception as error:  # whatever the package does when it is imported
        problem = f"{type(error).__name__}: {error}"
        raise SettingsError(f"provider: {name!r}, {origin}, cannot be imported: {problem}") from error
    return _checked(found, name, origin)


def _checked(found: object, name: str, origin: str) -> type[Provider]:
    if not (isinstance(found, type) and issubclass(found, Provider)):
        raise SettingsError(f"provider: {name!r}, {origin}, is no class below receiver.providers.Provider")
    lacking = [stated for stated in _STATED if not hasattr(found, stated)]
    if inspect.isabstract(found):
        lacking += sorted(found.__abstractmethods__)
    if lacking:
        raise SettingsError(f"provider: {name!r}, {origin}, is not complete: it lacks {', '.join(lacking)}")
    if found.name != name:
        raise SettingsError(f"provider: {name!r}, {origin}, calls itself {found.name!r}; let both be the same")
    return found


def _origin(entry: EntryPoint) -> str:
    return f"{entry.value} of {entry.dist.name if entry.dist else 'an unknown package'}"
