"""Where a host is. Addresses inside our own network are refused: a name outside must not lead a request in here."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Final

import certifi

PORT: Final = 443
_TUNNELS: Final = tuple(
    ipaddress.IPv6Network(network) for network in ("2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48")
)
"""Addresses that carry an IPv4 address inside, which may be any."""


class NotPublic(OSError):
    """A host has an address that is not of the public internet."""


@cache
def _threads() -> ThreadPoolExecutor:
    # Threads of its own: a name server that hangs must not stop what else the process does in threads.
    return ThreadPoolExecutor(max_workers=2, thread_name_prefix="receiver-names")


async def resolved(host: str) -> Sequence[str]:
    """The addresses of `host`, as the system knows them. Raises OSError."""
    found = await asyncio.get_running_loop().run_in_executor(
        _threads(), lambda: socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)
    )
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def at_port(address: str) -> tuple[str, int]:
    """Where the service at a public address is reached: there."""
    return address, PORT


@cache
def trusted() -> ssl.SSLContext:
    """TLS as a browser would have it, with certifi's roots. Reads them once, which takes some milliseconds."""
    return ssl.create_default_context(cafile=certifi.where())


@dataclass(frozen=True, kw_only=True)
class Network:
    """The world outside. Tests have one of their own; what may be reached in it is decided here for both."""

    resolve: Callable[[str], Awaitable[Sequence[str]]] = resolved
    """A host's addresses; raises OSError."""
    reach: Callable[[str], tuple[str, int]] = at_port
    """Address and port at which the https service of a public address is."""
    tls: Callable[[], ssl.SSLContext] = trusted
    """Whom to believe, called in a thread."""

    async def public(self, host: str) -> Sequence[str]:
        """The addresses of `host`.

        Raises:
            NotPublic: one of them is not public: private, link-local, loopback, multicast, reserved, or a tunnel.
            OSError: it has none.
        """
        addresses = await self.resolve(host)
        if not addresses:
            raise OSError("no address")
        if not all(_is_public(address) for address in addresses):
            raise NotPublic("an address that is not public")
        return addresses


def _is_public(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)  # refuses a zone (`%eth0`) on IPv4, and no public IPv6 address has one
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None or any(address in network for network in _TUNNELS):
            return False
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
    return address.is_global and not address.is_multicast and not address.is_reserved
