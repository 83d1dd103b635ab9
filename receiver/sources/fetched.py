"""Keys that a provider publishes: what is asked for, what came back, and what a provider does with it.

Verification asks nobody: a provider that lacks a key raises `KeyWanted`. Who fetches is `receiver/certificates`.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import msgspec

from receiver.errors import VerificationError


class KeyWanted(VerificationError):
    """A key is needed that is not here yet; the callback is neither genuine nor forged until it is.

    Args:
        key: what the key is called. It comes from outside, but only in a form that the provider has checked.
        document: what has to be fetched to get it; several keys may stand in one.
    """

    def __init__(self, key: str, document: str) -> None:
        """Keep both; the reason is `key_unavailable`."""
        super().__init__("key_unavailable")
        self.key = key
        self.document = document


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A GET over https, on the usual port. There is no URL that two parsers could read in two ways."""

    host: str
    """One of those that the provider's code names."""
    path: str
    """From the first slash on."""
    headers: dict[str, str] = {}


class KeyAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A document as it came, with status 200. It is kept so too, and checked again whenever it is taken out."""

    document: str
    """What was asked for."""
    at: float
    """When it came, Unix seconds."""
    headers: dict[str, str]
    """Those that the provider signs its answers with, by lower-case name."""
    body: bytes


class PublishedKeys(ABC):
    """What a provider can do, beside verifying, whose keys are fetched. It is asked on the event loop: quickly."""

    answer_headers: ClassVar[frozenset[str]] = frozenset()
    """Lower-case names of the headers that `accept` looks at."""

    @abstractmethod
    def request(self, document: str, now: float) -> KeyRequest:
        """How `document` is asked for at `now` (Unix seconds)."""

    @abstractmethod
    def accept(self, answer: KeyAnswer, now: float) -> None:
        """Check a document, fresh or kept, and know its keys from now on.

        Args:
            answer: untrusted, wherever it comes from.
            now: Unix seconds.

        Raises:
            VerificationError: it is not the provider's; nothing was changed.
        """

    @abstractmethod
    def knows(self, key: str) -> bool:
        """Whether that key need not be fetched any more."""
