"""The merchant's functions: who wants which event, and when a failed run comes again.

Reading order: `policy` (when to try again; what a handler may raise to decide it), `lanes` (what stays in order),
`options` (how one is to be run), `handler` (one function, checked), `registry` (all of them, by name and by what they
want), `owed` (what an arrival owes them, in which lanes), `confirming` (what asks the provider before any of them).
"""

from receiver.handlers.confirming import AnyConfirmFunction, Confirmation, Confirmed, ConfirmFunction, NotConfirmed
from receiver.handlers.handler import AsyncFunction, Handler, RawFunction, Route, SyncFunction
from receiver.handlers.lanes import Lane, OnDead, lane_number
from receiver.handlers.options import Options
from receiver.handlers.owed import in_lanes
from receiver.handlers.policy import Dead, NotYet, Retry, RetryPolicy
from receiver.handlers.registry import Registry

__all__ = [
    "AnyConfirmFunction",
    "AsyncFunction",
    "ConfirmFunction",
    "Confirmation",
    "Confirmed",
    "Dead",
    "Handler",
    "Lane",
    "NotConfirmed",
    "NotYet",
    "OnDead",
    "Options",
    "RawFunction",
    "Registry",
    "Retry",
    "RetryPolicy",
    "Route",
    "SyncFunction",
    "in_lanes",
    "lane_number",
]
