"""`receiver migrate`, `serve`, `work` and `up`: the programs that run in production."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from receiver.cli.loop import run_loop
from receiver.cli.options import AsJson, Embedded, Host, OperatorHost, OperatorPort, Port, Target
from receiver.cli.output import emit, emit_json, note

if TYPE_CHECKING:
    from receiver.app import Listening, Receiver
    from receiver.settings import Settings


def migrate(*, embedded: Embedded = None, as_json: AsJson = False) -> None:
    """Bring the schema to the newest revision.

    Waits while another migration runs. Plain `alembic upgrade head` does the same.
    """
    from receiver.cli.servers import database_url, settings_with_servers
    from receiver.operate.schema import bring_up

    done = bring_up(database_url(settings_with_servers(embedded)))
    if as_json:
        emit_json(done)
    elif done.before == done.after:
        emit(f"already at revision {done.after}")
    else:
        emit(f"migrated from {done.before or 'nothing'} to revision {done.after}")


def serve(
    target: Target,
    *,
    embedded: Embedded = None,
    host: Host = None,
    port: Port = None,
    operator_host: OperatorHost = None,
    operator_port: OperatorPort = None,
    processes: Annotated[int | None, typer.Option(min=1, max=64, help="Server processes on one port.")] = None,
    member: Annotated[int | None, typer.Option(hidden=True)] = None,
    as_json: AsJson = False,
) -> None:
    """Take callbacks and store them."""
    _let_hangup_wait()
    from receiver.app import load_target, supervise
    from receiver.cli.servers import settings_with_servers
    from receiver.observability import logs

    listeners = _listeners(host, port, operator_host, operator_port)
    settings = settings_with_servers(embedded, **listeners, processes=processes)
    receiver = load_target(target)
    if settings.processes > 1 and member is None:
        _check_urls(settings)
        logs.configure()
        command = ["serve", target, *_repeated(embedded, listeners), *(["--json"] if as_json else [])]
        raise typer.Exit(supervise(command, settings))
    _run(receiver, settings, serve=True, work=False, member=member, as_json=as_json)


def work(
    target: Target,
    *,
    embedded: Embedded = None,
    operator_host: OperatorHost = None,
    operator_port: OperatorPort = None,
    concurrency: Annotated[int | None, typer.Option(min=1, max=256, help="Handlers that run at once.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run handlers on what is due."""
    _let_hangup_wait()
    from receiver.app import load_target
    from receiver.cli.servers import settings_with_servers

    listeners = _listeners(None, None, operator_host, operator_port)
    settings = settings_with_servers(embedded, **listeners, concurrency=concurrency)
    _run(load_target(target), settings, serve=False, work=True, as_json=as_json)


def up(
    target: Annotated[
        str | None, typer.Argument(metavar="[TARGET]", help="Your receiver; without it callbacks are stored only.")
    ] = None,
    *,
    embedded: Embedded = None,
    host: Host = None,
    port: Port = None,
    operator_host: OperatorHost = None,
    operator_port: OperatorPort = None,
    as_json: AsJson = False,
) -> None:
    """Serve and work in one process.

    With --embedded DIR it starts PostgreSQL and Valkey too, and migrates.
    """
    _let_hangup_wait()
    from receiver.app import Receiver, load_target
    from receiver.cli.servers import FOLDER, chosen_folder
    from receiver.settings import load

    settings = load(FOLDER, **_listeners(host, port, operator_host, operator_port))
    receiver = Receiver() if target is None else load_target(target)
    if settings.processes > 1:
        note("processes: up is one process; `receiver serve` and `receiver work` may be several")
    folder = chosen_folder(settings, embedded)
    if folder is None:
        _run(receiver, settings, serve=True, work=True, as_json=as_json)
        return
    with _started(folder, settings) as with_servers:
        note(f"other commands reach these servers with: --embedded {folder}")
        _run(receiver, with_servers, serve=True, work=True, as_json=as_json)


@contextmanager
def _started(folder: Path, settings: "Settings") -> "Iterator[Settings]":
    """Embedded servers of our own over `folder`, migrated, for as long as the block lasts."""
    from receiver.embedded import EmbeddedServers
    from receiver.operate.schema import bring_up

    with EmbeddedServers(folder, on_step=note) as servers:
        bring_up(servers.database_url)
        yield settings.model_copy(update={"database_url": servers.database_url, "redis_url": servers.redis_url})


def _run(
    receiver: "Receiver",
    settings: "Settings",
    *,
    serve: bool,
    work: bool,
    member: int | None = None,
    as_json: bool,
) -> None:
    from receiver.app import run
    from receiver.observability import logs

    _check_urls(settings)
    logs.configure()

    def ready(listening: "Listening") -> None:
        if as_json:
            emit_json(listening)
        if listening.url is not None:
            note(f"callbacks: {listening.url}/callbacks/SOURCE")
        note(f"operator:  {listening.operator_url}")

    run_loop(run(receiver, settings, serve=serve, work=work, member=member, ready=ready))


def _let_hangup_wait() -> None:
    """SIGHUP waits until the program takes it; said here, for `receiver.app` takes a while to import."""
    with suppress(AttributeError):  # no such thing here
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def _check_urls(settings: "Settings") -> None:
    from receiver.cli.servers import database_url, redis_url

    database_url(settings)
    redis_url(settings)


def _listeners(
    host: str | None, port: int | None, operator_host: str | None, operator_port: int | None
) -> dict[str, object]:
    return {"host": host, "port": port, "operator_host": operator_host, "operator_port": operator_port}


def _repeated(embedded: Path | None, listeners: dict[str, object]) -> list[str]:
    """The options that the members of a supervised server are to be given too."""
    given = {"embedded": embedded, **listeners}
    return [
        part
        for name, value in given.items()
        if value is not None
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]
