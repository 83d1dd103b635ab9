"""Makes the tokens that come back with callbacks."""

import time
from pathlib import Path
from typing import Final

from receiver.errors import SettingsError
from receiver.settings import Settings
from receiver.sources.lock import callback_signer

_DAY: Final = 86_400
_LATEST: Final = 2**32 - 1
CALLBACK_DAYS: Final = 3650
"""For which a token is good if nothing else is said. Refunds and disputes come back to the payment's address, some
after more than a year, and what has expired is refused; once used, a token opens nothing but its own payment."""


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
