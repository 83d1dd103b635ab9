"""What `receiver send` can make up."""

from collections.abc import Iterable

import msgspec

from receiver.settings import Settings
from receiver.sources import Provider, find_provider, provider_names


class SampleRow(msgspec.Struct, frozen=True, kw_only=True):
    """One sample."""

    provider: str
    word: str
    """Which all providers share as far as they have such an event."""
    type: str
    """The provider's own."""


def samples(settings: Settings, name: str | None) -> list[SampleRow]:
    """The samples of a source's provider, of a provider, or of all.

    Args:
        settings: for the sources.
        name: of a source or of a provider; None: all providers.

    Raises:
        SettingsError: there is no such source and no such provider.
    """
    names: Iterable[str] = provider_names()
    if name is not None:
        names = [settings.sources[name].provider if name in settings.sources else name]
    return [row for found in names for row in _rows(find_provider(found))]


def _rows(kind: type[Provider]) -> list[SampleRow]:
    return [SampleRow(provider=kind.name, word=word, type=sample.type) for word, sample in kind.samples.items()]
