"""Idempotency of the merchant's own API: tokens that the receiver issues, and keys that clients make.

Reading order: `keys` (the header `Idempotency-Key`).
"""
