"""Effects exactly once, for any consumer of messages: all of it is imported from here.

See docs/guides/idempotency-messages.md.
"""

from receiver.errors import MessageError
from receiver.idempotency.message_ids import kafka_id, nats_id, rabbit_id, redis_id
from receiver.idempotency.messages import consumed, consumed_sync

__all__ = ["MessageError", "consumed", "consumed_sync", "kafka_id", "nats_id", "rabbit_id", "redis_id"]
