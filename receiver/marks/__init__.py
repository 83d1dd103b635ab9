"""Redis: the marks of stored callbacks and the nudge to the workers. Every Redis command stands in this folder.

Reading order: `client` (the connection), `marks` (look up, leave, nudge, all coalesced), `nudges` (the worker's ear),
`kept` (fetched keys), `takes` (issued tokens), `rates` (how many of them).
"""

from receiver.marks.client import connect
from receiver.marks.kept import KeptKeys
from receiver.marks.marks import Marks
from receiver.marks.nudges import Nudges
from receiver.marks.rates import Rates
from receiver.marks.takes import Takes

__all__ = ["KeptKeys", "Marks", "Nudges", "Rates", "Takes", "connect"]
