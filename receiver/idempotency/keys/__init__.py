"""Keys that clients make for their requests (the IETF draft of the `Idempotency-Key` header).

Reading order: `header` (a key's text), `mark` (what a route says), `guard` (around the route), `key` (inside it).
"""
