"""Dedupe and store: the key, the group commit and what an arrival came to.

Reading order: `key`, `arrive` (facts to rows), `batch` (the queue and its flushes), `store` (one flush against
Postgres), `inbox` (what ingress calls).
"""

from receiver.inbox.inbox import Inbox
from receiver.inbox.outcome import Outcome

__all__ = ["Inbox", "Outcome"]
