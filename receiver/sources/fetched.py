"""Keys that a provider publishes: what is asked for, what came back, and what a provider does with it.

Verification asks nobody: a provider that lacks a key raises `KeyWanted`. Who fetches is `receiver/certificates`.
"""

from abc import ABC, abstractmethod

import msgspec

from receiver.errors import VerificationError


class KeyWanted(VerificationError):
    """A key is needed that is not here yet; the callback is neither genuine nor forged until it is.

    Args:
        name: what the key is called among those of its source. It comes from outside, but only in a form that the
            provider has checked.
    """

    def __init__(self, name: str) -> None:
        """Keep the name; the reason is `key_unavailable`."""
        super().__init__("key_unavailable")
        self.name = name


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A GET over https, on the usual port. There is no URL that two parsers could read in two ways."""

    host: str
    """One of those that the provider's class names."""
    path: str
    """From the first slash on."""
    headers: dict[str, str] = {}


class KeyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back, with status 200. It is kept as it came, and checked again whenever it is taken out."""

    name: str
    """The key's."""
    at: float
    """When it came, Unix seconds."""
    headers: dict[str, str]
    """Those that the provider signs its answers with, by lower-case name."""
    body: bytes


class PublishedKeys(ABC):
    """What a provider can do, beside verifying, whose keys are fetched."""

    answer_headers: frozenset[str] = frozenset()
    """Lower-case names of the headers that `accept` looks at."""

    @property
    @abstractmethod
    def fetches(self) -> bool:
        """Whether this account may fetch at all; without, a key that is not configured is unknown for good."""

    @abstractmethod
    def request(self, name: str, now: float) -> KeyRequest:
        """How the key called `name` is asked for at `now` (Unix seconds)."""

    @abstractmethod
    def accept(self, answer: KeyAnswer, now: float) -> None:
        """Check what came back, or what was kept of it, and know its keys from now on.

        Args:
            answer: untrusted, wherever it comes from.
            now: Unix seconds.

        Raises:
            VerificationError: it is not the provider's; nothing was changed.
        """
