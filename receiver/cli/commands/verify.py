"""`receiver verify`: why does this signature fail? Checks a captured callback offline."""

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from receiver.cli.exits import Exit
from receiver.cli.options import AsJson
from receiver.cli.output import emit_json, fields, note

if TYPE_CHECKING:
    from receiver.operate.captured import Captured
    from receiver.operate.verdict import Verdict
    from receiver.sources import Source

_LATEST: Final = 9_999_999_999
_STDIN: Final = Path("-")


def verify(
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="stripe, …: `receiver send --list` names all.")],
    *,
    request: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="The captured callback: JSON (method, headers, body_b64) or raw HTTP; - is stdin."
        ),
    ],
    at: Annotated[
        int | None,
        typer.Option(
            metavar="UNIX_SECONDS", min=0, max=_LATEST, help="When it arrived; default: the file's clock, or now."
        ),
    ] = None,
    source: Annotated[str | None, typer.Option(help="Check with the keys of this configured source.")] = None,
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Check with this key, e.g. secrets=env:STRIPE_SECRET; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a captured callback offline.

    Says that it is valid, with id, type and entity, or why it is not; exits 1 then.

    Without --key or --source it is checked with the only configured source of that provider. `receiver secrets check`
    says for each key of a source whether it matches.
    """
    from receiver.operate.verdict import judge

    if key and source:
        raise typer.BadParameter("give either --key or --source", param_hint="--key")
    captured = read_request(request)
    keys, others = _keys(provider, source, key or ())
    verdict = judge(keys, captured.callback, clock_of(captured, at), others)
    if as_json:
        emit_json(verdict)
    else:
        _print(verdict)
    if captured.note:
        note(f"note: {captured.note}")
    if not verdict.valid:
        raise typer.Exit(Exit.FAILED)


def read_request(path: Path) -> "Captured":
    """The captured callback in a file, or on stdin."""
    from receiver.operate.captured import read_captured

    try:
        content = sys.stdin.buffer.read() if path == _STDIN else path.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"cannot read {path}: {error.strerror}", param_hint="--request") from None
    return read_captured(content)


def clock_of(captured: "Captured", at: int | None) -> float:
    """Unix seconds at which to check it: as said, as the file says, or now."""
    if at is not None:
        return at
    return captured.clock if captured.clock is not None else time.time()


def _keys(name: str, source: str | None, keys: Sequence[str]) -> "tuple[Source, Mapping[str, Source]]":
    """What to check with, and the other sources of the provider, whose keys may explain a mismatch."""
    from receiver.cli.servers import FOLDER
    from receiver.operate.verdict import chosen_source, source_with
    from receiver.settings import load
    from receiver.sources import build_sources, find_provider

    kind = find_provider(name)
    if keys:
        return source_with(name, keys, FOLDER), {}
    settings = load(FOLDER)
    return chosen_source(kind, source, build_sources(settings, FOLDER))


def _print(verdict: "Verdict") -> None:
    checked = datetime.fromtimestamp(verdict.at, UTC)
    if not verdict.valid:
        lines = {"valid": "no", "reason": verdict.reason, "checked at": checked, "found": verdict.found}
        fields({name: value for name, value in lines.items() if value is not None} | {"hint": verdict.hint})
        return
    fields({"valid": "yes", "checked at": checked, "key": verdict.key})
    for fact in verdict.facts:
        fields({"id": fact.id, "type": fact.type, "entity": fact.entity, "occurred": fact.occurred_at})
        if fact.odd:
            note(f"note: genuine, but it would be kept in quarantine and no handler would run: {fact.odd}")
