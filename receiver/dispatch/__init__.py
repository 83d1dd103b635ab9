"""Runs what is owed: leases due dispatches and hands each to its handler, in the transaction that records success.

Reading order: `dispatcher` (start, heartbeat, drain), `feed` (what is leased and how far ahead), `bench` (the slots,
and what replaces one whose handler will not stop), `line` (what waits for them), `parts` (what slots share), `slot`
(what one takes from the line), `runner` (one run from lease to outcome), `vetting` and `confirm` (what is asked first;
with `asking` and `bounded`), `before` (the run whose commit goes with the next one), `recorder` (how it failed; by
`settling` to its end), `reach` and `pauses` (when Postgres is away), `batch` (several in one transaction), `call` (the
handler itself), `threads` (a handler that is a plain function), `verdict` (what a failure comes to), `content` (from a
row to the event that a handler is given), `presence` (what operators are told), `standstill` (a handler that stops the
whole loop).
Beside them, `replayer` steps replay jobs, and `missing` says what such a job creates.
"""

from receiver.dispatch.dispatcher import Dispatcher, Limits
from receiver.dispatch.parts import Observer
from receiver.dispatch.replayer import Replayer

__all__ = ["Dispatcher", "Limits", "Observer", "Replayer"]
