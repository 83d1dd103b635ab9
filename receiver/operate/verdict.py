"""Checks a captured callback offline and says whether its provider sent it, or why not."""

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Fact
from receiver.operate.diagnosis import diagnose
from receiver.operate.hints import hint
from receiver.sources import Provider, Source, find_provider
from receiver.sources.given import given_options


class StatedFact(msgspec.Struct, frozen=True, kw_only=True):
    """What the callback states."""

    id: str | None
    type: str | None
    entity: str | None
    occurred_at: dt.datetime | None
    odd: str | None
    """Why it would go to quarantine; None: it would be handled."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of `receiver verify`. Holds no secret and no expected signature."""

    valid: bool
    provider: str
    at: int
    """Unix seconds for which it was checked."""
    key: str | None = None
    """The setting whose key matched, such as `secrets[0]`, as it is stored with an event."""
    id: str | None = None
    type: str | None = None
    entity: str | None = None
    facts: tuple[StatedFact, ...] = ()
    """All of them, where a callback states several; the first one's id, type and entity stand above."""
    reason: str | None = None
    hint: str | None = None
    """What usually causes this."""
    found: str | None = None
    """What was found out about this very callback."""


def judge(source: Source, callback: Callback, at: float, others: Mapping[str, Source] | None = None) -> Verdict:
    """Verify `callback` as if it had arrived at `at`.

    Args:
        source: with the keys to check with.
        callback: as captured.
        at: Unix seconds.
        others: further sources of the same provider, whose keys may match instead.
    """
    provider = source.provider
    try:
        verified = source.proved(callback, at)
    except VerificationError as error:
        found = diagnose(provider, callback, error.reason, at) or _signed_for_another(callback, at, others or {})
        return Verdict(
            valid=False, provider=provider.name, at=int(at), reason=error.reason, hint=hint(error.reason), found=found
        )
    facts = tuple(_stated(fact) for fact in verified.facts)
    first = facts[0] if facts else _stated_nothing()
    return Verdict(
        valid=True,
        provider=provider.name,
        at=int(at),
        key=source.key_label(verified.secret),
        id=first.id,
        type=first.type,
        entity=first.entity,
        facts=facts,
    )


def source_with(name: str, keys: Sequence[str], folder: Path) -> Source:
    """A source with keys from the command line.

    Args:
        name: of the provider.
        keys: `NAME=VALUE`, or `NAME.PART=VALUE` for a setting that is a table; values may be `env:` or `file:`.
        folder: what relative paths are relative to.

    Raises:
        SettingsError: one is malformed, unknown or missing.
    """
    kind = find_provider(name)
    options = given_options(kind, _given(kind, keys), "--key", folder, verified=True)
    try:
        return Source(name="--key", provider=kind(options), verified=True, key_labels=kind.key_labels(options))
    except SettingsError as error:
        raise SettingsError(f"--key {error}") from None


def chosen_source(
    kind: type[Provider], name: str | None, sources: Mapping[str, Source]
) -> tuple[Source, Mapping[str, Source]]:
    """A configured source, and the others of its provider.

    Args:
        kind: the provider.
        name: of the source; None takes the only one of that provider.
        sources: all that are configured.

    Raises:
        SettingsError: there is none, or more than one, or it verifies nothing.
    """
    same = {found.name: found for found in sources.values() if found.provider.name == kind.name}
    if name is not None and name not in same:
        raise SettingsError(f"--source: no source of {kind.name} is called {name!r}; {_known(same)}")
    if name is None and len(same) != 1:
        question = (
            "which of them is meant? say --source NAME" if same else f"give --key NAME=VALUE: {keys_wanted(kind)}"
        )
        raise SettingsError(f"sources: {_known(same)}; {question}")
    chosen = same.pop(name or next(iter(same)))
    if not chosen.verified:
        raise SettingsError(f"sources.{chosen.name}.verification: is none, so there are no keys to check with")
    return chosen, {other: source for other, source in same.items() if source.verified}


def keys_wanted(kind: type[Provider]) -> str:
    """The settings that verification with `kind` needs, for an error message."""
    groups = (" or ".join(f"{name} ({kind.settings[name].help})" for name in group) for group in kind.needs)
    return f"{kind.name} needs {'; and '.join(groups)}"


def _given(kind: type[Provider], keys: Sequence[str]) -> dict[str, object]:
    lists: dict[str, list[str]] = {}
    tables: dict[str, dict[str, str]] = {}
    for key in keys:
        name, equals, value = key.partition("=")
        if not equals:
            raise SettingsError(f"--key {name}: is not of the form NAME=VALUE; {keys_wanted(kind)}")
        setting, dot, part = name.partition(".")
        if dot:
            tables.setdefault(setting, {})[part] = value
        else:
            lists.setdefault(setting, []).append(value)
    singles = {name: values[0] if len(values) == 1 else values for name, values in lists.items()}
    return {**singles, **tables}


def _known(same: Mapping[str, Source]) -> str:
    return f"configured are {', '.join(same)}" if same else "none of this provider is configured"


def _signed_for_another(callback: Callback, at: float, others: Mapping[str, Source]) -> str | None:
    for name, source in others.items():
        try:
            source.provider.authenticate(callback, at)
        except VerificationError:
            continue
        return f"a key of the source {name} matches: it was sent to the wrong URL, or for that account"
    return None


def _stated(fact: Fact) -> StatedFact:
    return StatedFact(
        id=fact.external_id, type=fact.type, entity=fact.entity_id, occurred_at=fact.occurred_at, odd=fact.odd
    )


def _stated_nothing() -> StatedFact:
    return StatedFact(id=None, type=None, entity=None, occurred_at=None, odd=None)
