"""`python -m benchmarks`: all measurements in one run, as tables and in `benchmarks/latest.json`."""

import argparse
import asyncio
import datetime as dt
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks import claims, dispatch, idempotency, ingress, latency, verify
from benchmarks.report import Report, show, write
from benchmarks.sql import execute
from receiver.embedded import EmbeddedServers, discard
from receiver.storage import migrate

PARTS = ("verify", "ingress", "dispatch", "idempotency")
TUTORIAL = """
CREATE TABLE tutorial_event (id serial PRIMARY KEY, external_id text UNIQUE NOT NULL, type text NOT NULL, payload bytea)
"""
Step = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    rounds: int = 3
    verify_seconds: float = 0.1
    """Of each provider's callbacks, the genuine and the forged ones, in a round."""
    ageing: int = 5
    requests: int = 40_000
    """Callbacks per load and round."""
    runs: int = 10_000
    """Handler runs per round."""
    idle: int = 200
    """Callbacks one at a time."""
    flood: int = 5_000
    """Callbacks that tell what half load is."""
    half_load_seconds: float = 10.0
    keyed: int = 2_000
    """Requests that are to be done once, of each way, number of connections and round."""
    backlogs: tuple[int, ...] = (0, 100_000, 1_000_000)


QUICK = Sizes(
    rounds=1,
    ageing=2,
    requests=15_000,
    runs=5_000,
    idle=50,
    flood=1_000,
    half_load_seconds=3.0,
    backlogs=(0, 100_000, 300_000),
    verify_seconds=0.02,
    keyed=300,
)


def main() -> None:
    """Measure, write, print."""
    parts, sizes = _options()
    bar = Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=Console(stderr=True))
    with bar, _temporary_folder() as folder:
        task = bar.add_task("starting")

        def step(text: str) -> None:
            bar.update(task, description=text)

        report = Report(at=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"), cores=os.cpu_count() or 1)
        if "verify" in parts:
            report.verify = verify.measure(rounds=sizes.rounds, seconds=sizes.verify_seconds, step=step)
        if set(parts) - {"verify"}:
            step("starting the servers")
            with EmbeddedServers(folder) as servers:
                migrate.upgrade(servers.database_url)
                asyncio.run(migrate.make_partitions(servers.database_url))
                _measure(report, servers, parts, sizes, step)
    write(report)
    show(report)


def _options() -> tuple[tuple[str, ...], Sizes]:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="one part instead of all")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it runs, and little else")
    parser.add_argument("--requests", type=int, help="callbacks per load and round")
    parser.add_argument("--runs", type=int, help="handler runs per round")
    parser.add_argument("--rounds", type=int, help="rounds; medians are shown")
    given = vars(parser.parse_args())
    only, quick = given.pop("only"), given.pop("quick")
    sizes = replace(QUICK if quick else Sizes(), **{name: size for name, size in given.items() if size is not None})
    return (only,) if only else PARTS, sizes


def _measure(report: Report, servers: EmbeddedServers, parts: tuple[str, ...], sizes: Sizes, step: Step) -> None:
    """What needs servers."""
    ingress.age(servers, times=sizes.ageing, step=step)
    if "ingress" in parts:
        asyncio.run(execute(servers.database_url, TUTORIAL))
        report.ingress = ingress.measure(servers, requests=sizes.requests, rounds=sizes.rounds, step=step)
    if "dispatch" in parts:
        report.handler_runs = dispatch.measure(servers, runs=sizes.runs, rounds=sizes.rounds, step=step)
        report.latency = latency.measure(
            servers, idle=sizes.idle, flood=sizes.flood, seconds=sizes.half_load_seconds, step=step
        )
        report.claims = claims.measure(servers, backlogs=sizes.backlogs, step=step)
    if "idempotency" in parts:
        report.idempotency, report.tokens = idempotency.measure(
            servers, requests=sizes.keyed, rounds=sizes.rounds, step=step
        )


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="receiver-bench-"))
    try:
        yield folder
    finally:
        discard(folder)


if __name__ == "__main__":
    main()
