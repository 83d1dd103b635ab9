"""What a run comes to: `latest.json` for programs, tables for people."""

from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.claims import Claims
from benchmarks.dispatch import Runs
from benchmarks.idempotency import Cost, Issuing
from benchmarks.ingress import CONNECTIONS, Ingress
from benchmarks.latency import Latency
from benchmarks.verify import Verification

LATEST = Path(__file__).with_name("latest.json")
_WIDTH = 120


class Report(msgspec.Struct):
    """All that was measured; a part that was not chosen is empty."""

    at: str
    cores: int
    verify: list[Verification] = []
    ingress: Ingress | None = None
    handler_runs: list[Runs] = []
    latency: list[Latency] = []
    claims: list[Claims] = []
    idempotency: list[Cost] = []
    tokens: list[Issuing] = []


def write(report: Report) -> None:
    """Replace `latest.json`."""
    LATEST.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def show(report: Report) -> None:
    """Print the tables."""
    out = Console()
    console = out if out.is_terminal else Console(width=_WIDTH)  # in a pipe it would be 80, too narrow
    if report.verify:
        console.print(_verifications(report.verify))
    if report.ingress is not None:
        console.print(_accepts(report.ingress))
        console.print(f"one server process is {report.ingress.to_tutorial:.0f} times the tutorial's endpoint")
    if report.handler_runs:
        console.print(_runs(report.handler_runs))
    if report.latency:
        console.print(_latency(report.latency))
    if report.claims:
        console.print(_claims(report.claims))
    if report.idempotency:
        console.print(_costs(report.idempotency))
    for row in report.tokens:
        console.print(f"issued tokens, {row.asked} in a request: {row.per_second:,.0f} per second")
    console.print(f"{report.cores} cores")


def _verifications(verify: list[Verification]) -> Table:
    table = _table("Verifying one callback, without HTTP", *("provider", "bytes", "genuine µs", "forged µs"))
    for row in verify:
        table.add_row(row.name, f"{row.bytes:,}", f"{row.genuine_us:,.1f}", f"{row.forged_us:,.1f}")
    return table


def _accepts(ingress: Ingress) -> Table:
    used = ("server", "postgres", "valkey", "load")
    table = _table(
        f"Durable accepts: {CONNECTIONS} connections, one server process; CPU in % of one core",
        *("load", "per s", "to pgbench", "p50 ms", "p99 ms", "p99.9 ms", *used),
    )
    for row in ingress.loads:
        table.add_row(
            row.name,
            f"{row.rate:,.0f}",
            f"{row.to_pgbench:.2f}",
            f"{row.p50_ms:.1f}",
            f"{row.p99_ms:.1f}",
            f"{row.p999_ms:.1f}",
            *(f"{row.cpu[name]:.0f} %" for name in used),
        )
    table.add_row("pgbench, the same three rows", f"{ingress.pgbench_rate:,.0f}", "1.00")
    share = ingress.tutorial_rate / ingress.pgbench_rate
    table.add_row("the tutorial's endpoint", f"{ingress.tutorial_rate:,.0f}", f"{share:.2f}")
    return table


def _runs(runs: list[Runs]) -> Table:
    table = _table(
        "Handler runs, each with a committed effect; CPU in % of one core",
        *("", "per second", "to pgbench", "one receiver to it", "CPU"),
    )
    for row in runs:
        used = ", ".join(f"{name} {share:.0f}" for name, share in row.cpu.items())
        table.add_row(row.name, f"{row.rate:,.0f}", f"{row.to_pgbench:.2f}", f"{row.ours_to_it:.2f}", used)
    return table


def _latency(latency: list[Latency]) -> Table:
    table = _table(
        "From sending a callback to the start of its handler: one server and one worker process",
        *("pace", "callbacks per s", "callbacks", "p50 ms", "p99 ms"),
    )
    for row in latency:
        figures = (f"{row.per_second:,.0f}", f"{row.callbacks:,}", f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}")
        table.add_row(row.name, *figures)
    return table


def _claims(claims: list[Claims]) -> Table:
    table = _table("Claims of 32 due dispatches", *("due beside them", "p50 ms", "worst ms"))
    for row in claims:
        table.add_row(row.behind, f"{row.p50_ms:.2f}", f"{row.worst_ms:.1f}")
    return table


def _costs(costs: list[Cost]) -> Table:
    table = _table(
        "A request that is to be done once: one server process",
        *("", "connections", "p50 ms", "p99 ms", "adds to p50", "adds to p99"),
    )
    for row in costs:
        figures = (row.p50_ms, row.p99_ms, row.adds_p50_ms, row.adds_p99_ms)
        table.add_row(row.name, str(row.connections), *(f"{figure:.2f}" for figure in figures))
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, justify="right" if table.columns else "left")
    return table
