"""Keys that providers publish, fetched when a callback needs one: the only place that asks anybody outside.

Reading order: `network` (where a host is, and where it may not be), `download` (one bounded request), `shelf` (what is
kept on disk and in Redis, and never believed unchecked), `limits` (how often is asked), `keyring` (all of it together).
"""

from receiver.certificates.keyring import Keyring
from receiver.certificates.network import Network
from receiver.certificates.shelf import Shelf

__all__ = ["Keyring", "Network", "Shelf"]
