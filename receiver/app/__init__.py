"""The HTTP composition root: everything is built here, and nothing below builds itself.

Reading order: `receiver` (the object a merchant holds), `service` (the parts of the hot path, put together), `upkeep`,
`listeners` (sockets and uvicorn), `public` and `operator` (what FastAPI serves), `programs` (serve, work, up), `reload`
and `hangup` (SIGHUP), `supervise` (several server processes), `target` (`payments:receiver`).
"""

from receiver.app.programs import Listening, run
from receiver.app.receiver import Receiver
from receiver.app.supervise import supervise
from receiver.app.target import load_target

__all__ = ["Listening", "Receiver", "load_target", "run", "supervise"]
