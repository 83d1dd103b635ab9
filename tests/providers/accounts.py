"""An account of each provider and one of a stranger's, made up by the provider's class alone."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from receiver.events import Callback
from receiver.settings import made
from receiver.sources import PROVIDERS, Provider, Signed, Source, build_sources, made_up
from receiver.sources.template import headers_in
from tests.ingress.wire import request

RETIRED = "2020-01-01T00:00:00Z"
MARKER = "ordermarker"
"""Stands in the entity of each callback, so that an echo of one can be found."""
UNIQUE = "123456789012345"


@dataclass(frozen=True)
class Account:
    """A configured source, and the provider on the other side of it."""

    id: str
    """The provider's name; or, where a provider has several kinds of keys, that and the one kind of this account."""
    settings: Mapping[str, object]
    source: Source

    @property
    def kind(self) -> type[Provider]:
        """The provider's class."""
        return PROVIDERS[str(self.settings["provider"])]

    def payload(self, what: str | None = None, unique: str = UNIQUE, now: float | None = None) -> dict[str, object]:
        """A sample, the first unless it is named; its event was created at `now`."""
        word = what or next(iter(self.kind.samples))
        created = int(time.time() if now is None else now)
        event = self.kind.sample_id(unique, created)
        return self.kind.sample(word, external_id=event, entity_id=f"{MARKER}{unique}", created=created)

    def sent(self, what: str | None = None, *, now: float | None = None) -> Callback:
        """A sample as the provider sends it at `now`."""
        return arrived(self.source.sign(self.payload(what, now=now), time.time() if now is None else now))

    def sealed(self, body: bytes) -> Callback:
        """Any bytes at all, signed now, with the headers that go along with the first sample."""
        return arrived(self.source.provider.seal(body, time.time(), headers_in(self.payload())))


def arrived(signed: Signed) -> Callback:
    """What arrives when `signed` is sent."""
    headers = [(name.lower().encode(), value.encode()) for name, value in signed.headers]
    return Callback(method="POST", headers=headers, body=signed.body, query=signed.query.encode())


def wire(callback: Callback, source: str, *, asgi: bool = False) -> bytes:
    """The request that brings it.

    Args:
        callback: to be sent.
        source: it is sent to.
        asgi: by the door for what is no plain POST; a client that asks before it sends the body is shown there.
    """
    path = f"/callbacks/{source}" + (f"?{callback.query.decode()}" if callback.query else "")
    asking = [(b"Expect", b"100-continue")] if asgi else []
    return request(path, [*callback.headers, *asking], callback.body, method=callback.method)


def _settings() -> dict[str, dict[str, object]]:
    """What `made_up` says, taken apart where one of several kinds of keys is enough: else one would hide the others."""
    found: dict[str, dict[str, object]] = {}
    for name, kind in PROVIDERS.items():
        settings = made_up(name)
        choices = [name for group in kind.needs if len(group) > 1 for name in group if name in settings]
        if len(choices) < 2:
            found[name] = settings
            continue
        for choice in choices:
            # A shared secret signs by itself; a public key needs the private one that belongs to it.
            idle = {"signing_key"} if kind.settings[choice].secret else set()
            dropped = {*choices, *idle} - {choice}
            found[f"{name}-{choice}"] = {one: value for one, value in settings.items() if one not in dropped}
    return found


SETTINGS = _settings()
IDS = tuple(SETTINGS)


@cache
def account(id_: str) -> Account:
    """The account of ours."""
    return _built(id_, SETTINGS[id_])


@cache
def stranger(id_: str) -> Account:
    """Somebody else's account of the same provider."""
    fresh = made_up(str(SETTINGS[id_]["provider"]))
    return _built(id_, {setting: fresh[setting] for setting in SETTINGS[id_]})


def retired(id_: str) -> dict[str, object]:
    """The settings of our account, when all its keys are good no more."""
    settings = dict(account(id_).settings)
    for setting, described in account(id_).kind.settings.items():
        value = settings.get(setting)
        if not described.key or value is None:
            continue
        if isinstance(value, Mapping):
            settings[setting] = {label: _expired(key) for label, key in value.items()}
        else:
            settings[setting] = [_expired(key) for key in (value if isinstance(value, list) else [value])]
    return settings


def secrets_of(accounts: list[Account]) -> set[bytes]:
    """All that must never be seen: what the classes call secret, and of a key in PEM one line of its middle."""
    found: set[bytes] = set()
    for one in accounts:
        for setting, described in one.kind.settings.items():
            if described.secret and setting in one.settings:
                found |= {_middle(text).encode() for text in _texts(one.settings[setting])}
    return found


def _built(id_: str, settings: Mapping[str, object]) -> Account:
    return Account(id_, settings, build_sources(made(sources={id_: settings}), Path())[id_])


def _expired(key: object) -> dict[str, object]:
    return {"value": key, "not_after": RETIRED}


def _texts(value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    return [text for part in value for text in _texts(part)] if isinstance(value, list) else [str(value)]


def _middle(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[len(lines) // 2]
