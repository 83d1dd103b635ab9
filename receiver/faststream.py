"""Effects exactly once, for FastStream (extra `faststream`). See docs/guides/idempotency-messages.md."""

from receiver.idempotency.streams import ExactlyOnce, Tx

__all__ = ["ExactlyOnce", "Tx"]
