"""Picks the TCP ports that the servers listen on."""

import secrets
import socket
from contextlib import suppress
from pathlib import Path

LOOPBACK = "127.0.0.1"
LOWEST = 10_240
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES = 100


def free_port(preferred: int) -> int:
    """The preferred port if it is free, else a random one below those that the kernel hands to clients.

    A port from the clients' range may be taken by any connection while its server is being restarted, even by a client
    that calls that very port: TCP then connects it to itself.
    """
    if preferred and is_free(preferred):
        return preferred
    ceiling = _lowest_ephemeral()
    for _ in range(TRIES if ceiling > LOWEST else 0):
        port = LOWEST + secrets.randbelow(ceiling - LOWEST)
        if is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: closing connections may linger
        probe.bind((LOOPBACK, port))
        probe.listen(1)
        return True
    return False


def _lowest_ephemeral() -> int:
    with suppress(OSError, ValueError):
        return int(EPHEMERAL.read_text().split()[0])
    return 32_768
