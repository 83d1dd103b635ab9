"""Receives payment callbacks: verifies, deduplicates, stores and dispatches each one exactly once.

The folders follow a callback's life: `ingress` (arrive), `sources` (verify), `inbox` (dedupe, store), `handlers`
(who wants it), `dispatch` (run), `operate` (look, replay). `app` and `worker` put them together, `cli` starts them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from receiver.app.receiver import Receiver
    from receiver.errors import EmitError
    from receiver.events import Emitted, Event
    from receiver.handlers.confirming import Confirmed, NotConfirmed
    from receiver.handlers.policy import Dead, NotYet, Retry, RetryPolicy
    from receiver.idempotency.claim import Claim
    from receiver.idempotency.keys.key import IdempotencyKey
    from receiver.storage.newer import update_if_newer, update_if_newer_sync
    from receiver.storage.once import once, once_sync
    from receiver.storage.raw import RawTransaction

__all__ = [
    "Claim",
    "Confirmed",
    "Dead",
    "EmitError",
    "Emitted",
    "Event",
    "IdempotencyKey",
    "NotConfirmed",
    "NotYet",
    "RawTransaction",
    "Receiver",
    "Retry",
    "RetryPolicy",
    "once",
    "once_sync",
    "update_if_newer",
    "update_if_newer_sync",
]

_HOMES = {
    "Claim": "receiver.idempotency.claim",
    "Confirmed": "receiver.handlers.confirming",
    "Dead": "receiver.handlers.policy",
    "EmitError": "receiver.errors",
    "Emitted": "receiver.events",
    "Event": "receiver.events",
    "IdempotencyKey": "receiver.idempotency.keys.key",
    "NotConfirmed": "receiver.handlers.confirming",
    "NotYet": "receiver.handlers.policy",
    "RawTransaction": "receiver.storage.raw",
    "Receiver": "receiver.app.receiver",
    "Retry": "receiver.handlers.policy",
    "RetryPolicy": "receiver.handlers.policy",
    "once": "receiver.storage.once",
    "once_sync": "receiver.storage.once",
    "update_if_newer": "receiver.storage.newer",
    "update_if_newer_sync": "receiver.storage.newer",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for: `receiver --help` must not wait for FastAPI."""
    if name not in _HOMES:
        raise AttributeError(f"module 'receiver' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
