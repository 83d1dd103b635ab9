"""Makes sample callbacks to send: fresh events, and among them resends of earlier ones."""

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from receiver.errors import SettingsError
from receiver.operate.errors import PayloadWrong
from receiver.sources import Source
from receiver.sources.documents import UnreadableError
from receiver.sources.template import Sample, filled

_UNIQUE: Final = 12
"""Hexadecimal digits of a made-up id: enough for millions of them."""

Payload = dict[str, object]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What to send from one source."""

    source: Source
    kind: str
    """A word such as `paid`, or one of the provider's event types."""
    payload: Mapping[str, object] | None = None
    """The sender's own, with places `{id}`, `{entity}` and `{created}`; None: the provider's sample."""
    changes: tuple[tuple[str, object], ...] = ()
    """Paths such as `data.object.amount`, each with its new value."""


def payloads(recipe: Recipe, count: int, duplicates: float, created: int) -> Iterator[Payload]:
    """`count` payloads, of which the given share repeats an earlier one.

    Args:
        recipe: what each of them is.
        count: how many in all.
        duplicates: share of resends, from 0 to below 1; spread evenly, the same ones at each call.
        created: Unix seconds of the events' creation.

    Raises:
        PayloadWrong: there is no such sample, or a change leads nowhere.
    """
    fresh: list[Payload] = []
    for index in range(count):
        is_resend = int((index + 1) * duplicates) > int(index * duplicates)
        if is_resend and fresh:
            yield fresh[index * 7919 % len(fresh)]  # a prime: near and far ones in turn
            continue
        fresh.append(compose(recipe, f"{secrets.token_hex(_UNIQUE // 2)}", created))
        yield fresh[-1]


def check(recipe: Recipe) -> None:
    """Make and sign one, so that a mistake shows before anything is sent.

    Raises:
        PayloadWrong: as above, or it cannot be written as a body.
        SettingsError: the source has no key to sign with.
    """
    try:
        recipe.source.sign(compose(recipe, "0", 0), 0)
    except UnicodeEncodeError:
        raise PayloadWrong("half of a surrogate pair stands in it, which no UTF-8 body can hold") from None
    except UnreadableError as error:
        raise PayloadWrong(f"cannot be written as {recipe.source.provider.title} does: {error.reason}") from None
    except RecursionError:
        raise PayloadWrong("is nested too deeply to be written") from None


def compose(recipe: Recipe, unique: str, created: int, entity_id: str | None = None) -> Payload:
    """One payload.

    Args:
        recipe: what it is.
        unique: tells its event from others of the same second.
        created: Unix seconds.
        entity_id: the payment or order that it is about; default: one of its own.

    Raises:
        PayloadWrong: as above.
    """
    provider = recipe.source.provider
    entity_id = entity_id or f"order-{unique}"
    external_id = provider.sample_id(unique, created)
    if recipe.payload is not None:
        sample = Sample(type=recipe.kind, payload=recipe.payload)
        payload = filled(sample, external_id=external_id, entity_id=entity_id, created=created)
    else:
        try:
            payload = provider.sample(recipe.kind, external_id=external_id, entity_id=entity_id, created=created)
        except SettingsError as error:
            raise PayloadWrong(str(error)) from None
    for path, value in recipe.changes:
        _put(payload, path, value)
    return payload


def parse_change(text: str) -> tuple[str, object]:
    """`data.object.amount=4200` as a path and a value: JSON where it is JSON, else the text itself.

    Raises:
        PayloadWrong: there is no path or no equals sign.
    """
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise PayloadWrong(f"--set {text}: is not of the form PATH=VALUE, such as data.object.amount=4200")
    try:
        return path, json.loads(value)
    except (ValueError, RecursionError):
        return path, value


def _put(payload: Payload, path: str, value: object) -> None:
    *parents, last = path.split(".")
    here: object = payload
    for name in parents:
        here = _below(here, name, path)
    if isinstance(here, dict):
        here[last] = value
    elif isinstance(here, list) and last.isdigit() and int(last) < len(here):
        here[int(last)] = value
    else:
        raise PayloadWrong(f"{path}: there is nothing that could hold {last!r}")


def _below(here: object, name: str, path: str) -> object:
    if isinstance(here, dict) and name in here:
        return here[name]
    if isinstance(here, list) and name.isdigit() and int(name) < len(here):
        return here[int(name)]
    known: Sequence[str] = list(here) if isinstance(here, dict) else []
    raise PayloadWrong(f"{path}: there is no {name!r}; there is {', '.join(known) or 'nothing below'}")
