"""All commands together, and the one place where an error becomes a line on stderr and an exit code."""

import os
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import typer

from receiver.cli.commands import (
    audit,
    dead,
    events,
    inspect,
    keys,
    programs,
    replay,
    replays,
    secrets,
    send,
    tokens,
    verify,
    workers,
)
from receiver.cli.demo import command as demo
from receiver.cli.exits import Exit, code_of, documented
from receiver.errors import ReceiverError

NAME: Final = "receiver"
DEBUG: Final = "RECEIVER_DEBUG"


def _made() -> typer.Typer:
    """The command line."""
    app = _group("Receives payment callbacks: verifies, deduplicates, stores and dispatches each one exactly once.")
    app.callback(epilog=documented())(_receiver)
    app.command("demo")(demo.demo)
    app.command("up")(programs.up)
    app.command("migrate")(programs.migrate)
    app.command("serve")(programs.serve)
    app.command("work")(programs.work)
    app.command("send")(send.send)
    app.command("verify")(verify.verify)
    app.command("doctor")(inspect.doctor)
    app.add_typer(
        _group_of("What arrived and what became of it.", list=events.list_events, show=events.show_event), name="events"
    )
    app.add_typer(_group_of("What no worker will run again by itself.", list=dead.list_dead), name="dead")
    app.command("replay")(replay.replay)
    app.add_typer(_replays(), name="replays")
    app.add_typer(_group_of("What operators did.", list=audit.list_audit), name="audit")
    app.add_typer(_group_of("Who runs handlers.", list=workers.list_workers), name="workers")
    app.add_typer(_group_of("The configured accounts.", list=inspect.list_sources, keys=keys.list_keys), name="sources")
    app.add_typer(_group_of("The keys of a source.", check=secrets.check), name="secrets")
    app.add_typer(_group_of("Tokens that come back with callbacks.", new=tokens.new), name="tokens")
    return app


def _replays() -> typer.Typer:
    return _group_of(
        "Replays of many dispatches, which the workers step.",
        list=replays.list_replays,
        show=replays.show_replay,
        follow=replays.follow_replay,
        pause=replays.pause_replay,
        resume=replays.resume_replay,
        cancel=replays.cancel_replay,
    )


def _group_of(purpose: str, **commands: Callable[..., None]) -> typer.Typer:
    made = _group(purpose)
    made.callback()(_nothing)
    for word, command in commands.items():
        made.command(word)(command)
    return made


def _group(purpose: str) -> typer.Typer:
    # Plain help: rich's takes a quarter of a second to import. Errors are explained by `run`, not by typer.
    return typer.Typer(
        help=purpose,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
    )


def _show_version(*, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"{NAME} {version(NAME)}")
        raise typer.Exit


def _receiver(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=lambda value: _show_version(wanted=value), is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Receives payment callbacks: verifies, deduplicates, stores and dispatches each one exactly once."""


def _nothing() -> None:
    """A group of commands keeps its name even with one command in it."""


app: Final = _made()


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: without the program's name.

    Returns:
        The exit code, see `exits`.
    """
    try:
        ended = app(list(arguments), prog_name=NAME, standalone_mode=False)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        return _explained(error)
    return ended if isinstance(ended, int) else Exit.OK


def _explained(error: Exception) -> Exit:
    """Print the error as lines that say what to do; the exit code that goes with it."""
    if isinstance(error, ExceptionGroup):
        return _explained(error.exceptions[0])
    if isinstance(error, ReceiverError):
        for line in str(error).splitlines():
            _say(f"{error.reason}: {line}")
        return code_of(error)
    if isinstance(error, typer.TyperException):
        return _explained_usage(error)
    import traceback

    place = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split())
    _say(f"internal: {type(error).__name__}: {said} ({place.filename}:{place.lineno}); {DEBUG}=1 shows the traceback")
    return Exit.INTERNAL


def _explained_usage(error: typer.TyperException) -> Exit:
    said = error.format_message()
    if said.startswith("Usage:"):  # a group without a command: its help
        typer.echo(said, err=True)
    else:
        command = getattr(getattr(error, "ctx", None), "command_path", NAME)
        _say(f"usage: {said.removesuffix('.').replace('Value error, ', '')}; see `{command} --help`")
    return Exit.USAGE


def _say(line: str) -> None:
    typer.echo(f"{NAME}: {line}", err=True)
