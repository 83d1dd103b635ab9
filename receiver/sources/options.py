"""A source's settings as a provider's constructor takes them, and how it asks for them."""

from collections.abc import Mapping
from typing import TypeAlias

Option: TypeAlias = str | float | tuple[str, ...] | Mapping[str, str]
"""One setting after `env:` and `file:` were read: one string, a `number`, several (`many`) or a table (`mapping`)."""


def text(options: Mapping[str, Option], name: str) -> str | None:
    """The one value of `name`, or None."""
    value = options.get(name)
    return value if isinstance(value, str) else None


def number(options: Mapping[str, Option], name: str) -> float | None:
    """The number called `name`, or None."""
    value = options.get(name)
    return value if isinstance(value, float) else None


def texts(options: Mapping[str, Option], name: str) -> tuple[str, ...]:
    """The values of `name`, none where it was not given."""
    value = options.get(name, ())
    if isinstance(value, str):
        return (value,)
    return value if isinstance(value, tuple) else ()


def labels(options: Mapping[str, Option], name: str) -> tuple[str, ...]:
    """The names of the values of `name`, one by one: `name[0]`, or `name.key` of a table."""
    if isinstance(options.get(name), Mapping):
        return tuple(f"{name}.{key}" for key in table(options, name))
    return tuple(f"{name}[{index}]" for index in range(len(texts(options, name))))


def table(options: Mapping[str, Option], name: str) -> Mapping[str, str]:
    """The table called `name`, empty where it was not given."""
    value = options.get(name)
    return value if isinstance(value, Mapping) else {}
