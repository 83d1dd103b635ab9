"""PayPal as the tests play it: an authority, a publisher of certificates, and callbacks that are signed with them."""

import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import redis
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from sqlalchemy.engine import make_url

from receiver.settings import Settings, made
from receiver.sources.providers.paypal import PayPal
from tests.certificates.publisher import Publisher, private_pem, publishing
from tests.conftest import Servers
from tests.databases import Databases
from tests.ingress.accounts import Account, Sent, accounts_of
from tests.ingress.ledger import Ledger
from tests.ingress.serving import Serving, serving
from tests.ingress.shop import build
from tests.sources.authorities import Made, authority, leaf

NAME = "messageverificationcerts.paypal.com"
HOST = "api.paypal.com"
PATH = "/v1/notifications/certs/CERT-1"
ADDRESS = f"https://{HOST}{PATH}"
WEBHOOK = "1JE4291016473214C"
_numbers = itertools.count(int(time.time() * 1000))


@dataclass(frozen=True)
class Game:
    """Keys and certificates of one session: made once, since RSA keys take their time."""

    key: RSAPrivateKey
    root: Made
    middle: Made
    leaf: Made

    @property
    def chain(self) -> bytes:
        """What PayPal publishes."""
        return (self.leaf.pem + self.middle.pem).encode()

    def sent(self, address: str = ADDRESS) -> Sent:
        """A new callback, signed with the leaf's key, that names `address`."""
        external_id = f"WH-{next(_numbers)}"
        now = int(time.time())
        payload = self.player.sample("paid", external_id=external_id, entity_id="capture1", created=now)
        signed = self.player.sign(payload, now)
        headers = [(name.lower().encode(), value.encode()) for name, value in signed.headers]
        whole = Sent("/callbacks/paypal", tuple(headers), signed.body, external_id)
        return whole.with_header(b"paypal-cert-url", address.encode())

    @cached_property
    def player(self) -> PayPal:
        """Who signs."""
        return PayPal(
            {
                "webhook_id": (WEBHOOK,),
                "roots": (self.root.pem,),
                "certificates": {ADDRESS: self.chain.decode()},
                "signing_key": private_pem(self.key),
            }
        )


@pytest.fixture(scope="session")
def game() -> Game:
    key = generate_private_key(65537, 2048)
    root = authority("root")
    middle = authority("middle", root)
    return Game(key, root, middle, leaf(NAME, key, middle, host=NAME))


@pytest.fixture(scope="session")
def stripe() -> Account:
    return accounts_of({"stripe": {"provider": "stripe", "secrets": ["whsec_made_up"]}})["stripe"]


@pytest.fixture
def ledger(database_url: str, redis_url: str) -> Ledger:
    return Ledger(database_url, redis_url)


@dataclass(frozen=True)
class Scene:
    """A running service, and PayPal's publisher as it sees it."""

    served: Serving
    publisher: Publisher
    ledger: Ledger

    def forget(self) -> None:
        """What the process knows of keys that were asked for, as after a minute."""
        assert self.served.intake is not None
        self.served.intake._keyring._accounts.clear()

    def fetched(self, result: str) -> float:
        """How many keys were asked for with this result."""
        return self.served.counted("receiver_key_fetches_total", source="paypal", result=result)


def settings_of(game: Game, ledger: Ledger, **more: object) -> Settings:
    given: dict[str, object] = {
        "database_url": ledger.database_url,
        "redis_url": ledger.redis_url,
        "redis_timeout": 2.0,
        "sources": {
            "paypal": {"provider": "paypal", "webhook_id": WEBHOOK, "roots": [game.root.pem]},
            "stripe": {"provider": "stripe", "secrets": ["whsec_made_up"]},
        },
        **more,
    }
    return made(**given)


@asynccontextmanager
async def running(game: Game, ledger: Ledger, host: str = HOST, **more: object) -> AsyncIterator[Scene]:
    """A service whose PayPal is at hand."""
    settings = settings_of(game, ledger, **more)
    async with publishing(game.root, game.key, host) as (publisher, network):
        publisher.answers[PATH] = game.chain
        async with serving(build(settings), settings, network=network) as served:
            yield Scene(served, publisher, ledger)


@pytest.fixture
async def scene(game: Game, ledger: Ledger, anyio_backend: str) -> AsyncIterator[Scene]:
    del anyio_backend
    async with running(game, ledger) as started:
        yield started


@pytest.fixture(scope="module")
def own_stores(servers: Servers, databases: Databases) -> Iterator[Ledger]:
    """A database and an empty Redis that the tests of one file share."""
    url = databases.make_migrated()
    redis_url = make_url(servers.redis_url).set(database="15").render_as_string(hide_password=False)
    with redis.Redis.from_url(redis_url) as client:
        client.flushdb()
    yield Ledger(url, redis_url)
    databases.give_back(url)


@pytest.fixture(scope="module")
async def module_scene(game: Game, own_stores: Ledger, anyio_backend: str) -> AsyncIterator[Scene]:
    """One for all cases of a table: none of them leaves anything behind, and that is looked at."""
    del anyio_backend
    async with running(game, own_stores) as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "certificates"
