"""`python -m benchmarks`: all measurements in one run, as a table and in `benchmarks/latest.json`."""

import argparse
import asyncio
import datetime as dt
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import dispatch, ingress
from receiver.embedded import EmbeddedServers, discard
from receiver.storage import migrate

_WIDTH = 120
LATEST = Path(__file__).with_name("latest.json")


class Report(msgspec.Struct):
    """What is written to `latest.json`."""

    at: str
    cores: int
    ingress: ingress.Ingress
    dispatch: dispatch.Dispatch


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--requests", type=int, default=40_000, help="callbacks per load and round")
    parser.add_argument("--runs", type=int, default=10_000, help="handler runs per round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians are shown")
    options = parser.parse_args()
    screen = Console(stderr=True)
    bar = Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=screen)
    with bar, _temporary_folder() as folder:
        task = bar.add_task("starting the servers")

        def step(text: str) -> None:
            bar.update(task, description=text)

        with EmbeddedServers(folder) as servers:
            migrate.upgrade(servers.database_url)
            asyncio.run(migrate.make_partitions(servers.database_url))
            asyncio.run(dispatch.execute(servers.database_url, TUTORIAL))
            report = Report(
                at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
                cores=os.cpu_count() or 1,
                ingress=ingress.measure(servers, requests=options.requests, rounds=options.rounds, step=step),
                dispatch=dispatch.measure(servers, runs=options.runs, rounds=options.rounds, step=step),
            )
    LATEST.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    out = Console()
    show(report, out if out.is_terminal else Console(width=_WIDTH))  # in a pipe it would be 80, too narrow


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="receiver-bench-"))
    try:
        yield folder
    finally:
        discard(folder)


TUTORIAL = """
CREATE TABLE tutorial_event (id serial PRIMARY KEY, external_id text UNIQUE NOT NULL, type text NOT NULL, payload bytea)
"""


def show(report: Report, console: Console) -> None:
    """Print the tables."""
    table = Table(title=f"Durable accepts: {ingress.CONNECTIONS} connections, one server process; CPU in % of one core")
    for heading in (
        "load",
        "per s",
        "to pgbench",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "server",
        "postgres",
        "valkey",
        "load",
    ):
        table.add_column(heading, justify="right" if table.columns else "left")
    for row in report.ingress.loads:
        table.add_row(
            row.name,
            f"{row.rate:,.0f}",
            f"{row.to_pgbench:.2f}",
            f"{row.p50_ms:.1f}",
            f"{row.p99_ms:.1f}",
            f"{row.p999_ms:.1f}",
            *(f"{used:.0f} %" for used in row.cpu.values()),
        )
    table.add_row("pgbench, the same three rows", f"{report.ingress.pgbench_rate:,.0f}", "1.00")
    table.add_row("the tutorial's endpoint", f"{report.ingress.tutorial_rate:,.0f}", _share(report))
    console.print(table)
    console.print(
        f"one server process is {report.ingress.to_tutorial:.0f} times the tutorial's endpoint; {report.cores} cores"
    )
    runs = Table(title="Handler runs, each with a committed effect, one worker process")
    for heading in ("", "per second", "to pgbench", "CPU % of a core"):
        runs.add_column(heading, justify="right" if heading else "left")
    used = ", ".join(f"{name} {share:.0f}" for name, share in report.dispatch.cpu.items())
    runs.add_row("receiver work", f"{report.dispatch.rate:,.0f}", f"{report.dispatch.to_pgbench:.2f}", used)
    runs.add_row("pgbench, the same two updates", f"{report.dispatch.pgbench_rate:,.0f}", "1.00", "")
    console.print(runs)


def _share(report: Report) -> str:
    return f"{report.ingress.tutorial_rate / report.ingress.pgbench_rate:.2f}"


if __name__ == "__main__":
    main()
