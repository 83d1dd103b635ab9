"""What the tests of those who write handlers need: events, signed callbacks, and a run as the worker does it.

Reading order: `made` (an event from a dict), `callbacks` (what a provider would send), `run` (one run of a handler).
"""

from receiver.testing.callbacks import SignedCallback, signed_callback
from receiver.testing.made import make_event
from receiver.testing.run import Outcome, run_handler

__all__ = ["Outcome", "SignedCallback", "make_event", "run_handler", "signed_callback"]
