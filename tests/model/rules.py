"""What is varied: how much of everything there is, what may be relied on, and which rule is broken on purpose."""

from dataclasses import dataclass
from typing import Literal

Mutant = Literal[
    "mark-before-commit",
    "answer-before-commit",
    "mark-without-timeline",
    "mark-not-compared-again",
    "no-fence",
    "lease-without-end",
    "effect-and-success-apart",
    "call-without-key",
    "key-of-the-row",
]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The protocol as it is, within bounds."""

    servers: int = 1
    workers: int = 1
    failovers: int = 1
    troubles: int = 1
    """Faults of workers: crashes, freezes, handlers that raise, transactions ended; and crashes of Postgres."""
    redis: bool = True
    late: bool = True
    """Statements may be carried out after their sender has given up."""
    standby_has_all: bool = False
    """A failover loses nothing."""
    cut_unheard: bool = False
    """A server may hold its connection for alive after Postgres was replaced."""
    broken: Mutant | None = None

    def name(self, timeline: int) -> int:
        """The name of a mark left, or asked for, on a connection to this timeline."""
        return 1 if self.broken == "mark-without-timeline" else timeline
