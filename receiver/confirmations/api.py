"""A provider's API as confirmations ask it: one host, no redirects, bounded in time and size."""

import ssl
from collections.abc import Mapping
from functools import cache
from typing import Final
from urllib.parse import urlsplit

import httpx

from receiver.errors import ProviderUnclear, SettingsError
from receiver.events import parse_exactly

_SECONDS: Final = 5.0
"""For each step of an exchange; the confirmation's own timeout bounds all of it."""
_MOST_BYTES: Final = 1_048_576
_CONNECTIONS: Final = httpx.Limits(max_connections=32, max_keepalive_connections=8)
_NOT_THERE: Final = frozenset({404, 410})
_LOCAL: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class Api:
    """One provider's API. Connects when it is first asked.

    Args:
        url: `https://host`, perhaps with a path; `http://` for this machine alone.
        setting: its name, for errors.

    Raises:
        SettingsError: it is no such URL.
    """

    def __init__(self, url: str, *, setting: str = "api_url") -> None:
        self._url = _checked(url, setting)
        self._client: httpx.AsyncClient | None = None

    async def get(self, path: str, headers: Mapping[str, str]) -> Mapping[str, object] | None:
        """The object at `path`; None: there is none.

        Args:
            path: from the slash on, with nothing in it that came from outside unchecked.
            headers: to send, the credentials among them.

        Raises:
            ProviderUnclear: it said neither.
        """
        return await self._ask("GET", path, headers, None)

    async def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Mapping[str, object] | None:
        """The object that is the answer to `body`; otherwise as `get`."""
        return await self._ask("POST", path, headers, body)

    async def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> Mapping[str, object] | None:
        sent = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
        try:
            async with self._opened().stream(method, self._url + path, headers=sent, content=body) as answer:
                if answer.status_code in _NOT_THERE:
                    return None
                if answer.status_code != httpx.codes.OK:
                    raise ProviderUnclear(f"{method} {path}: answered {answer.status_code}")
                return _object(await _read(answer), f"{method} {path}")
        except httpx.HTTPError as error:
            raise ProviderUnclear(f"{method} {path}: {type(error).__name__}") from error

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            # Proxies and .netrc of the environment are not for us: only the host of the settings is called.
            self._client = httpx.AsyncClient(
                verify=_tls(), timeout=_SECONDS, limits=_CONNECTIONS, follow_redirects=False, trust_env=False
            )
        return self._client


@cache
def _tls() -> ssl.SSLContext:
    """Made once: reading the roots takes longer than asking."""
    return httpx.create_ssl_context(trust_env=False)


def _checked(url: str, setting: str) -> str:
    try:
        parts = urlsplit(url)
        plain = parts.scheme == "http" and parts.hostname in _LOCAL
        whole = bool(parts.hostname) and (parts.scheme == "https" or plain) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, a bracket left open
        whole = False
        parts = urlsplit("")
    if not whole or parts.username is not None or parts.query or parts.fragment:
        raise SettingsError(f"{setting}: must be https://host, without user, query and fragment")
    return url.rstrip("/")


async def _read(answer: httpx.Response) -> bytes:
    body = b""
    async for part in answer.aiter_raw():
        body += part
        if len(body) > _MOST_BYTES:
            raise ProviderUnclear(f"the answer has more than {_MOST_BYTES:,} bytes")
    return body


def _object(body: bytes, asked: str) -> Mapping[str, object]:
    try:
        document = parse_exactly(body)
    except ValueError:
        raise ProviderUnclear(f"{asked}: the answer is no JSON") from None
    if not isinstance(document, dict):
        raise ProviderUnclear(f"{asked}: the answer is no object")
    return document
