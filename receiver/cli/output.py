"""What is printed where: data on stdout, everything for the person in front of it on stderr.

Nothing that came from outside may act on a terminal: what is not printable is shown escaped, and rich's markup is off.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Final

import typer

if TYPE_CHECKING:
    from rich.console import Console

_WIDE: Final = 10_000
"""Columns, where nobody looks: a pipe or file gets whole lines."""


def emit_json(value: object) -> None:
    """One JSON document on stdout."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def emit(text: str) -> None:
    """A line of data on stdout."""
    typer.echo(text)


def note(text: str) -> None:
    """A line for a person, on stderr."""
    typer.echo(text, err=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns on stdout."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold", no_wrap=not sys.stdout.isatty())
    for row in rows:
        made.add_row(*(Text(shown(cell)) for cell in row))
    console().print(made)


def fields(values: Mapping[str, object]) -> None:
    """One value a line, its name before it, on stdout."""
    widest = max(map(len, values), default=0)
    for name, value in values.items():
        emit(f"{name:<{widest}}  {shown(value)}")


def console(*, stderr: bool = False) -> "Console":
    """A rich console that neither reads markup nor cuts lines where nobody looks."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=None if stream.isatty() else _WIDE)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr while work goes on, where a person looks; the block calls what it gets after each step."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


@contextmanager
def progress_to(total: int) -> Iterator[Callable[[str, int], None]]:
    """A bar as in `progress`; the block calls what it gets with what goes on and how much of `total` is done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=total)
        yield lambda what, done: bar.update(task, description=what, completed=done, total=max(total, done))


def shown(value: object) -> str:
    """A value as text that is safe to print: times to the second, nothing that is not printable."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%SZ")
    return printable(str(value))


def printable(text: str) -> str:
    """`text` with every control or other unprintable character escaped, newlines too."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def emit_bytes(content: bytes) -> None:
    """Raw bytes on stdout; on a terminal as text, with what could act on it escaped."""
    if not sys.stdout.isatty():
        typer.echo(content)
        return
    for line in content.decode("utf-8", "backslashreplace").splitlines():
        emit(printable(line))
