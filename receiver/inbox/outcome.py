"""What became of a callback once Postgres has spoken."""

from enum import Enum


class Outcome(Enum):
    """Each member is evidence of a committed row; there is none for "probably"."""

    STORED = "accepted"
    """Its event is stored, for the first time."""
    DUPLICATE = "duplicate"
    """Its event was stored before."""
    CONFLICT = "conflict"
    """Another fact holds its id; this one is kept in quarantine."""
    REPEATED = "token_repeated"
    """Its token was used for something else; it is kept in quarantine, and refused."""
