"""The merchant's functions: who wants which event, and when a failed run comes again.

Reading order: `policy` (when to try again; what a handler may raise to decide it), `handler` (one function, checked),
`registry` (all of them, by name and by what they want).
"""

from receiver.handlers.handler import AsyncFunction, Handler, Route, SyncFunction
from receiver.handlers.policy import Dead, Retry, RetryPolicy
from receiver.handlers.registry import Registry

__all__ = ["AsyncFunction", "Dead", "Handler", "Registry", "Retry", "RetryPolicy", "Route", "SyncFunction"]
