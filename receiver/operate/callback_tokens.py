"""Makes the tokens that come back with callbacks."""

import time
from pathlib import Path
from typing import Final

import msgspec

from receiver.errors import SettingsError
from receiver.settings import Settings
from receiver.sources.lock import callback_signer

_URL: Final = "url"
_DAY: Final = 86_400
_LATEST: Final = 2**32 - 1
CALLBACK_DAYS: Final = 3650
"""For which a token is good if nothing else is said. Refunds and disputes come back to the payment's address, some
after more than a year, and what has expired is refused; once used, a token opens nothing but its own payment."""


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """One token."""

    token: str
    path: str | None
    """Where callbacks with it come to; None: they bring it in a field."""


def made_tokens(settings: Settings, folder: Path, source: str, days: float, count: int) -> list[TokenRow]:
    """`count` tokens; arguments and errors as for one."""
    tokens = [new_callback_token(settings, folder, source, days) for _ in range(count)]
    in_path = settings.sources[source].token == _URL
    return [TokenRow(token=token, path=f"/callbacks/{source}/{token}" if in_path else None) for token in tokens]


def new_callback_token(settings: Settings, folder: Path, source: str, days: float = CALLBACK_DAYS) -> str:
    """A token for the callbacks of one payment.

    Args:
        settings: as loaded.
        folder: what the paths of `file:` references are relative to.
        source: that they will come to.
        days: for which it is good.

    Raises:
        SettingsError: the source is not there or wants no token, or no keys are set.
    """
    found = settings.sources.get(source)
    if found is None:
        raise SettingsError(f"sources.{source}: there is no such source")
    if found.token is None:
        raise SettingsError(f'sources.{source}.token: is not set; say token = "url" or token = "field"')
    signer = callback_signer(settings, folder)
    if signer is None:
        raise SettingsError(f"sources.{source}.token: needs token_keys, which sign the tokens")
    expires_at = min(int(time.time() + days * _DAY), _LATEST)
    return signer.issue(source, expires_at)[0]
