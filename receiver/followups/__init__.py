"""Follow-up events: what a handler, or any code with a transaction, hands on to handlers in the same commit.

Reading order: `payload` (exact JSON), `arrival` (checked, and as it will be stored). The statement that stores it is in
`storage/emits.py`.
"""

from receiver.followups.arrival import follow_up

__all__ = ["follow_up"]
