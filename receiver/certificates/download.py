"""One request for a key, bounded in size and time, to a public address, and never redirected or proxied."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final

import httpx

from receiver.certificates.network import Network
from receiver.sources.fetched import KeyRequest

LARGEST: Final = 128 * 1024
"""Bytes of an answer. PayPal's and WeChat Pay's are below ten thousand."""
_OK: Final = 200
_MOST_ADDRESSES: Final = 3
_CONNECT_SECONDS: Final = 2.0


class FetchFailed(Exception):
    """There is no answer, or none that can be used.

    Args:
        why: a word for logs and metrics, without anything that came from outside.
    """

    def __init__(self, why: str) -> None:
        """Keep the word."""
        super().__init__(why)
        self.why = why


async def download(request: KeyRequest, network: Network, seconds: float) -> httpx.Response:
    """The answer, with its body read.

    Args:
        request: what to ask for.
        network: where.
        seconds: for all of it: name, connection, answer.

    Raises:
        FetchFailed: in every other case.
    """
    try:
        async with asyncio.timeout(seconds):
            addresses = await network.public(request.host)
            context = await asyncio.to_thread(network.tls)
            return await _first(request, addresses, network, context)
    except TimeoutError:
        raise FetchFailed("timeout") from None
    except (OSError, httpx.HTTPError) as error:
        raise FetchFailed(type(error).__name__) from None


async def _first(
    request: KeyRequest, addresses: Sequence[str], network: Network, context: ssl.SSLContext
) -> httpx.Response:
    """From the first address that lets us connect."""
    # `trust_env`: no proxy, no netrc and no certificates that the environment names.
    limits = httpx.Timeout(None, connect=_CONNECT_SECONDS)
    async with httpx.AsyncClient(verify=context, trust_env=False, follow_redirects=False, timeout=limits) as client:
        *others, last = addresses[:_MOST_ADDRESSES]
        for address in others:
            try:
                return await _ask(client, request, network.reach(address))
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await _ask(client, request, network.reach(last))


async def _ask(client: httpx.AsyncClient, request: KeyRequest, place: tuple[str, int]) -> httpx.Response:
    # To the address that was looked at, not to the name: asked again, it might say another. TLS still wants the name.
    address, port = place
    url = httpx.URL(scheme="https", host=address, port=port, path=request.path)
    headers = {
        "Accept": "*/*",
        "User-Agent": "receiver",
        "Accept-Encoding": "identity",
        **request.headers,
        "Host": request.host,
    }
    extensions = {"sni_hostname": request.host}
    async with client.stream("GET", url, headers=headers, extensions=extensions) as response:
        if response.status_code != _OK:
            raise FetchFailed(f"status_{response.status_code}")
        body = bytearray()
        async for part in response.aiter_raw():
            body += part
            if len(body) > LARGEST:
                raise FetchFailed("too_large")
        return httpx.Response(response.status_code, headers=response.headers, content=bytes(body))
