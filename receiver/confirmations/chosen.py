"""Which confirmation each source has: its setting `confirm` says it, or the merchant's code."""

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Final, cast

from receiver.confirmations.mercadopago import MercadoPagoPack
from receiver.confirmations.mollie import MolliePack
from receiver.confirmations.pack import Pack
from receiver.confirmations.paypal import PayPalPack
from receiver.errors import HandlerError, SettingsError
from receiver.handlers import Confirmation, ConfirmFunction
from receiver.handlers.handler import place
from receiver.sources import Source

PACKS: Final[Mapping[str, type[Pack]]] = {pack.provider: pack for pack in (MercadoPagoPack, MolliePack, PayPalPack)}
"""By provider."""
_BY_PROVIDER: Final = "provider"


class Confirmations:
    """Those that were registered in code, and with the settings all that there are."""

    def __init__(self) -> None:
        self._registered: dict[str, Confirmation] = {}

    def add(self, source: str, confirmation: Confirmation) -> None:
        """Register one.

        Args:
            source: a source's name, or a provider's: then of all its sources that have none of their own.
            confirmation: for its events.

        Raises:
            HandlerError: it has one already.
        """
        known = self._registered.get(source)
        if known is not None:
            places = f"{place(known.function)} and {place(confirmation.function)}"
            raise HandlerError(f"confirm {source!r} is registered twice: {places}")
        self._registered[source] = confirmation

    def of(self, sources: Mapping[str, Source]) -> dict[str, Confirmation]:
        """By source, where it has one.

        Args:
            sources: all that are configured.

        Raises:
            SettingsError: one line for each that is not there or cannot work, beginning with the setting's full name.
        """
        problems = [*self._strangers(sources)]
        found: dict[str, Confirmation] = {}
        for name, source in sources.items():
            try:
                confirmation = self._of(source)
            except (SettingsError, HandlerError) as error:
                problems.append(str(error))
            else:
                if confirmation is not None:
                    found[name] = confirmation
        if problems:
            raise SettingsError("\n".join(problems))
        return found

    def _strangers(self, sources: Mapping[str, Source]) -> Iterator[str]:
        """What nobody asks would be worse than what nobody hears: the merchant believes that it is confirmed."""
        known = {*sources, *(source.provider.name for source in sources.values())}
        for name, confirmation in self._registered.items():
            if name not in known:
                yield f"confirm: {name!r}, {place(confirmation.function)}, is neither a source nor a provider of one"

    def _of(self, source: Source) -> Confirmation | None:
        own, shared = self._registered.get(source.name), self._registered.get(source.provider.name)
        setting = f"sources.{source.name}.confirm"
        if source.confirm is None:
            return own or shared
        if own is not None:
            raise SettingsError(f"{setting}: there is another one in code, {place(own.function)}; have one of them")
        if source.confirm == _BY_PROVIDER:
            return _by_provider(source, setting)
        return _made(_imported(source.confirm, setting), setting)


def _by_provider(source: Source, setting: str) -> Confirmation:
    pack = PACKS.get(source.provider.name)
    if pack is None:
        own: object = getattr(source.provider, "confirm", None)  # of a provider that another package brought
        if own is None:
            known = ", ".join(PACKS)
            raise SettingsError(f"{setting}: {source.provider.name} has none of its own, unlike {known}; name yours")
        return _made(own, setting)
    missing = [name for name in pack.needs if name not in source.options]
    if missing:
        help_ = source.provider.settings[missing[0]].help
        raise SettingsError(
            f'sources.{source.name}.{missing[0]}: is missing, and confirm = "provider" needs it ({help_})'
        )
    try:
        made = pack(source.options)
    except SettingsError as error:
        raise SettingsError(f"sources.{source.name}.{error}") from None
    return Confirmation(function=made, close=made.close)


def _imported(target: str, setting: str) -> object:
    """The function that `module:function` names."""
    module, colon, name = target.partition(":")
    if not (colon and module and name):
        raise SettingsError(f'{setting}: must be "provider", or your own as "module:function"')
    try:
        found: object = import_module(module)
    except Exception as error:
        raise SettingsError(f"{setting}: {module} cannot be imported: {error}") from error
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        raise SettingsError(f"{setting}: {module} has no {name}")
    return found


def _made(function: object, setting: str) -> Confirmation:
    if isinstance(function, Confirmation):
        return function
    if not callable(function) or inspect.isclass(function):
        raise SettingsError(f"{setting}: is no function")
    try:
        return Confirmation(function=cast("ConfirmFunction", function))
    except HandlerError as error:
        raise SettingsError(f"{setting}: {error}") from None
