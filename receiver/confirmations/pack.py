"""What a confirmation that comes along is made of."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, TypeAlias

from receiver.events import Event
from receiver.handlers import Confirmed
from receiver.sources.options import Option

Options: TypeAlias = Mapping[str, Option]


class Pack(ABC):
    """One provider's confirmation, with one source's credentials."""

    provider: ClassVar[str]
    """The provider's name."""
    needs: ClassVar[tuple[str, ...]]
    """Settings of the source that must be there."""

    @abstractmethod
    def __init__(self, options: Options) -> None:
        """Take the credentials. Raises SettingsError, whose message begins with the option's name."""

    @abstractmethod
    async def __call__(self, event: Event) -> Confirmed:
        """Ask the provider.

        Raises:
            NotConfirmed: the event is not so.
            ProviderUnclear: nobody knows; to be asked again.
        """

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""
