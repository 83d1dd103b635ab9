"""Dedupe and store: the key, the group commit and what an arrival came to.

Reading order: `key`, `outcome`, `batch` (the queue and its flushes), `lookups` (Redis, asked
meanwhile), `store` (one flush against Postgres), `faults`
(what may go wrong there), `borrowed`, `aside` and `tally` (what is written beside the flushes), `inbox` (what ingress
calls).
"""

from receiver.inbox.inbox import Inbox
from receiver.inbox.outcome import Outcome

__all__ = ["Inbox", "Outcome"]
