"""Conformance vectors: callbacks that providers and their SDKs signed, each with the verdict that it must get.

They are test data of others and no part of the project: `RECEIVER_VECTORS` names their folder.
"""

import base64
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from receiver.events import Callback

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("RECEIVER_VECTORS") or ROOT.parent / "shared" / "vectors")
MISSING = f"no vectors in {FOLDER}; RECEIVER_VECTORS names the folder"
ALSO = {"hook0": "coinbase_commerce"}
"""Schemes that a provider takes beside its own."""


@dataclass(frozen=True, kw_only=True)
class Vector:
    """One file of the folder."""

    id: str
    """Folder and name."""
    provider: str
    """As we call it."""
    callback: Callback
    keys: Mapping[str, object]
    clock: float
    """Unix seconds at which it arrives; 0 where the scheme has no time."""
    expected: Mapping[str, object]
    origin: str
    """How real it is."""

    @property
    def items(self) -> list[Mapping[str, object]]:
        """What each event of a batch should be."""
        items, ids, types = (self.expected.get(name) for name in ("items", "event_ids", "event_types"))
        if isinstance(items, list):
            return items
        if isinstance(ids, list) and isinstance(types, list):
            return [{"event_id": id_, "event_type": type_} for id_, type_ in zip(ids, types, strict=True)]
        return [self.expected]


@cache
def vectors() -> tuple[Vector, ...]:
    """All of the folder; none where it is missing."""
    return tuple(_read(path) for path in sorted(FOLDER.glob("*/*.json")))


def cases(wanted: Callable[[Vector], bool] = lambda _: True) -> "list[ParameterSet]":
    """A parameter for each vector that is `wanted`; without the folder one that is skipped and says why."""
    if not vectors():
        return [pytest.param(None, id="none", marks=pytest.mark.skip(MISSING))]
    return [pytest.param(vector, id=vector.id) for vector in vectors() if wanted(vector)]


def external_id(expected: Mapping[str, object]) -> str | None:
    """The id that an event must get; None: the vector leaves it to us."""
    if "bt_payload_sha256" in expected:
        return f"sha256:{expected['bt_payload_sha256']}"
    key, own = expected.get("dedupe_key"), expected.get("event_id")
    if isinstance(key, str) and " " not in key:  # else it says in words what a key may be made of
        return key
    return None if own is None else str(own)


def _read(path: Path) -> Vector:
    said = json.loads(path.read_text(encoding="utf-8"))
    return Vector(
        id=f"{path.parent.name}/{path.stem}",
        provider=ALSO.get(said["provider"], said["provider"]),
        callback=_arrived(said["request"]),
        keys=said["keys"],
        clock=said["clock"] or 0,
        expected=said["expect"],
        origin=said["origin"],
    )


def _arrived(request: Mapping[str, object]) -> Callback:
    headers = request["headers"]
    assert isinstance(headers, list)
    return Callback(
        method=str(request["method"]),
        headers=[(name.lower().encode(), value.encode()) for name, value in headers],
        body=base64.b64decode(str(request.get("body_b64") or "")),
        query=str(request.get("query") or "").encode(),
    )
