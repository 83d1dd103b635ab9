"""Idempotency of the merchant's own code: tokens that the receiver issues, keys that clients make, messages.

Reading order: `keys` (the header `Idempotency-Key`); `message_ids` (what stays the same when a message comes again),
`messages` (its effect, once), `streams` (the same for FastStream).
"""
