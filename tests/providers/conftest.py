"""One receiver as a program of its own, with three sources of each provider: ours, a stranger's, and a retired one."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ingress.conftest import own_stores as _own_stores
from tests.ingress.ledger import Ledger
from tests.ingress.program import Program
from tests.providers.accounts import IDS, account, retired, stranger

own_stores = _own_stores


@pytest.fixture(scope="module")
def everyone(own_stores: Ledger) -> Iterator[Program]:
    """Serving and working; `ID`, `ID-stranger` and `ID-retired` are its sources."""
    folder = Path(tempfile.mkdtemp(prefix="receiver-"))
    urls = {"database_url": own_stores.database_url, "redis_url": own_stores.redis_url}
    sources = {name: account(name).settings for name in IDS}
    sources |= {f"{name}-stranger": stranger(name).settings for name in IDS}
    sources |= {f"{name}-retired": retired(name) for name in IDS}
    program = Program(folder, {**urls, "port": 0, "operator_port": 0, "retention_days": 90}, sources)
    shutil.copy(Path(__file__).with_name("takes_all.py"), folder / "shop.py")
    try:
        program.start("up")
        yield program
    finally:
        program.stop()
        shutil.rmtree(folder, ignore_errors=True)
