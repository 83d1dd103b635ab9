"""The configured sources as an operator may see them: everything but their secrets."""

from collections.abc import Mapping

import msgspec

from receiver.settings import Settings, SourceSettings
from receiver.sources import Source


class AccountRow(msgspec.Struct, frozen=True, kw_only=True):
    """One source."""

    name: str
    provider: str
    path: str
    """What the provider wants to be told, behind the public address; `{token}` stands for one of yours."""
    verification: str
    """`signature`, `token`, `signature and token`, or `none`."""
    live_secrets: int
    """Keys of which each one verifies; more than one while they are being rotated."""
    retry_hours: float
    """For how long the provider repeats a callback."""
    answer_seconds: float
    """How long it waits for the answer."""


def accounts(settings: Settings, sources: Mapping[str, Source]) -> list[AccountRow]:
    """One row for each source, in the order of the settings."""
    return [_row(source, settings.sources[name]) for name, source in sources.items()]


def _row(source: Source, settings: SourceSettings) -> AccountRow:
    provider = source.provider
    given = settings.model_extra or {}
    return AccountRow(
        name=source.name,
        provider=provider.name,
        path=f"/callbacks/{source.name}" + ("/{token}" if source.lock and source.lock.place == "url" else ""),
        verification=_verification(source),
        # The first group is what verifies; what follows decrypts.
        live_secrets=sum(_count(given.get(name)) for name in provider.needs[0]) if source.verified else 0,
        retry_hours=provider.retry_horizon.total_seconds() / 3600,
        answer_seconds=provider.answer_deadline.total_seconds(),
    )


def _verification(source: Source) -> str:
    proofs = ["signature"] * source.verified + ["token"] * (source.lock is not None)
    return " and ".join(proofs) or "none"


def _count(value: object) -> int:
    if value is None:
        return 0
    return len(value) if isinstance(value, list | dict) else 1
