"""A stream, sessions on a database with a table of effects, and consumers in processes of their own."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import nats
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from receiver.storage.engine import async_url
from tests.databases import execute
from tests.idempotency.messages.streams import SECONDS, TABLES, Stream, make_stream

ROOT = Path(__file__).resolve().parents[3]
Program = subprocess.Popen[str]
Start = Callable[..., Program]
Sessions = async_sessionmaker[AsyncSession]


@pytest.fixture
def shop_url(database_url: str) -> str:
    execute(database_url, TABLES)
    return database_url


@pytest.fixture
async def sessions(shop_url: str) -> AsyncIterator[Sessions]:
    engine = create_async_engine(async_url(shop_url))
    yield async_sessionmaker(engine)
    await engine.dispose()


@pytest.fixture
async def stream(shop_url: str, nats_url: str) -> AsyncIterator[Stream]:
    client = await nats.connect(nats_url)
    made = await make_stream(client.jetstream(), nats_url, shop_url)
    yield made
    await client.close()


@pytest.fixture
def start(stream: Stream) -> Iterator[Start]:
    programs: list[Program] = []

    def start(how: str, *options: str) -> Program:
        arguments = [how, stream.nats_url, stream.database_url, stream.name, *options]
        command = [sys.executable, "-m", "tests.idempotency.messages.consumer", *arguments]
        programs.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
        return programs[-1]

    yield start
    for program in programs:
        kill(program)


def kill(program: Program) -> None:
    program.send_signal(signal.SIGKILL)
    program.wait(SECONDS)
    assert program.stdout is not None
    program.stdout.close()
