"""Documents that were fetched before, in a folder and in Redis. Neither is believed: who takes one out checks it."""

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import structlog

from receiver.marks import KeptKeys
from receiver.sources.fetched import KeyAnswer

log = structlog.get_logger(__name__)

_SUFFIX: Final = ".json"
_LARGEST: Final = 512 * 1024
_MOST: Final = 64
"""Documents of one account."""


class Shelf:
    """Keeps documents by account.

    Args:
        kept: those in Redis, which all processes share.
        folder: for those on disk, which survive everything; None: nothing is kept there.
    """

    def __init__(self, kept: KeptKeys, folder: Path | None) -> None:
        self._kept = kept
        self._folder = folder

    async def all(self, source: str) -> list[KeyAnswer]:
        """What is kept for `source`; what cannot be read is left out."""
        contents = await self._kept.all(source)
        if self._folder is not None:
            contents += await asyncio.to_thread(_read_all, self._folder / source)
        return [answer for content in contents if (answer := _decoded(content, source)) is not None]

    async def put(self, source: str, answer: KeyAnswer) -> None:
        """Keep a document that was checked. Best effort: it can be fetched again."""
        content = msgspec.json.encode(answer)
        await self._kept.put(source, answer.document, content)
        if self._folder is not None:
            try:
                await asyncio.to_thread(_write, self._folder / source, answer.document, content)
            except OSError as error:
                log.warning("key_not_written", source=source, error=error.strerror)


def _decoded(content: bytes, source: str) -> KeyAnswer | None:
    try:
        return msgspec.json.decode(content, type=KeyAnswer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        log.warning("kept_key_unreadable", source=source)
        return None


def _read_all(folder: Path) -> list[bytes]:
    return list(_contents(folder))


def _contents(folder: Path) -> Iterator[bytes]:
    try:
        files = sorted(folder.glob(f"*{_SUFFIX}"))[:_MOST]
    except OSError:
        return
    for file in files:
        with contextlib.suppress(OSError), file.open("rb") as opened:
            yield opened.read(_LARGEST)


def _write(folder: Path, document: str, content: bytes) -> None:
    """In one step: a reader sees the whole file or the one before, whenever the machine stops."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / (hashlib.sha256(document.encode()).hexdigest()[:32] + _SUFFIX)
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
