"""`receiver send`: signed sample callbacks, as the provider would send them."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from receiver.cli.exits import Exit
from receiver.cli.options import AsJson
from receiver.cli.output import emit, emit_json, fields, progress, table

if TYPE_CHECKING:
    from receiver.operate.composed import Recipe
    from receiver.operate.sender import Summary
    from receiver.settings import Settings


def send(
    source: Annotated[str | None, typer.Argument(metavar="SOURCE", help="A configured source; its keys sign.")] = None,
    kind: Annotated[
        str | None, typer.Argument(metavar="TYPE", help="paid, failed, refunded, … or the provider's own type.")
    ] = None,
    *,
    listed: Annotated[
        bool, typer.Option("--list", help="Show what there is to send: of SOURCE, of a provider, or of all.")
    ] = False,
    to: Annotated[
        str | None, typer.Option(metavar="URL", help="Default: http://127.0.0.1:PORT with the port of the settings.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many callbacks, resends among them.")] = 1,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Most per second; default: as fast as answered.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=1024, help="Most requests in flight.")] = 8,
    duplicates: Annotated[float, typer.Option(min=0, max=0.99, help="Share of resends of earlier callbacks.")] = 0.0,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="PATH=VALUE", help="Change the sample, e.g. data.object.amount=4200; repeatable."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A payload of your own, JSON; {id}, {entity} and {created} are filled in."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(help="For a source that wants one in the address; default: a new one for each callback."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sign sample callbacks with a source's keys and send them.

    Exits 1 if any was not answered 2xx.
    """
    from receiver.cli.servers import FOLDER
    from receiver.operate.sender import target
    from receiver.settings import load

    settings = load(FOLDER)
    if listed:
        _list(settings, source, as_json=as_json)
        return
    if source is None or kind is None:
        wanted = "SOURCE" if source is None else "TYPE"
        raise typer.BadParameter("is missing; `receiver send --list` shows what there is", param_hint=wanted)
    recipe = _recipe(settings, source, kind, changes or (), data)
    try:
        url = target(to or f"http://127.0.0.1:{settings.port}", source)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--to") from None
    plan = Plan(count=count, rate=rate, concurrency=concurrency, duplicates=duplicates, token=token)
    summary = asyncio.run(_send(recipe, url, plan))
    if as_json:
        emit_json(summary)
    else:
        _print(summary, url)
    if summary.succeeded < summary.sent:
        raise typer.Exit(Exit.FAILED)


def _list(settings: "Settings", source: str | None, *, as_json: bool) -> None:
    from receiver.operate.samples import samples

    rows = samples(settings, source)
    if as_json:
        emit_json(rows)
        return
    table(("PROVIDER", "WORD", "TYPE"), [(row.provider, row.word, row.type) for row in rows])


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much and how fast."""

    count: int
    rate: float | None
    concurrency: int
    duplicates: float
    token: str | None


def _recipe(settings: "Settings", source: str, kind: str, changes: Sequence[str], data: Path | None) -> "Recipe":
    """What to send, tried once so that a mistake shows before anything is sent."""
    from receiver.cli.servers import FOLDER
    from receiver.operate.composed import Recipe, check, parse_change
    from receiver.sources import build_sources

    sources = build_sources(settings, FOLDER)
    if source not in sources:
        known = ", ".join(sources) or "none; add a section [sources.NAME] to receiver.toml"
        raise typer.BadParameter(f"no source is called {source!r}; configured: {known}", param_hint="SOURCE")
    recipe = Recipe(
        source=sources[source],
        kind=kind,
        payload=None if data is None else _payload(data),
        changes=tuple(parse_change(change) for change in changes),
    )
    check(recipe)
    return recipe


def _payload(path: Path) -> dict[str, object]:
    try:
        payload = json.loads(path.read_bytes())
    except OSError as error:
        raise typer.BadParameter(f"cannot read {path}: {error.strerror}", param_hint="--data") from None
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{path} is not JSON: {error}", param_hint="--data") from None
    if not isinstance(payload, dict):
        raise typer.BadParameter(f"{path} holds no JSON object", param_hint="--data")
    return payload


async def _send(recipe: "Recipe", url: str, plan: Plan) -> "Summary":
    from receiver.operate.composed import payloads
    from receiver.operate.sender import send_all, signed, summarise

    made = payloads(recipe, plan.count, plan.duplicates, int(time.time()))
    begun = time.perf_counter()
    with progress("sending", plan.count) as advance:
        answers = await send_all(
            signed(recipe.source, url, made, plan.token),
            concurrency=plan.concurrency,
            rate=plan.rate,
            heard=lambda _: advance(),
        )
    return summarise(answers, time.perf_counter() - begun)


def _print(summary: "Summary", url: str) -> None:
    table(("ANSWER", "COUNT"), summary.statuses.items())
    emit("")
    latency = summary.latency_ms
    rows = {"sent": f"{summary.sent} in {summary.seconds:g} s, {summary.per_second:g} per second, to {url}"}
    if latency is not None:
        rows["latency"] = (
            f"p50 {latency.p50:g} ms, p90 {latency.p90:g} ms, p99 {latency.p99:g} ms, max {latency.max:g} ms"
        )
    fields(rows)
