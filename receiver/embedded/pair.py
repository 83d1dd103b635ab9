"""Opens a folder's pair of servers, step by step, and remembers how to undo each step."""

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from receiver.embedded.binaries import Binaries, locate, within_reach
from receiver.embedded.cluster import Cluster
from receiver.embedded.errors import EmbeddedError
from receiver.embedded.folder import FolderLock, prepare
from receiver.embedded.home import DATA, opened_home
from receiver.embedded.launcher import Launcher
from receiver.embedded.ports import free_port, is_free
from receiver.embedded.postgres import PostgresServer
from receiver.embedded.privileges import Account, choose_account
from receiver.embedded.server import Server
from receiver.embedded.state import Record
from receiver.embedded.valkey import ValkeyServer

PORT_TRIES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What the caller asked for."""

    directory: Path
    postgres_settings: Mapping[str, str]
    valkey_settings: Mapping[str, str]
    on_step: Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """What exists between start and stop."""

    postgres: PostgresServer
    valkey: ValkeyServer
    home: Path
    binaries: Binaries
    owner: int  # pid of the program; a forked child of it owns nothing
    undo: ExitStack


def open_pair(wish: Wish) -> Pair:
    """Take, make and start everything; a failure on the way leaves nothing behind but files.

    Raises:
        EmbeddedError: a step failed; its reason says which.
    """
    with ExitStack() as undo:
        directory = prepare(wish.directory)
        lock = undo.enter_context(FolderLock(directory))
        account = choose_account(directory, directory / DATA)
        home = undo.enter_context(opened_home(directory, account, wish.on_step))
        site = _Site(
            directory=directory,
            home=home,
            account=account,
            binaries=within_reach(locate(), account, wish.on_step),
            record=undo.enter_context(Record(directory, lock.inode)),
            launcher=undo.enter_context(Launcher(account)),
        )
        postgres = _postgres(site, wish, undo)
        valkey = _valkey(site, wish, undo)
        return Pair(
            postgres=postgres,
            valkey=valkey,
            home=home,
            binaries=site.binaries,
            owner=os.getpid(),
            undo=undo.pop_all(),
        )
    raise AssertionError  # unreachable: no exit of the stack swallows an error


@dataclass(frozen=True, kw_only=True, slots=True)
class _Site:
    """What both servers are started with."""

    directory: Path  # lock, state and logs
    home: Path  # data
    account: Account
    binaries: Binaries
    record: Record
    launcher: Launcher


def _postgres(site: _Site, wish: Wish, undo: ExitStack) -> PostgresServer:
    """Make the cluster if there is none, and start PostgreSQL over it."""
    log = site.directory / "postgres.log"
    server = PostgresServer(
        site.launcher,
        log,
        site.record.state.postgres,
        site.record.save,
        binaries=site.binaries,
        data=site.home / DATA,
        settings=wish.postgres_settings,
    )
    server.clear_leftovers()
    cluster = Cluster(
        data=server.data,
        binaries=site.binaries,
        launcher=site.launcher,
        account=site.account,
        log=log,
        durable=wish.postgres_settings.get("fsync", "on") != "off",
    )
    _make_usable(cluster, site.record, wish.on_step)
    wish.on_step("starting PostgreSQL")
    undo.callback(server.stop)
    _start_on_free_port(server)
    return server


def _make_usable(cluster: Cluster, record: Record, on_step: Callable[[str], None]) -> None:
    """See to it that there is a cluster and that we know its password, wherever an earlier start was cut off."""
    password = record.state.postgres.password
    cluster.sweep()
    if not cluster.exists:
        on_step("making a database cluster, at the first start only")
        record.save()  # the password before the data that it opens
        cluster.make(password)
    elif record.is_lost:
        on_step("setting a new database password, for the old one was lost")
        cluster.set_password(password)


def _valkey(site: _Site, wish: Wish, undo: ExitStack) -> ValkeyServer:
    folder = site.home / "valkey"
    if not folder.exists():
        folder.mkdir(mode=0o700)
        site.account.give(folder)
    server = ValkeyServer(
        site.launcher,
        site.directory / "valkey.log",
        site.record.state.valkey,
        site.record.save,
        binaries=site.binaries,
        folder=folder,
        settings=wish.valkey_settings,
    )
    wish.on_step("starting Valkey")
    undo.callback(server.stop)
    _start_on_free_port(server)
    return server


def _start_on_free_port(server: Server) -> None:
    """Start on the port of last time or on a free one; between the look and the start somebody may take it."""
    for _ in range(PORT_TRIES - 1):
        try:
            return server.start_on(free_port(server.port))
        except EmbeddedError:
            if is_free(server.port):  # then it was not the port
                raise
    return server.start_on(free_port(0))
