"""How long to wait before Postgres is tried again."""

from typing import Final

from receiver.handlers import RetryPolicy

RECONNECT: Final = RetryPolicy(first=0.2, factor=2, cap=5)
"""Pauses between tries to reach it."""
