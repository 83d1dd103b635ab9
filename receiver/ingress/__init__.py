"""HTTP in, HTTP out: bytes are bounded, verified, handed to the inbox, and answered as the provider expects.

Reading order: `intake` (the life of one callback), `arrivals` (facts to rows), `answers` and `problems` (what goes
back). Two doors lead to the intake: `callbacks` is a plain ASGI application, which works anywhere; `protocol` is the
fast one, below ASGI, in the receiver's own server. `body` reads a body for the first.
"""

from receiver.ingress.callbacks import Callbacks
from receiver.ingress.intake import Clock, Intake
from receiver.ingress.protocol import protocol_for

__all__ = ["Callbacks", "Clock", "Intake", "protocol_for"]
