"""However a connection is made: what is put ahead of asyncpg's statement goes out with it, and comes back apart."""

import asyncio
import datetime as dt
import gc
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.engine import make_url

from receiver.storage.ahead import Ahead
from receiver.storage.wire import connect, wire_of

SSL_REQUEST = bytes.fromhex("0000000804d2162f")


@pytest.fixture
async def encrypting_url(database_url: str, tmp_path: Path) -> AsyncIterator[str]:
    """The database behind what ends TLS as Postgres does: the embedded one is built without."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*write_certificate(tmp_path))
    url = make_url(database_url)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(len(SSL_REQUEST))
        if first == SSL_REQUEST:
            writer.write(b"S")
            await writer.start_tls(context)
            first = b""
        answers, asks = await asyncio.open_connection(url.host, url.port)
        asks.write(first)
        await asyncio.gather(pump(reader, asks), pump(answers, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield url.set(port=server.sockets[0].getsockname()[1]).render_as_string(hide_password=False)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def write_certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    paths = folder / "server.crt", folder / "server.key"
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return paths


@pytest.mark.parametrize("sslmode", ["disable", "allow", "prefer", "require"])
async def test_with_tls_or_without(encrypting_url: str, sslmode: str) -> None:
    connection = await connect(encrypting_url, ssl=sslmode)
    try:
        ahead = await Ahead.on(connection)
        ahead.send([("BEGIN",)])
        assert await connection.fetchval("SELECT $1::int", 7) == 7
        assert (ahead.said, connection.is_in_transaction()) == (["BEGIN"], True)
        encrypts = wire_of(connection).get_extra_info("sslcontext")
        assert isinstance(encrypts, ssl.SSLContext) is (sslmode in {"prefer", "require"})
    finally:
        await connection.close()


async def test_many_at_once(database_url: str) -> None:
    connection = await connect(database_url)
    await connection.execute("CREATE TABLE paid (id int)")
    ahead = await Ahead.on(connection)
    ahead.send([("BEGIN",)])
    await connection.executemany("INSERT INTO paid VALUES ($1)", [(number,) for number in range(1000)])
    assert (ahead.said, connection.is_in_transaction()) == (["BEGIN"], True)
    await connection.execute("ROLLBACK")
    assert await connection.fetchval("SELECT count(*) FROM paid") == 0
    await connection.close()


async def test_a_server_that_does_not_encrypt(database_url: str) -> None:
    connection = await connect(database_url, ssl="prefer")
    assert await connection.fetchval("SELECT 1") == 1
    assert wire_of(connection).get_extra_info("sslcontext") is None
    await connection.close()


async def test_a_statement_is_given_up(database_url: str) -> None:
    """Asyncpg tells Postgres so by a connection of its own, on the same loop."""
    connection = await connect(database_url)
    with pytest.raises(TimeoutError):
        await connection.fetchval("SELECT pg_sleep(60)", timeout=0.05)
    assert await connection.fetchval("SELECT 1") == 1
    await connection.close()


async def test_who_gives_up_connecting_leaves_no_error_behind(database_url: str) -> None:
    """At whichever moment: what nobody waits for is told to the loop, which fails this test."""
    for moment in range(40):
        connecting = asyncio.create_task(connect(database_url, ssl="prefer"))
        for _ in range(moment):
            await asyncio.sleep(0)
        connecting.cancel()
        with suppress(asyncio.CancelledError):
            await (await connecting).close()
        del connecting
        await asyncio.sleep(0.01)
        gc.collect()


async def test_one_that_was_made_otherwise_has_none(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    with pytest.raises(KeyError):
        await Ahead.on(connection)
    await connection.close()
