"""Providers that other packages bring: entry points in the group `receiver.providers`, looked up and looked over.

The entry point's name is the provider's, and it points at the class.
"""

import datetime as dt
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from importlib.metadata import EntryPoint, entry_points
from typing import Final

import msgspec

from receiver.errors import SettingsError
from receiver.events import Fact, Verified
from receiver.sources.base import Ack, Provider

GROUP: Final = "receiver.providers"
_STATED: Final = tuple(name for name in Provider.__annotations__ if not hasattr(Provider, name))
"""What a class must say of its provider: all that has no default."""
_SUCCESSES: Final = frozenset(status.value for status in HTTPStatus if str(status.value).startswith("2"))
_AS_THEY_ARE: Final = (bytes, dt.datetime)  # a text is not taken for base64, nor for a time


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


def check_answers(provider: Provider) -> None:
    """What a class from elsewhere would answer, before anybody asks. Raises SettingsError."""
    for wrong, problem in _wrong_answers(provider.acknowledgement(), provider.kept_headers()):
        if wrong:
            raise SettingsError(f"provider: {provider.name!r}: {problem}")


def _wrong_answers(ack: object, kept: Iterable[object]) -> Iterator[tuple[bool, str]]:
    if not isinstance(ack, Ack):
        yield True, "what acknowledgement() returns is no Ack"
        return
    status: object = ack.status
    body: object = ack.body
    kind: object = ack.content_type
    yield status not in _SUCCESSES, "the status of its acknowledgement is no success"
    yield not isinstance(body, bytes), "the body of its acknowledgement is not bytes"
    yield kind is not None and not _is_header(kind), "the content type of its acknowledgement is none"
    yield not all(isinstance(name, bytes) for name in kept), "its kept_headers are not bytes"


def _is_header(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


def looked_over(verified: Verified) -> Verified:
    """What a class from elsewhere has read, if all of it is what it should be. Raises TypeError or ValueError."""
    if not verified.facts:
        raise ValueError("the provider has read no fact in a callback, which would be lost")
    facts = [msgspec.convert(msgspec.structs.asdict(fact), Fact, builtin_types=_AS_THEY_ARE) for fact in verified.facts]
    if any(fact.occurred_at is not None and fact.occurred_at.utcoffset() is None for fact in facts):
        raise ValueError("occurred_at: has no zone, so it says no moment")
    return Verified(facts=tuple(facts), secret=msgspec.convert(verified.secret, int))


def _origin(entry: EntryPoint) -> str:
    return f"{entry.value} of {entry.dist.name if entry.dist else 'an unknown package'}"
