"""From settings to sources: accounts with parsed keys, or one error that names everything that is wrong."""

import datetime as dt
import json
import re
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from receiver.errors import SettingsError
from receiver.events import INTERNAL, Callback, Verified
from receiver.settings import Settings, SourceSettings
from receiver.sources.base import Provider, Signed
from receiver.sources.given import given_options, given_windows
from receiver.sources.installed import check_answers, looked_over
from receiver.sources.live import LiveKeys
from receiver.sources.lock import Lock, callback_signer, lock_of
from receiver.sources.options import Option
from receiver.sources.providers import find_provider, is_built_in
from receiver.sources.windows import Window

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """One configured account of a provider."""

    name: str
    """As in `/callbacks/{name}`."""
    provider: Provider
    """The scheme, with this account's keys."""
    verified: bool
    """False where the settings say `verification = "none"`: facts are taken from anybody."""
    confirm: str | None = None
    """What asks whether its events are so: `provider`, or `module:function`."""
    key_labels: tuple[str, ...] = ()
    """What operators call the keys, in the order in which verification counts them."""
    windows: Mapping[int, Window] = field(default_factory=dict)
    """When keys are good, by that order; those that are always good are left out."""
    live: LiveKeys | None = None
    """Verifies where some keys are good only for a time; None: all of them always are."""
    lock: Lock | None = None
    """Wants a token of the merchant's own with each callback; None: it wants none."""
    options: Mapping[str, Option] = field(default_factory=dict, repr=False)
    """Its settings, secrets among them."""

    @property
    def key_settings(self) -> tuple[str, ...]:
        """Where the keys stand, in the same order."""
        return self.provider.key_labels(self.options)

    def key_label(self, index: int) -> str | None:
        """What operators call the key that matched, None where nothing was verified."""
        return self.key_labels[index] if 0 <= index < len(self.key_labels) else None

    def same_as(self, other: "Source") -> bool:
        """Whether the settings of both say the same, keys and all."""
        return (
            (self.name, type(self.provider), self.verified, self.confirm, self.key_labels)
            == (other.name, type(other.provider), other.verified, other.confirm, other.key_labels)
            and self.windows == other.windows
            and self.lock == other.lock
            and self.options == other.options
        )

    def verify(self, callback: Callback, now: float) -> Verified:
        """The facts in `callback`, if its provider sent it at `now` (Unix seconds), with a token if one is wanted.

        Raises:
            VerificationError: it did not.
        """
        if not self.verified:
            return Verified(facts=self.provider.read(callback), secret=-1)
        if self.live is not None:
            return self.live.verify(callback, now)
        return self.provider.verify(callback, now)

    def proved(self, callback: Callback, now: float) -> Verified:
        """The same, whatever token came along: for what was once captured."""
        return self.verify(callback, now)

    def address_end(self, now: float) -> str:
        """What stands behind the name in an address at `now` (Unix seconds): a new token, if one is wanted there."""
        return "" if self.lock is None else self.lock.address_end(self.name, now)

    def content(self, body: bytes) -> object:
        """What handlers get as `event.data`. Raises ValueError if the body cannot be read."""
        return self.provider.content(body)

    def sign(self, payload: Mapping[str, object], now: float) -> Signed:
        """The callback that the provider would send at `now` (Unix seconds), with a key that is good then if it can.

        Raises:
            SettingsError: the source has no key to sign with; the message begins with the setting's full name.
        """
        if self.live is not None:
            with suppress(SettingsError):  # the key that signs may belong to one that is not good
                return self.live.at(now).sign(payload, now)
        try:
            return self.provider.sign(payload, now)
        except SettingsError as error:
            raise SettingsError(f"sources.{self.name}.{error}") from None


class _Brought(Source):
    """Of a provider that another package brings: what it reads is looked over before it is stored."""

    def verify(self, callback: Callback, now: float) -> Verified:
        """As `Source.verify`, and TypeError or ValueError where the class returns what it should not."""
        return looked_over(super().verify(callback, now))


class _Locked(Source):
    """With a lock. A class of its own, since what has none should not even look for one."""

    def verify(self, callback: Callback, now: float) -> Verified:
        """As `Source.verify`, and the lock opened."""
        proved = super().verify(callback, now)
        return proved if self.lock is None else self.lock.opened(self, callback, proved, now)

    def proved(self, callback: Callback, now: float) -> Verified:
        """Without the lock."""
        return super().verify(callback, now)


class _BroughtLocked(_Locked, _Brought):
    """Both: it is looked over first."""


_KINDS: Final[Mapping[tuple[bool, bool], type[Source]]] = {
    (True, False): Source,
    (True, True): _Locked,
    (False, False): _Brought,
    (False, True): _BroughtLocked,
}
"""By whether the provider is built in, and whether there is a lock."""


def build_sources(settings: Settings, folder: Path) -> dict[str, Source]:
    """Every configured source, by name.

    Args:
        settings: as loaded.
        folder: what the paths of `file:` references are relative to.

    Raises:
        SettingsError: one line for each mistake, beginning with the setting's full name.
    """
    problems: list[str] = []
    found: dict[str, Source] = {}
    for name, source in settings.sources.items():
        try:
            found[name] = _source(name, source, settings, folder)
        except SettingsError as error:
            problems.extend(str(error).splitlines())
        except Exception as error:  # noqa: BLE001  whatever a class from elsewhere does; its message may hold a secret
            problems.append(f"sources.{name}.provider: {source.provider!r} cannot be set up: {_where(error)}")
    if problems:
        raise SettingsError("\n".join(problems))
    return found


def _where(error: Exception) -> str:
    *_, place = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} at {place.filename}:{place.lineno}"


def _source(name: str, settings: SourceSettings, whole: Settings, folder: Path) -> Source:
    prefix = f"sources.{name}"
    if not _NAME.fullmatch(name):
        quoted = json.dumps(name, ensure_ascii=False)  # as such a name is written in the settings file
        raise SettingsError(f"sources.{quoted}: a name has up to 64 letters, digits, dots, hyphens and underscores")
    if name == INTERNAL:
        raise SettingsError(f"{prefix}: this name is kept for events that handlers emit")
    provider = _provider(settings.provider, prefix)
    if provider.retry_horizon > dt.timedelta(days=whole.retention_days):
        hours = provider.retry_horizon // dt.timedelta(hours=1)
        raise SettingsError(
            f"retention_days: {whole.retention_days} is too short for {prefix}: "
            f"{provider.title} repeats for {hours} hours"
        )
    verified = settings.verification != "none"
    given = settings.model_extra or {}
    options = given_options(provider, given, prefix, folder, verified=verified)
    named = given_windows(provider, given, prefix)
    try:
        built = provider(options)
        if not is_built_in(provider):
            check_answers(built)
        where = provider.key_labels(options)
        windows = {index: named[setting] for index, setting in enumerate(where) if setting in named}
        live = LiveKeys(built, options, windows) if any(w.limited for w in windows.values()) else None
    except SettingsError as error:
        raise SettingsError(f"{prefix}.{error}") from None
    lock = lock_of(prefix, settings, provider, callback_signer(whole, folder) if settings.token else None)
    return _KINDS[is_built_in(provider), lock is not None](
        name=name,
        provider=built,
        verified=verified,
        key_labels=_labels(where, named, prefix),
        windows=windows,
        live=live,
        options=options,
        confirm=settings.confirm,
        lock=lock,
    )


def _labels(where: Sequence[str], named: Mapping[str, Window], prefix: str) -> tuple[str, ...]:
    """The keys' names, else their settings. One name for two would hide which of them is still used."""
    taken: dict[str, str] = {}
    labels = []
    for setting in where:
        label = (named[setting].name if setting in named else None) or setting
        if taken.setdefault(label, setting) != setting:
            raise SettingsError(f"{prefix}.{setting}.name: {label!r} is what {taken[label]} is called")
        labels.append(label)
    return tuple(labels)


def _provider(name: str, prefix: str) -> type[Provider]:
    try:
        return find_provider(name)
    except SettingsError as error:
        raise SettingsError(f"{prefix}.{error}") from error
