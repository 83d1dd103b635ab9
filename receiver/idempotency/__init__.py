"""Idempotency of the merchant's own code: tokens that the receiver issues, keys that clients make, messages.

Reading order: `receiver/tokens.py` (a token's text), `desk` (issues tokens, takes them), `claim` (one that was taken),
`dependency` (a route that asks for one), `parameter` (how a route is handed it), `issuing` (`POST /tokens`), `refusals`
(what goes back); `keys` (the header `Idempotency-Key`); `message_ids` (what stays the same when a message comes again),
`messages` (its effect, once), `streams` (the same for FastStream).
"""

from receiver.idempotency.claim import Claim
from receiver.idempotency.dependency import HEADER, Idempotent
from receiver.idempotency.desk import Issued, Terms, TokenDesk
from receiver.idempotency.issuing import Caller, token_routes
from receiver.idempotency.refusals import PROBLEMS, refusal

__all__ = [
    "HEADER",
    "PROBLEMS",
    "Caller",
    "Claim",
    "Idempotent",
    "Issued",
    "Terms",
    "TokenDesk",
    "refusal",
    "token_routes",
]
