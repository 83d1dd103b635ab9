"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

Embedded: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--embedded",
        metavar="DIR",
        help="Use the embedded PostgreSQL and Valkey of this folder, instead of database_url and redis_url.",
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Limit: TypeAlias = Annotated[int, typer.Option(min=1, max=100_000, help="How many rows at most.")]
Host: TypeAlias = Annotated[str | None, typer.Option(help="Address of the public listener.")]
Port: TypeAlias = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port of the public listener; 0 takes a free one.")
]
OperatorPort: TypeAlias = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port of the operator listener; 0 takes a free one.")
]
Target: TypeAlias = Annotated[
    str, typer.Argument(metavar="TARGET", help="Your receiver as module:attribute, such as payments:receiver.")
]
State: TypeAlias = Literal["dead", "retrying", "pending", "succeeded", "unhandled"]
"""As in `storage/views.py`, which is not imported here: `--help` must not wait for it."""
OperatorHost: TypeAlias = Annotated[
    str | None, typer.Option(help="Address of the operator listener; it has no authentication.")
]
ReplayState: TypeAlias = Literal["dead", "retrying", "succeeded"]
"""As in `storage/selections.py`, which is not imported here for the same reason."""
Why: TypeAlias = Annotated[str | None, typer.Option("--why", metavar="TEXT", help="The reason, for the audit log.")]
By: TypeAlias = Annotated[
    str | None, typer.Option("--by", metavar="NAME", help="Who, for the audit log; default: this user and host.")
]
