"""Keys that are good only for a time: a callback is verified by those that are good when it arrives, and no others.

To ask afterwards whether the key that matched was good would not do: while a provider changes its key it may sign with
both, and the old one may be found first although it has ended.
"""

from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from receiver.errors import SettingsError, VerificationError
from receiver.events import Callback, Verified
from receiver.sources.base import Provider
from receiver.sources.fetched import PublishedKeys
from receiver.sources.options import Option, labels, table, texts
from receiver.sources.windows import Window

_FOR_TESTS = "signing_"
"""How settings begin that play the provider: nothing is verified with them."""


def with_keys(kind: type[Provider], options: Mapping[str, Option], kept: Collection[str]) -> Provider:
    """The provider with some of its keys.

    Args:
        kind: its class.
        options: all of the source's.
        kept: settings of the keys that it gets, such as `secrets[0]`.

    Raises:
        SettingsError: they do not go together.
    """
    some = {name: _some(options, name, kept) if kind.settings[name].key else value for name, value in options.items()}
    some = {name: value for name, value in some.items() if value}
    try:
        return kind(some)
    except SettingsError:  # a key that plays the provider, and whose other half is not among them
        return kind({name: value for name, value in some.items() if not name.startswith(_FOR_TESTS)})


def _some(options: Mapping[str, Option], name: str, kept: Collection[str]) -> Option:
    chosen = [label in kept for label in labels(options, name)]
    whole = table(options, name)
    if whole:
        return {key: value for (key, value), wanted in zip(whole.items(), chosen, strict=True) if wanted}
    return tuple(value for value, wanted in zip(texts(options, name), chosen, strict=True) if wanted)


@dataclass(frozen=True, kw_only=True)
class _Span:
    """A time in which the same keys are good."""

    provider: Provider
    """With these alone."""
    indices: tuple[int, ...]
    """Where they stand among all; none: no key is good."""


class LiveKeys:
    """The keys of one source, some of which have a window.

    Args:
        every: the provider with all keys.
        options: all of the source's.
        windows: by the order in which verification counts the keys; those that are always good are left out.
    """

    def __init__(self, every: Provider, options: Mapping[str, Option], windows: Mapping[int, Window]) -> None:
        self._every = every
        self._windows = windows
        edges = {edge for window in windows.values() for edge in (window.not_before, window.not_after)}
        self._edges = sorted(edge for edge in edges if edge is not None)
        # Made once for each span of time: nothing is parsed on the way of a callback.
        self._spans = [self._span(options, moment) for moment in (float("-inf"), *self._edges)]

    def _span(self, options: Mapping[str, Option], moment: float) -> _Span:
        settings = self._every.key_labels(options)
        good = tuple(index for index in range(len(settings)) if self._closed(index, moment) is None)
        if not good:
            return _Span(provider=self._every, indices=())
        if isinstance(self._every, PublishedKeys):  # what is fetched is known to one of them, and all verify with it
            return _Span(provider=self._every, indices=tuple(range(len(settings))))
        try:
            return _Span(
                provider=with_keys(type(self._every), options, {settings[index] for index in good}), indices=good
            )
        except SettingsError:  # they need the others, as an intermediate certificate its root: then all are tried
            return _Span(provider=self._every, indices=tuple(range(len(settings))))

    def _closed(self, index: int, now: float) -> str | None:
        window = self._windows.get(index)
        return None if window is None else window.closed(now)

    def at(self, now: float) -> Provider:
        """The provider with the keys that are good at `now` (Unix seconds), or with all if none is."""
        return self._spans[bisect_right(self._edges, now)].provider

    def verify(self, callback: Callback, now: float) -> Verified:
        """Authenticate with the keys that are good at `now` (Unix seconds), then read.

        Raises:
            VerificationError: none of them signed it.
        """
        span = self._spans[bisect_right(self._edges, now)]
        try:
            matched = span.provider.authenticate(callback, now)
        except VerificationError as error:
            raise self._refusal(callback, now, error) from None
        # Where two settings hold the same key there are fewer places than keys.
        index = span.indices[min(matched, len(span.indices) - 1)] if span.indices else matched
        reason = self._closed(index, now)
        if reason is not None:
            raise VerificationError(reason)
        return Verified(facts=self._every.read(callback), secret=index)

    def _refusal(self, callback: Callback, now: float, error: VerificationError) -> VerificationError:
        """Why: the key that signed is not good now, or what was found wrong otherwise."""
        try:
            reason = self._closed(self._every.authenticate(callback, now), now)
        except VerificationError as other:
            return other
        return error if reason is None else VerificationError(reason)
